//! Builds what runs on the bare machine, and the bundle that LUCOS boots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use image_builder::bundle::{Bundle, GuestParts};
use image_builder::system;
use lucos_abi::manifest::SystemTable;

use crate::packages::Consent;
use crate::toolchain::{self, TARGET, Toolchain};
use crate::workspace::Workspace;

/// How the images are compiled.
#[derive(Args, Clone, Copy)]
pub struct Mode {
    /// Build LUCOS with debug assertions: the checks before each guest entry among them.
    #[arg(long)]
    pub debug: bool,
}

impl Mode {
    /// The cargo profile.
    pub fn profile(self) -> &'static str {
        if self.debug { "image-debug" } else { "image" }
    }
}

/// Options of `build`.
#[derive(Args)]
pub struct BuildArgs {
    #[command(flatten)]
    mode: Mode,
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
}

impl Images {
    /// Every file.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let tasks = self.tasks.iter().map(|(_, path)| path);
        [&self.boot, &self.kernel].into_iter().chain(tasks)
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
        let bundle = Bundle {
            kernel: &kernel,
            system: &self.system,
            tasks: &tasks,
            guest,
        };
        Ok(bundle.write()?)
    }
}

/// The verb `build`.
///
/// # Errors
/// When there is no toolchain or something does not compile.
pub fn run(workspace: &Workspace, args: &BuildArgs) -> Result<()> {
    let images = build(workspace, args.mode, Consent::new(args.yes))?;
    for path in images.paths() {
        println!("{}", path.display());
    }
    Ok(())
}

/// Builds the system that `system.toml` describes.
///
/// # Errors
/// When there is no toolchain or something does not compile.
pub fn build(workspace: &Workspace, mode: Mode, consent: Consent) -> Result<Images> {
    let path = workspace.root.join("system.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let system = system::parse(&text).context("system.toml")?;
    let toolchain = toolchain::prepare(workspace, consent)?;
    let compile = |package: &str| compile(workspace, &toolchain, mode, package);
    let tasks = system
        .tasks
        .iter()
        .map(|task| {
            Ok((
                task.name.to_string(),
                compile(&format!("lucos-{}", task.name))?,
            ))
        })
        .collect::<Result<_>>()?;
    Ok(Images {
        boot: compile("lucos-boot")?,
        kernel: compile("lucos-kernel")?,
        tasks,
        system,
    })
}

/// Compiles one package for the bare machine. Each has a cargo call of its own: cargo joins the
/// features of packages built together, and what the boot stub needs must not reach the tasks.
fn compile(
    workspace: &Workspace,
    toolchain: &Toolchain,
    mode: Mode,
    package: &str,
) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    toolchain.apply(&mut command);
    let profile = mode.profile();
    command
        .args(["build", "--quiet", "--target", TARGET])
        .args(["--profile", profile, "--package", package]);
    let status = command
        .stdout(std::io::stderr())
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("{package} does not build");
    }
    Ok(workspace.target.join(TARGET).join(profile).join(package))
}
