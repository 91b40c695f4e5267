//! Builds what runs on the bare machine, and the bundle that LUCOS boots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use image_builder::bundle::{Bundle, GuestParts};
use image_builder::system::{self, System};
use lucos_abi::manifest::SystemTable;

use crate::toolchain::{self, TARGET, Toolchain};
use crate::workspace::Workspace;
use lucos_debian_archive::packages::Consent;
use lucos_patch_builder::output_file;

/// How the images are compiled.
#[derive(Args, Clone)]
pub struct Mode {
    /// Build LUCOS with debug assertions: the checks before each guest entry among them.
    #[arg(long)]
    pub debug: bool,
    /// A cargo feature with which the tasks are built: for tests.
    #[arg(long, value_name = "NAME", hide = true)]
    pub task_feature: Option<String>,
}

impl Mode {
    /// The cargo profile.
    pub fn profile(&self) -> &'static str {
        if self.debug { "image-debug" } else { "image" }
    }

    /// The cargo feature with which the kernel is built.
    fn kernel_feature(&self) -> Option<&'static str> {
        self.debug.then_some("vmcb-check")
    }
}

/// Options of `build`.
#[derive(Args)]
pub struct BuildArgs {
    #[command(flatten)]
    mode: Mode,
    /// Another system than system.toml describes.
    #[arg(long, value_name = "FILE")]
    system: Option<PathBuf>,
    /// Also write a boot bundle, for a system that only tests itself.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// The ELF files of a system.
pub struct Images {
    /// The boot stub.
    pub boot: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The tasks by name, in the order of the system table.
    pub tasks: Vec<(String, PathBuf)>,
    /// The system table.
    pub system: SystemTable,
    /// A bare-metal guest that belongs to the system.
    pub guest: Option<PathBuf>,
}

impl Images {
    /// Every file.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let tasks = self.tasks.iter().map(|(_, path)| path);
        let fixed = [&self.boot, &self.kernel];
        fixed.into_iter().chain(tasks).chain(&self.guest)
    }

    /// The boot bundle with the system's own guest, if it has one.
    ///
    /// # Errors
    /// When a file cannot be read or would not boot.
    pub fn self_contained_bundle(&self) -> Result<Vec<u8>> {
        let Some(path) = &self.guest else {
            return self.bundle(None);
        };
        let kernel = fs::read(path).with_context(|| path.display().to_string())?;
        self.bundle(Some(GuestParts { kernel: &kernel, initrd: &[], cmdline: "" }))
    }

    /// The boot bundle with a guest.
    ///
    /// # Errors
    /// When a file cannot be read or would not boot.
    pub fn bundle(&self, guest: Option<GuestParts<'_>>) -> Result<Vec<u8>> {
        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let kernel = read(&self.kernel)?;
        let tasks = self
            .tasks
            .iter()
            .map(|(name, path)| Ok((name.as_str(), read(path)?)))
            .collect::<Result<Vec<_>>>()?;
        let bundle = Bundle { kernel: &kernel, system: &self.system, tasks: &tasks, guest };
        Ok(bundle.write()?)
    }
}

/// The verb `build`.
///
/// # Errors
/// When there is no toolchain or something does not compile.
pub fn run(workspace: &Workspace, args: &BuildArgs) -> Result<()> {
    output_file::check([args.bundle.as_ref()])?;
    let default = workspace.root.join("system.toml");
    let system = args.system.as_ref().unwrap_or(&default);
    let images = build_system(workspace, system, &args.mode, Consent::new(args.yes))?;
    if let Some(place) = &args.bundle {
        let bundle = images.self_contained_bundle()?;
        fs::write(place, bundle).with_context(|| place.display().to_string())?;
    }
    for path in images.paths() {
        println!("{}", path.display());
    }
    Ok(())
}

/// Builds the project's own system.
///
/// # Errors
/// When there is no toolchain or something does not compile.
pub fn build(workspace: &Workspace, mode: &Mode, consent: Consent) -> Result<Images> {
    build_system(workspace, &workspace.root.join("system.toml"), mode, consent)
}

/// Builds the system that a file describes.
///
/// # Errors
/// When there is no toolchain or something does not compile.
pub fn build_system(
    workspace: &Workspace,
    path: &Path,
    mode: &Mode,
    consent: Consent,
) -> Result<Images> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let System { table, packages, guest } =
        system::parse(&text).with_context(|| path.display().to_string())?;
    let toolchain = toolchain::prepare(workspace, consent)?;
    let compile_task =
        |package: &str| compile(workspace, &toolchain, mode, package, mode.task_feature.as_deref());
    let kernel = compile(workspace, &toolchain, mode, "lucos-kernel", mode.kernel_feature())?;
    let compile = |package: &str| compile(workspace, &toolchain, mode, package, None);
    let tasks = table
        .tasks
        .iter()
        .zip(&packages)
        .map(|(task, package)| Ok((task.name.to_string(), compile_task(package)?)))
        .collect::<Result<_>>()?;
    Ok(Images {
        boot: compile("lucos-boot")?,
        kernel,
        tasks,
        system: table,
        guest: guest.as_deref().map(compile).transpose()?,
    })
}

/// Compiles one package for the bare machine. Each has a cargo call of its own: cargo joins the
/// features of packages built together, and what the boot stub needs must not reach the tasks.
fn compile(
    workspace: &Workspace,
    toolchain: &Toolchain,
    mode: &Mode,
    package: &str,
    feature: Option<&str>,
) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    toolchain.apply(&mut command);
    let profile = mode.profile();
    command.args(["build", "--quiet", "--target", TARGET]).args([
        "--profile",
        profile,
        "--package",
        package,
    ]);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    let status = command.stdout(std::io::stderr()).status().context("cargo does not start")?;
    if !status.success() {
        bail!("{package} does not build");
    }
    Ok(workspace.target.join(TARGET).join(profile).join(package))
}
