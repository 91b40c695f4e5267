//! Builds the guest's kernel modules: the update manager and the sample patches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use image_builder::tree::Tree;
use lucos_debian_archive::kernel::GuestKernel;
use sha2::{Digest, Sha256};

use crate::workspace::Workspace;
use lucos_debian_archive::packages::{self, Consent, Need};

/// What the kernels of both series were built with.
const COMPILER: &str = "gcc-12";

const NEEDS: [Need; 3] = [
    Need { file: "make", package: "make" },
    Need { file: COMPILER, package: "gcc-12" },
    Need { file: "ld", package: "binutils" },
];

/// The modules for one kernel.
#[derive(Default)]
pub struct Modules {
    /// The update manager.
    pub manager: Option<PathBuf>,
    /// The sample patches, sorted by name.
    pub patches: Vec<PathBuf>,
    /// Those of a further folder, sorted by name.
    pub further: Vec<PathBuf>,
}

/// Builds the modules for a kernel, those of a `further` folder too, or finds those built from the
/// same sources. A kernel without headers gets none.
///
/// # Errors
/// When they do not compile.
pub fn build(
    workspace: &Workspace,
    kernel: &GuestKernel,
    further: Option<&Path>,
    consent: Consent,
) -> Result<Modules> {
    let Some(headers) = &kernel.headers else {
        return Ok(Modules::default());
    };
    packages::ensure(&NEEDS, consent)?;
    let headers = fs::canonicalize(headers).with_context(|| headers.display().to_string())?;
    let guest = workspace.root.join("guest");
    let parent = workspace.target.join("lucos/modules");
    let mut sources = Tree::new();
    for folder in FOLDERS.into_iter().filter(|folder| guest.join(folder).is_dir()) {
        sources.add_host(&guest.join(folder), folder)?;
    }
    let place = parent.join(format!("{}-{}", kernel.release, key(&sources, &headers)?));
    once(&parent, &place, |work| {
        eprintln!("Building the modules for {}", kernel.release);
        compile(&guest, work, &headers)
    })?;
    let mut modules = collect(&place)?;
    if let Some(folder) = further {
        sources.add_host(folder, "further").with_context(|| folder.display().to_string())?;
        let name = format!("further-{}-{}", kernel.release, key(&sources, &headers)?);
        let built = parent.join(name);
        once(&parent, &built, |work| {
            eprintln!("Building {} for {}", folder.display(), kernel.release);
            compile_further(folder, work, &place, &guest.join("include"), &headers)
        })?;
        modules.further = modules_below(&built)?;
    }
    Ok(modules)
}

/// Makes `place`, unless it is there, of what `make` leaves in the folder `built` of a folder in
/// which it may work.
fn once(parent: &Path, place: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if place.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(parent)?;
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(parent)?;
    make(work.path())?;
    match fs::rename(work.path().join("built"), place) {
        Err(error) if !place.is_dir() => Err(error).with_context(|| place.display().to_string()),
        _ => Ok(()),
    }
}

/// The folders of the guest's sources that the modules are made of.
const FOLDERS: [&str; 3] = ["include", "manager", "patches"];

