//! Builds what runs on the bare machine.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::packages::Consent;
use crate::toolchain::{self, TARGET};
use crate::workspace::Workspace;

/// Options of `build`.
#[derive(Args)]
pub struct BuildArgs {
    /// Build with debug assertions: the checks before each guest entry among them.
    #[arg(long)]
    pub debug: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    pub yes: bool,
}

/// One ELF file for the bare machine.
pub struct Image {
    /// The cargo package it was built from.
    pub package: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// The packages that become ELF files: boot stub, kernel, tasks.
const PACKAGES: [&str; 5] = [
    "lucos-boot",
    "lucos-kernel",
    "lucos-vmx",
    "lucos-memory",
    "lucos-liveupdate",
];

/// Builds all images.
///
/// # Errors
/// When there is no toolchain or a package does not compile.
pub fn build(workspace: &Workspace, args: &BuildArgs) -> Result<Vec<Image>> {
    let toolchain = toolchain::prepare(workspace, Consent::new(args.yes))?;
    let profile = if args.debug { "image-debug" } else { "image" };
    let mut images = Vec::new();
    // One cargo call each: cargo joins the features of packages built together, and what the
    // boot stub needs must not reach the tasks.
    for package in PACKAGES {
        let mut command = workspace.cargo();
        toolchain.apply(&mut command);
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
        let path = workspace.target.join(TARGET).join(profile).join(package);
        images.push(Image { package, path });
    }
    Ok(images)
}
