//! Builds the guest's kernel modules: the update manager and the sample patches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use image_builder::kernel::Kernel;
use image_builder::tree::Tree;
use sha2::{Digest, Sha256};

use crate::packages::{self, Consent, Need};
use crate::workspace::Workspace;

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
}

/// Builds the modules for a kernel, or finds those built from the same sources. A kernel without
/// headers gets none.
///
/// # Errors
/// When they do not compile.
pub fn build(workspace: &Workspace, kernel: &Kernel, consent: Consent) -> Result<Modules> {
    let Some(headers) = &kernel.headers else {
        return Ok(Modules::default());
    };
    packages::ensure(&NEEDS, consent)?;
    let headers = fs::canonicalize(headers).with_context(|| headers.display().to_string())?;
    let sources = sources(&workspace.root.join("guest"))?;
    let parent = workspace.target.join("lucos/modules");
    let place = parent.join(format!("{}-{}", kernel.release, key(&sources, &headers)?));
    if !place.is_dir() {
        fs::create_dir_all(&parent)?;
        let work = tempfile::Builder::new().prefix("build-").tempdir_in(&parent)?;
        eprintln!("Building the modules for {}", kernel.release);
        compile(&workspace.root.join("guest"), work.path(), &headers)?;
        let built = work.path().join("built");
        if let Err(error) = fs::rename(&built, &place)
            && !place.is_dir()
        {
            return Err(error).with_context(|| place.display().to_string());
        }
    }
    collect(&place)
}

/// The folders of the guest's sources that the modules are made of.
const FOLDERS: [&str; 3] = ["include", "manager", "patches"];

fn sources(guest: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    for folder in FOLDERS {
        let path = guest.join(folder);
        if path.is_dir() {
            tree.add_host(&path, folder)?;
        }
    }
    Ok(tree)
}

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
        make(&work.join("manager"), headers, None)?;
        let module = work.join("manager/lucos.ko");
        fs::copy(&module, built.join("lucos.ko")).with_context(|| module.display().to_string())?;
    }
    if work.join("patches/Kbuild").is_file() {
        let symbols = work.join("manager/Module.symvers");
        make(&work.join("patches"), headers, Some(&symbols))?;
        for module in modules_below(&work.join("patches"))? {
            let name = module.file_name().context("a module without a name")?;
            fs::copy(&module, built.join("patches").join(name))?;
        }
    }
    Ok(())
}

fn make(folder: &Path, headers: &Path, symbols: Option<&Path>) -> Result<()> {
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
    // Settings of a make around us are not for this one.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", "ARCH"] {
        command.env_remove(name);
    }
    let output = command.arg("modules").output().context("make does not start")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} does not build:\n{}", folder.display(), errors.trim_end());
    }
    for line in errors.lines().filter(|line| line.contains("warning:")) {
        eprintln!("{line}");
    }
    Ok(())
}

fn collect(place: &Path) -> Result<Modules> {
    let manager = place.join("lucos.ko");
    Ok(Modules {
        manager: manager.is_file().then_some(manager),
        patches: modules_below(&place.join("patches"))?,
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
