//! From a change to a module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::{Series, Version};
use lucos_debian_archive::packages::Consent;
use lucos_object_diff::{
    BootShifts, Comparison, CopiedKey, Decision, Extract, Input, Links, Reason, SourceChange,
    compare, extract, users_left,
};

use crate::change::FileChange;
use crate::compile::{self, Object};
use crate::decisions::Said;
use crate::description;
use crate::edited::Edited;
use crate::error::Error;
use crate::explanation::{Explanation, ObjectExplanation, WithoutModule};
use crate::flags::Purpose;
use crate::image::{self, Vmlinux};
use crate::kbuild;
use crate::kept::{self, Kept};
use crate::kernel_tree::KernelTree;
use crate::linking::{Linked, NewGlobals, new_names};
use crate::module_image::ModuleImage;
use crate::module_names::ModuleNames;
use crate::origin::Origin;
use crate::output_file;
use crate::patch_module::{PatchModule, Redirector, Replaced};
use crate::progress::Progress;
use crate::references::{Exports, Resolver};
use crate::refused::Refused;
use crate::run_pre::{self, Matched, ObjectCode, Running};
use crate::touched::Touched;
use crate::used::{KERNEL_OBJECT, Used};
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

/// An object without and with the change.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) original: Object,
    pub(crate) patched: Object,
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

/// A pair and what differs.
pub(crate) struct Compared<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) comparison: Comparison,
    ibt: bool,
    edited: &'a Edited,
    sources: Vec<SourceChange<'a>>,
    decisions: Vec<Decision>,
    /// The pair, compiled as code of a module.
    code: Option<Pair>,
}

impl Compared<'_> {
    /// What is compared.
    fn input<'a>(&'a self, kernel: &Vmlinux) -> Input<'a> {
        self.input_of(self.pair, kernel)
    }

    /// What the patch's code is cut out of: new code that was compiled for the module, beside the
    /// old code that runs.
    fn cut_from<'a>(&'a self, kernel: &Vmlinux) -> Input<'a> {
        let patched = &self.code.as_ref().unwrap_or(self.pair).patched.bytes;
        Input { patched, ..self.input(kernel) }
    }

    /// Something of it may become part of the patch.
    pub(crate) fn may_go_along(&self, kernel: &Vmlinux) -> bool {
        !self.comparison.is_empty() || !new_names(&self.input(kernel)).is_empty()
    }

    /// With the same pair compiled as code of a module. What differs there goes into the patch too:
    /// the compiler may have inlined less.
    pub(crate) fn with_code(mut self, kernel: &Vmlinux, code: Pair) -> Result<Self, Error> {
        let Comparison { functions, refusals: reasons, .. } =
            compare(&self.input_of(&code, kernel))?;
        if !reasons.is_empty() {
            let object = code.original.path;
            return Err(Error::Refused(lucos_object_diff::Refusal { object, reasons }));
        }
        let known = &mut self.comparison.functions;
        for function in functions {
            if known.iter().all(|one| one.name != function.name) {
                known.push(function);
            }
        }
        self.code = Some(code);
        Ok(self)
    }

    fn input_of<'a>(&'a self, pair: &'a Pair, kernel: &Vmlinux) -> Input<'a> {
        Input {
            original: &pair.original.bytes,
            patched: &pair.patched.bytes,
            sizes: kernel.sizes(),
            ibt: self.ibt,
            module: self.pair.original.module.is_some(),
            name: &self.pair.original.path,
            edited: self.edited.functions(),
            sources: &self.sources,
            decisions: &self.decisions,
        }
    }

    fn part_of(&self) -> String {
        part_of(&self.pair.original)
    }

    fn without_effect(self) -> ObjectExplanation {
        ObjectExplanation {
            object: self.pair.original.path.clone(),
            part_of: self.part_of(),
            comparison: self.comparison,
            matched: 0,
            superseded: Vec::new(),
            uses: Vec::new(),
            kernel_constants: 0,
        }
    }
}

fn part_of(object: &Object) -> String {
    match &object.module {
        None => KERNEL_OBJECT.to_owned(),
        Some(path) => path.rsplit('/').next().unwrap_or(path).replace('-', "_"),
    }
}

