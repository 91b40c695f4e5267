//! From a change to a module.

use std::path::{Path, PathBuf};

use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::{Series, Version};
use lucos_debian_archive::packages::Consent;

use crate::assembly::{Assembly, new_globals};
use crate::change::FileChange;
use crate::compared::{Compared, Pair, compare_all};
use crate::compile;
use crate::decisions::Said;
use crate::description;
use crate::edited::Edited;
use crate::error::Error;
use crate::explanation::{Explanation, WithoutModule};
use crate::flags::Purpose;
use crate::image::{self, Vmlinux};
use crate::kbuild;
use crate::kept;
use crate::kernel_tree::KernelTree;
use crate::module_names::ModuleNames;
use crate::origin::Origin;
use crate::output_file;
use crate::patch_module::{PatchModule, Redirector};
use crate::progress::Progress;
use crate::references::Exports;
use crate::touched::Touched;
use crate::work_tree;
use crate::workshop;

/// What is to be built.
#[derive(Debug, Clone)]
pub struct Request {
    /// The kernel that the patch is for.
    pub kernel: Version,
    /// The change.
    pub origin: Origin,
    /// The module to write.
    pub output: PathBuf,
    /// The same change as a module for the kernel's own livepatch, to write too.
    pub livepatch: Option<PathBuf>,
    /// What the kernel keeps without harm, by the names of the explanation.
    pub harmless: Vec<String>,
    /// What the patch does, for `lucos show`; where it comes from is added.
    pub description: Option<String>,
    /// What the author says of variables, beside what the patch file says.
    pub said: Vec<Said>,
    /// `Module.symvers` of an update manager built for this kernel.
    pub manager_symbols: Option<PathBuf>,
}

/// Builds a patch.
///
/// # Errors
/// When anything is missing, does not fit together, or cannot be patched.
pub fn build(
    archive: &Archive,
    request: &Request,
    consent: Consent,
    mut progress: Progress,
) -> Result<Explanation, Error> {
    let outputs = || [Some(&request.output), request.livepatch.as_ref()].into_iter().flatten();
    for output in outputs() {
        output_file::remove_older(output)?;
    }
    let tree = KernelTree::open(archive, &request.kernel, consent, &mut progress)?;
    let kernel = progress.stage("Kernel image", || image::read(&tree.kernel.image))?;
    let names = ModuleNames::read(&kernel, tree.kernel.modules.as_deref())?;
    for output in outputs() {
        names.check(&output_file::name_of(output))?;
    }
    let mut changes = request.origin.changes(archive, &tree, &mut progress)?;
    let pairs = loop {
        tree.work_tree().restore()?;
        let touched = Touched::find(&tree, &changes, &mut progress)?;
        match compile_both(&tree, &touched, &changes, &mut progress) {
            Err(error) => {
                let added = request.origin.complete(archive, &tree, &error, &mut changes)?;
                if added.is_empty() {
                    return Err(error);
                }
                progress.tell(&format!("The change needs more of {}", added.join(", ")));
            }
            Ok(pairs) => break pairs,
        }
    };
    let said = [request.said.clone(), request.origin.said()?].concat();
    let edited = Edited::new(&changes, said);
    let compared =
        progress.stage("Comparing", || compare_all(&pairs, &kernel, tree.has_ibt, &edited))?;
    let origin = request.origin.describe();
    let mut explanation = Explanation {
        kernel: tree.kernel.release.clone(),
        version: tree.version.clone(),
        build_id: kernel.build_id().iter().map(|byte| format!("{byte:02x}")).collect(),
        origin: origin.clone(),
        files: changes.iter().map(|change| change.path.clone()).collect(),
        objects: Vec::new(),
        kept: Vec::new(),
        module: None,
        without_module: None,
        stages: Vec::new(),
    };
    if compared.iter().all(|one| one.comparison.is_empty()) {
        explanation.without_module = Some(WithoutModule::of(compared.len()));
        explanation.objects = compared.into_iter().map(Compared::without_effect).collect();
        explanation.stages = progress.into_stages();
        return Ok(explanation);
    }
    let compared = compile_code(&tree, &kernel, compared, &changes, &mut progress)?;
    let new = new_globals(&tree, &kernel, &compared)?;
    let headers = tree.kernel.headers.clone().unwrap_or_default();
    let exports = Exports::read(&headers)?;
    let made = progress.stage("Matching with the kernel", || {
        let series = Series::of(&request.kernel);
        Assembly { tree: &tree, kernel: &kernel, exports: &exports, series }
            .with_new_globals(compared, &new)
    })?;
    explanation.kept = kept::declared(made.kept, &request.harmless)?;
    progress.stage("Module", || {
        let text = description::described(request.description.as_deref(), &origin);
        let write = |redirector, output: &Path| {
            let module = PatchModule {
                redirector,
                name: &output_file::name_of(output),
                description: &text,
                build_id: kernel.build_id(),
                payloads: &made.payloads,
                functions: &made.functions,
                keys: &made.keys,
                shifts: &made.shifts,
                spaces: &made.spaces,
                kept: &explanation.kept,
            };
            workshop::build(&module, &headers, request.manager_symbols.as_deref(), output)
        };
        if let Some(output) = &request.livepatch {
            write(Redirector::Livepatch, output)?;
        }
        write(Redirector::Lucos, &request.output)
    })?;
    explanation.objects = made.objects;
    explanation.module = Some(request.output.clone());
    explanation.stages = progress.into_stages();
    Ok(explanation)
}

