//! `cargo xtask lint` and `cargo xtask test`.

use std::io::{self, Write};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, Package};
use clap::Args;
use lucos_debian_archive::packages::Consent;

use crate::c_lint;
use crate::workspace::Workspace;

/// The package whose tests start machines.
const MACHINE_TESTS: &str = "lucos-tests";

/// The verb `lint`: formatting, clippy, documentation, C and shell scripts, each without a warning.
///
/// Everything in Rust is checked as if for the host: that needs no toolchain for the bare machine.
///
/// # Errors
/// When something is to be improved.
pub fn lint(workspace: &Workspace) -> Result<()> {
    let mut steps = Vec::new();
    let mut format = workspace.cargo();
    format.args(["fmt", "--all", "--check"]);
    steps.push(format);
    for package in packages(workspace)? {
        // One call each, as in a build: joined features would hide what a package lacks.
        let mut clippy = workspace.cargo();
        clippy
            .args(["clippy", "--quiet", "--no-deps", "--all-targets"])
            .args(["--package", package.name.as_str()])
            .args(["--", "--deny", "warnings"]);
        steps.push(clippy);
    }
    let mut doc = workspace.cargo();
    doc.args(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings");
    steps.push(doc);

    let mut failures = 0;
    for step in &mut steps {
        failures += usize::from(!show(step)?);
    }
    let complaints = c_lint::complaints(workspace, Consent::new(false))?;
    for line in &complaints {
        eprintln!("{line}");
    }
    failures += usize::from(!complaints.is_empty());
    if failures > 0 {
        bail!("{failures} of {} checks found something", steps.len() + 1);
    }
    Ok(())
}

/// Options of `test`.
#[derive(Args)]
pub struct TestArgs {
    /// Name the tests and run none.
    #[arg(long)]
    list: bool,
    /// Run the long tests too.
    #[arg(long)]
    all: bool,
    /// Run only tests whose name contains one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// The verb `test`: tests on the host, then those that start machines.
///
/// # Errors
/// When cargo does not start. A failed test is an exit code.
pub fn test(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    let mut host = workspace.cargo();
    host.args(["test", "--quiet"]);
    for package in packages(workspace)?.iter().filter(|package| on_host(package)) {
        host.args(["--package", package.name.as_str()]);
    }
    let mut machines = workspace.cargo();
    machines
        .args(["test", "--quiet", "--package", MACHINE_TESTS])
        .env("LUCOS_XTASK", std::env::current_exe()?);
    let mut passed = true;
    for command in [&mut host, &mut machines] {
        command.arg("--").args(&args.filters);
        if args.list {
            command.arg("--list");
        }
        if args.all {
            command.arg("--include-ignored");
        }
        passed &= show(command)?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether a package has something that cargo can test on the host.
fn on_host(package: &Package) -> bool {
    package.name.as_str() != MACHINE_TESTS && package.targets.iter().any(|target| target.test)
}

fn packages(workspace: &Workspace) -> Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo does not describe the workspace")?;
    Ok(metadata.packages)
}

fn show(command: &mut Command) -> Result<bool> {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    eprintln!("cargo {}", words.join(" "));
    io::stderr().flush()?;
    let status = command.status().context("cargo does not start")?;
    Ok(status.success())
}