fn compare_all<'a>(
    pairs: &'a [Pair],
    kernel: &Vmlinux,
    ibt: bool,
    edited: &'a Edited,
) -> Result<Vec<Compared<'a>>, Error> {
    let mut all = Vec::new();
    let mut refused = Refused::default();
    for pair in pairs {
        match compare_pair(pair, kernel, ibt, edited) {
            Ok(compared) => {
                refused.add(&pair.original.path, &compared.comparison);
                all.push(compared);
            }
            Err(Error::Refused(refusal)) => refused.objects.push(refusal),
            Err(error) => return Err(error),
        }
    }
    if !refused.objects.is_empty() {
        return Err(Error::RefusedObjects(refused));
    }
    edited.check_said(all.iter().map(|one| (&one.pair.original.path, &one.comparison)))?;
    Ok(all)
}

/// What differs in a pair, whatever can be done about it.
pub(crate) fn compare_pair<'a>(
    pair: &'a Pair,
    kernel: &Vmlinux,
    ibt: bool,
    edited: &'a Edited,
) -> Result<Compared<'a>, Error> {
    let (sources, decisions) = (edited.sources(), edited.decisions(&pair.original.path));
    let comparison = Comparison::default();
    let compared = Compared { pair, comparison, ibt, edited, sources, decisions, code: None };
    let comparison = compare(&compared.input(kernel))?;
    Ok(Compared { comparison, ..compared })
}

/// The functions and data that objects get newly and share.
fn new_globals(
    tree: &KernelTree,
    kernel: &Vmlinux,
    compared: &[Compared<'_>],
) -> Result<NewGlobals, Error> {
    let mut new = NewGlobals::default();
    for (number, one) in compared.iter().enumerate() {
        let names = new_names(&one.cut_from(kernel));
        if names.is_empty() {
            continue;
        }
        let object = &one.pair.original;
        let module = module_of(tree, object)?;
        let mut shared = vec![kernel.symbols()];
        shared.extend(module.as_ref().map(ModuleImage::symbols));
        new.add(number, &object.path, names, &shared)?;
    }
    Ok(new)
}

/// The module of the kernel's package that an object is part of.
fn module_of(tree: &KernelTree, object: &Object) -> Result<Option<ModuleImage>, Error> {
    let modules = || tree.kernel.modules.clone().unwrap_or_default();
    object.module.as_ref().map(|path| ModuleImage::read(&modules(), path)).transpose()
}

/// What becomes the module.
pub(crate) struct Made {
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) functions: Vec<Replaced>,
    pub(crate) keys: Vec<CopiedKey>,
    pub(crate) shifts: Vec<BootShifts>,
    pub(crate) spaces: BTreeSet<String>,
    /// What the kernel may go on using after a rollback.
    pub(crate) kept: Vec<Kept>,
    pub(crate) objects: Vec<ObjectExplanation>,
}

pub(crate) struct Assembly<'a> {
    pub(crate) tree: &'a KernelTree,
    pub(crate) kernel: &'a Vmlinux,
    pub(crate) exports: &'a Exports,
    pub(crate) series: Option<Series>,
}