fn compile_both(
    tree: &KernelTree,
    touched: &Touched,
    changes: &[FileChange],
    progress: &mut Progress,
) -> Result<Vec<Pair>, Error> {
    let work = tree.work_tree();
    work.restore()?;
    let paths = kbuild::compiled(&tree.root(), &touched.all())?;
    if let Some(path) = touched.direct.iter().find(|path| !paths.contains(*path)) {
        return Err(Error::NotCompiled { file: path.clone() });
    }
    let mut originals = progress.stage("Compiling without the change", || {
        compile::original(tree, &paths, Purpose::Comparison)
    })?;
    let generated = work.generated();
    let patched = progress.stage("Compiling with the change", || {
        work.apply(changes)?;
        let patched = compile::changed(tree, &paths, Purpose::Comparison);
        let now = work.generated();
        work.restore()?;
        work_tree::check_generated(&generated, &now, changes)?;
        patched
    })?;
    Ok(patched
        .into_iter()
        .filter_map(|(path, patched)| {
            let original = originals.remove(&path)?;
            Some(Pair { original, patched })
        })
        .collect())
}

/// Compiles once more what goes into the module, as code of a module.
fn compile_code<'a>(
    tree: &KernelTree,
    kernel: &Vmlinux,
    compared: Vec<Compared<'a>>,
    changes: &[FileChange],
    progress: &mut Progress,
) -> Result<Vec<Compared<'a>>, Error> {
    let may_go_along = compared.iter().filter(|one| one.may_go_along(kernel));
    let paths = may_go_along.map(|one| one.pair.original.path.clone()).collect();
    let (mut originals, mut patched) = progress.stage("Compiling for the module", || {
        let originals = compile::original(tree, &paths, Purpose::Module)?;
        let work = tree.work_tree();
        work.apply(changes)?;
        let patched = compile::changed(tree, &paths, Purpose::Module);
        work.restore()?;
        Ok::<_, Error>((originals, patched?))
    })?;
    compared
        .into_iter()
        .map(|one| {
            let path = &one.pair.original.path;
            match originals.remove(path).zip(patched.remove(path)) {
                Some((original, patched)) => one.with_code(kernel, Pair { original, patched }),
                None => Ok(one),
            }
        })
        .collect()
}

/// Where packages, sources and objects are kept unless told otherwise.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(Path::new(".cache"))))?;
    Some(cache.join("lucos"))
}