fn key(sources: &Tree, headers: &Path) -> Result<String> {
    let compiler = Command::new(COMPILER)
        .arg("-dumpfullversion")
        .output()
        .with_context(|| format!("{COMPILER} does not start"))?;
    let mut hash = Sha256::new();
    hash.update(sources.cpio()?);
    hash.update(headers.as_os_str().as_encoded_bytes());
    hash.update(compiler.stdout);
    let digest = hash.finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Compiles in a copy: the kernel's build system writes beside the sources.
fn compile(guest: &Path, work: &Path, headers: &Path) -> Result<()> {
    for folder in FOLDERS {
        let from = guest.join(folder);
        if from.is_dir() {
            copy(&from, &work.join(folder))?;
        }
    }
    let built = work.join("built");
    fs::create_dir_all(built.join("patches"))?;
    if work.join("manager/Kbuild").is_file() {
        tell(&make(&work.join("manager"), headers, None, &[])?);
        fs::copy(work.join("manager").join(SYMBOLS), built.join(SYMBOLS))?;
        let module = work.join("manager/lucos.ko");
        fs::copy(&module, built.join("lucos.ko")).with_context(|| module.display().to_string())?;
    }
    if work.join("patches/Kbuild").is_file() {
        tell(&make(&work.join("patches"), headers, Some(&built.join(SYMBOLS)), &[])?);
        for module in modules_below(&work.join("patches"))? {
            let name = module.file_name().context("a module without a name")?;
            fs::copy(&module, built.join("patches").join(name))?;
        }
    }
    Ok(())
}

/// How patches are compiled (docs/patch-authors-guide.md).
const OF_PATCHES: &str = "-fno-optimize-sibling-calls -DLUCOS_NO_TAIL_CALLS";

/// Compiles a folder of modules that may use what the manager exports (in `place`) and include
/// what patches include; they are compiled as patches are.
fn compile_further(
    folder: &Path,
    work: &Path,
    place: &Path,
    include: &Path,
    headers: &Path,
) -> Result<()> {
    let copied = work.join("further");
    copy(folder, &copied)?;
    let flags = format!("KCFLAGS=-I{} {OF_PATCHES}", include.display());
    tell(&make(&copied, headers, Some(&place.join(SYMBOLS)), &[flags])?);
    let built = work.join("built");
    fs::create_dir_all(&built)?;
    for module in modules_below(&copied)? {
        let name = module.file_name().context("a module without a name")?;
        fs::copy(&module, built.join(name))?;
    }
    Ok(())
}

/// Where the kernel's build system says what a module exports.
pub const SYMBOLS: &str = "Module.symvers";

/// Gives what the compiler complains about.
fn make(
    folder: &Path,
    headers: &Path,
    symbols: Option<&Path>,
    variables: &[String],
) -> Result<Vec<String>> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(headers)
        .arg(format!("M={}", folder.display()))
        .arg(format!("CC={COMPILER}"))
        .arg(format!("-j{jobs}"))
        // Needs a program that no package of the headers brings, for what nobody reads.
        .arg("CONFIG_DEBUG_INFO_BTF_MODULES=");
    if let Some(symbols) = symbols {
        command.arg(format!("KBUILD_EXTRA_SYMBOLS={}", symbols.display()));
        // A patch may use what the kernel does not export: `lucos` resolves it when it applies.
        command.arg("KBUILD_MODPOST_WARN=1");
    }
    command.args(variables);
    // Settings of a make around us are not for this one.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", "ARCH"] {
        command.env_remove(name);
    }
    let output = command.arg("modules").output().context("make does not start")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} does not build:\n{}", folder.display(), errors.trim_end());
    }
    let is_complaint =
        |line: &&str| [": warning: ", ": error: "].iter().any(|word| line.contains(word));
    Ok(errors.lines().filter(is_complaint).map(str::to_owned).collect())
}

fn tell(complaints: &[String]) {
    for line in complaints {
        eprintln!("{line}");
    }
}

/// What the kernel's own further warnings and sparse say of the manager, the sample patches and
/// every folder of further modules, compiled for a kernel.
///
/// # Errors
/// When one does not compile at all, or a tool is not there and cannot be installed.
pub fn complaints(
    workspace: &Workspace,
    kernel: &GuestKernel,
    further: &[PathBuf],
    consent: Consent,
) -> Result<Vec<String>> {
    let headers = kernel.headers.as_ref().context("the kernel has no headers")?;
    let headers = fs::canonicalize(headers).with_context(|| headers.display().to_string())?;
    packages::ensure(&NEEDS, consent)?;
    packages::ensure(&[Need { file: "sparse", package: "sparse" }], consent)?;
    let parent = workspace.target.join("lucos/modules");
    fs::create_dir_all(&parent)?;
    let work = tempfile::Builder::new().prefix("lint-").tempdir_in(&parent)?;
    let guest = workspace.root.join("guest");
    // The manager and the samples look for it beside them.
    let include = work.path().join("include");
    copy(&guest.join("include"), &include)?;
    let mut folders = vec![guest.join("manager"), guest.join("patches")];
    folders.extend_from_slice(further);
    let (mut symbols, mut all) = (None, Vec::new());
    for (number, folder) in folders.iter().enumerate() {
        let copied = work.path().join(number.to_string());
        copy(folder, &copied)?;
        let flags =
            [String::from("W=1"), String::from("C=2"), format!("KCFLAGS=-I{}", include.display())];
        let complaints = make(&copied, &headers, symbols.as_deref(), &flags)?;
        let (there, here) = (copied.display().to_string(), folder.display().to_string());
        all.extend(complaints.iter().map(|line| line.replace(&there, &here)));
        // The first one is the manager, whose symbols all others use.
        symbols.get_or_insert_with(|| copied.join(SYMBOLS));
    }
    Ok(all)
}

fn collect(place: &Path) -> Result<Modules> {
    let manager = place.join("lucos.ko");
    Ok(Modules {
        manager: manager.is_file().then_some(manager),
        patches: modules_below(&place.join("patches"))?,
        further: Vec::new(),
    })
}

/// Every module in a folder and those below it, sorted.
fn modules_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            modules.extend(modules_below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            modules.push(path);
        }
    }
    modules.sort();
    Ok(modules)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
