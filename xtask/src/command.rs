//! Builds the `lucos` command of the guest.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "guest";

/// Builds the command as one static file that runs in any guest.
///
/// # Errors
/// When it does not compile.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let status = workspace
        .cargo()
        .args(["build", "--quiet", "--package", "lucos"])
        // Named even though it is the host's: build scripts must not be static.
        .args(["--target", TARGET, "--profile", PROFILE])
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .stdout(std::io::stderr())
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("the lucos command does not build");
    }
    Ok(workspace.target.join(TARGET).join(PROFILE).join("lucos"))
}