impl Assembly<'_> {
    pub(crate) fn make(&self, compared: Vec<Compared<'_>>) -> Result<Made, Error> {
        let new = new_globals(self.tree, self.kernel, &compared)?;
        self.with_new_globals(compared, &new)
    }

    fn with_new_globals(
        &self,
        compared: Vec<Compared<'_>>,
        new: &NewGlobals,
    ) -> Result<Made, Error> {
        let objects: Vec<_> =
            compared.iter().map(|one| (one.cut_from(self.kernel), &one.comparison)).collect();
        let Linked { mut links, included, beside } = new.link(&objects)?;
        self.check_users(&compared, &beside)?;
        // Later kernels leave read-only keys alone.
        if self.series == Some(Series::Debian6_1) {
            links.read_only_keys = self.kernel.read_only_names();
        }
        let mut made = Made {
            payloads: Vec::new(),
            functions: Vec::new(),
            keys: Vec::new(),
            shifts: Vec::new(),
            spaces: BTreeSet::new(),
            kept: Vec::new(),
            objects: Vec::new(),
        };
        let mut modules = BTreeMap::new();
        for (number, one) in compared.into_iter().enumerate() {
            if included.contains(&number) {
                let module = self.add(one, &links, &mut made)?;
                modules.extend(module.map(|module| (module.name().to_owned(), module)));
            } else {
                made.objects.push(one.without_effect());
            }
        }
        made.objects.sort_by(|a, b| a.object.cmp(&b.object));
        made.kept = self.find_kept(&made, &modules)?;
        Ok(made)
    }

    fn find_kept(
        &self,
        made: &Made,
        modules: &BTreeMap<String, ModuleImage>,
    ) -> Result<Vec<Kept>, Error> {
        let redirected = made.functions.iter().map(|function| function.new_symbol.as_str());
        kept::find(&made.payloads, &redirected.collect(), self.kernel, modules).map_err(|reason| {
            let object = String::from("the cut-out");
            run_pre::Error::Malformed { object, reason }.into()
        })
    }

    /// Nothing that stays as it is uses a function that is called in another way now: it would go on
    /// with the old version, which is not redirected.
    fn check_users(
        &self,
        compared: &[Compared<'_>],
        beside: &BTreeSet<String>,
    ) -> Result<(), Error> {
        for one in compared.iter().filter(|_| !beside.is_empty()) {
            let left = users_left(&one.input(self.kernel), beside)?;
            if left.is_empty() {
                continue;
            }
            let reason = |(user, name): (String, String)| Reason::Unsupported {
                function: user,
                what: format!(
                    "uses {name}, which is called in another way with the change, and stays as it \
                     is itself, with the old {name}; leave {name} as it is, and give the new \
                     version another name"
                ),
            };
            return Err(Error::Refused(lucos_object_diff::Refusal {
                object: one.pair.original.path.clone(),
                reasons: left.into_iter().map(reason).collect(),
            }));
        }
        Ok(())
    }

    /// Adds an object; gives the module that it is part of.
    fn add(
        &self,
        one: Compared<'_>,
        links: &Links,
        made: &mut Made,
    ) -> Result<Option<ModuleImage>, Error> {
        let object = &one.pair.original;
        let module = module_of(self.tree, object)?;
        let running: &dyn Running = match &module {
            None => self.kernel,
            Some(module) => module,
        };
        let code = ObjectCode::read(&object.path, &object.bytes, &self.kernel.sizes())?;
        let matched = Matched::find(&object.path, &code, running)?;
        let first = extract(&one.cut_from(self.kernel), &one.comparison, links)?;
        let replaced = links.replaced.iter().map(|name| format!("lucos_new_{name}"));
        let ours = replaced.chain(links.wanted.iter().cloned()).collect();
        let resolver = Resolver {
            object: &object.path,
            matched: &matched,
            running,
            kernel: self.kernel,
            exports: self.exports,
            ours: &ours,
        };
        let (uses, renamed) = self.resolve(&resolver, &first, made)?;
        let constants: BTreeMap<_, _> = first
            .constants
            .iter()
            .filter_map(|constant| Some((constant.id, resolver.constant(constant)?)))
            .collect();
        let of_the_kernel = constants.len();
        let links = Links { renamed, constants, ..links.clone() };
        let last = extract(&one.cut_from(self.kernel), &one.comparison, &links)?;
        for replacement in &last.replacements {
            let old = resolver.function(&replacement.name)?;
            let expected = code
                .functions
                .get(&replacement.name)
                .zip(matched.functions.get(&replacement.name))
                .and_then(|(code, found)| run_pre::at_site(code, found, running));
            let new_symbol = replacement.new_symbol.clone();
            made.functions.push(Replaced { old, new_symbol, expected });
        }
        made.keys.extend(last.copied_keys);
        made.shifts.extend(last.shifts);
        made.payloads.push(last.elf);
        made.objects.push(ObjectExplanation {
            object: object.path.clone(),
            part_of: one.part_of(),
            matched: matched.functions.len(),
            superseded: last.superseded,
            uses,
            kernel_constants: of_the_kernel,
            comparison: one.comparison,
        });
        Ok(module)
    }

    /// What the undefined symbols mean, and the names that they get.
    fn resolve(
        &self,
        resolver: &Resolver<'_>,
        extract: &Extract,
        made: &mut Made,
    ) -> Result<(Vec<Used>, BTreeMap<String, String>), Error> {
        let mut uses = Vec::new();
        let mut renamed = BTreeMap::new();
        for reference in &extract.references {
            let Some(used) = resolver.resolve(reference)? else {
                continue;
            };
            if used.object.is_empty() {
                let space = self.exports.space(&used.name).unwrap_or_default();
                if !space.is_empty() {
                    made.spaces.insert(space.to_owned());
                }
            }
            renamed.insert(reference.symbol.clone(), used.symbol());
            uses.push(used);
        }
        Ok((uses, renamed))
    }
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
