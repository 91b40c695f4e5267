//! The guest of a run: its kernel, its initramfs, our parts in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use image_builder::initramfs::{Builder, Parts};
use image_builder::tree::Tree;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::{self, Flavour, GuestKernel, Series, Version};

use crate::command;
use crate::modules::{self, Modules};
use crate::workspace::Workspace;
use lucos_debian_archive::packages::{self, Consent, Need};
use lucos_debian_archive::pinned::Pins;

/// Which guest, and what is put into it.
#[derive(Args)]
pub struct GuestArgs {
    /// The series of Debian's kernels: debian-6.1 or debian-6.12 [default: debian-6.1]
    #[arg(long, value_name = "SERIES")]
    pub guest: Option<Series>,
    /// What that kernel is configured for: cloud or generic [default: cloud]
    #[arg(long, value_name = "FLAVOUR", conflicts_with = "guest_version")]
    pub flavour: Option<Flavour>,
    /// One version, such as 6.1.0-47 (for clouds) or 6.1.0-47-amd64 (generic), in place of the newest
    /// of the series.
    #[arg(long, value_name = "VERSION")]
    pub guest_version: Option<Version>,
    /// A bzImage in place of Debian's.
    #[arg(long, value_name = "BZIMAGE", conflicts_with_all = ["guest", "guest_version", "flavour"])]
    pub kernel: Option<PathBuf>,
    /// An initramfs in place of ours.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's headers (what `make -C` wants), to build the update manager for --kernel.
    #[arg(long, value_name = "DIR", requires = "kernel")]
    pub headers: Option<PathBuf>,
    /// Build the kernel modules in a folder (with a Kbuild) for the guest too, and put them into
    /// /lib/lucos/modules.
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// Put a file or folder into the guest's root, by default under its own name.
    #[arg(long = "add", value_name = "SRC[:DST]")]
    pub additions: Vec<String>,
}

/// The guest's files, ready to boot.
pub struct GuestFiles {
    /// The kernel.
    pub kernel: GuestKernel,
    /// The whole initramfs.
    pub initrd: Vec<u8>,
    /// Words for the kernel's command line that the initramfs needs, to stand last.
    pub init: Option<&'static str>,
}

/// A program to be run in the guest without a person.
pub struct Script(Vec<u8>);

impl Script {
    /// A line for the guest's shell.
    pub fn of_command(command: &str) -> Self {
        Self(format!("{command}\n").into_bytes())
    }

    /// A program: a shell script, or anything with an interpreter line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Ok(Self(bytes))
    }
}

/// Fetches and makes everything for a guest.
///
/// # Errors
/// When a part cannot be fetched, made or read.
pub fn prepare(
    workspace: &Workspace,
    args: &GuestArgs,
    script: Option<&Script>,
    consent: Consent,
) -> Result<GuestFiles> {
    let needs = [Need { file: "depmod", package: "kmod" }];
    packages::ensure(&needs, consent)?;
    let archive = Archive::new(&workspace.cache);
    let kernel = choose_kernel(&archive, args)?;
    let modules = modules::build(workspace, &kernel, args.modules.as_deref(), consent)?;
    let further = modules.further.clone();
    let parts = parts(workspace, &kernel, modules)?;

    let recipe = workspace.root.join("guest/initramfs");
    let output = workspace.target.join("lucos/guest");
    let depmod = packages::find("depmod").context("no depmod")?;
    let builder = Builder { archive: &archive, recipe: &recipe, output: &output, depmod: &depmod };
    let mut overlay = additions(&args.additions)?;
    for module in &further {
        let name = module.file_name().context("a module without a name")?;
        overlay.add_host(module, &format!("lib/lucos/modules/{}", name.to_string_lossy()))?;
    }
    if let Some(Script(text)) = script {
        overlay.file("lucos/exec.sh", text.clone(), true)?;
    }
    let Some(path) = &args.initrd else {
        let path = builder.build(&kernel, &parts)?;
        let initrd = concatenate(&path, &[&overlay])?;
        return Ok(GuestFiles { kernel, initrd, init: None });
    };
    let tools = builder.guest_tools(&kernel, &parts)?;
    let initrd = concatenate(path, &[&tools, &overlay])?;
    Ok(GuestFiles {
        kernel,
        initrd,
        init: script.map(|_| "rdinit=/lucos/bin/busybox -- sh /lucos/init"),
    })
}

/// Our own parts for this kernel.
fn parts(workspace: &Workspace, kernel: &GuestKernel, modules: Modules) -> Result<Parts> {
    if kernel.headers.is_none() {
        eprintln!("No headers for {}: the guest has no update manager", kernel.release);
    }
    Ok(Parts {
        manager: modules.manager,
        patches: modules.patches,
        command: Some(command::build(workspace)?),
    })
}

fn choose_kernel(archive: &Archive, args: &GuestArgs) -> Result<GuestKernel> {
    if let Some(image) = &args.kernel {
        return Ok(GuestKernel::of_file(image, args.headers.as_deref())?);
    }
    let fetch = || match (&args.guest_version, args.guest) {
        (Some(version), _) => GuestKernel::fetch(archive, version),
        (None, series) => {
            let flavour = args.flavour.unwrap_or_default();
            GuestKernel::newest(archive, series.unwrap_or(Series::Debian6_1), flavour)
        }
    };
    if let (Some(version), Some(series)) = (&args.guest_version, args.guest)
        && Series::of(version) != Some(series)
    {
        bail!("version {version} is not of the series {series}");
    }
    Ok(kernel::with_fresh_lists(archive, fetch)?)
}

/// The kernel that tests and figures run, of a series.
///
/// # Errors
/// When no kernel of the series can be had.
pub fn pinned(workspace: &Workspace, series: Series) -> Result<GuestKernel> {
    let pins = Pins::read(&workspace.root.join("tests/kernels.toml"))?;
    let archive = Archive::new(&workspace.cache);
    Ok(pins.kernel(&archive, series, |what| eprintln!("note: {what}"))?)
}

/// What `--add` asks for.
fn additions(list: &[String]) -> Result<Tree> {
    let mut tree = Tree::new();
    for entry in list {
        // A colon in the source's own name is possible when it exists under the whole name.
        let (source, target) = match entry.rsplit_once(':') {
            Some((source, target)) if !Path::new(entry).exists() => (source, Some(target)),
            _ => (entry.as_str(), None),
        };
        // The link itself would lead nowhere in the guest.
        let real = fs::canonicalize(source).with_context(|| format!("--add: {source}"))?;
        let name = Path::new(source)
            .file_name()
            .or_else(|| real.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let target = match target {
            Some(folder) if folder.ends_with('/') => format!("{folder}{name}"),
            Some(path) => path.to_owned(),
            None => name,
        };
        tree.add_host(&real, &target).with_context(|| format!("--add {entry}"))?;
    }
    Ok(tree)
}

/// An initramfs followed by further archives, as Linux unpacks them one after the other.
fn concatenate(first: &Path, trees: &[&Tree]) -> Result<Vec<u8>> {
    let mut bytes = fs::read(first).with_context(|| first.display().to_string())?;
    for tree in trees.iter().filter(|tree| !tree.is_empty()) {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(tree.cpio()?);
    }
    Ok(bytes)
}
