//! The project's commands: `cargo xtask VERB`.

#![forbid(unsafe_code)]

mod bench;
mod c_lint;
mod check;
mod command;
mod guest;
mod images;
mod manual;
mod modules;
mod patch;
mod run;
mod size;
mod survey;
mod toolchain;
mod updates;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Builds, runs and checks LUCOS.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print shell exports with which plain cargo builds for the bare machine:
    /// eval "$(cargo xtask env)".
    Env {
        /// Install what is missing without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Build everything that runs on the bare machine.
    Build(images::BuildArgs),
    /// Boot LUCOS with a Debian guest in QEMU and give a root shell, or run one command.
    Run(run::RunArgs),
    /// Run the tests: those of the host, then those that start machines.
    Test(check::TestArgs),
    /// Count what LUCOS costs, beside the same guest without it.
    Bench(bench::BenchArgs),
    /// Check formatting, clippy and documentation, and the guest's C and shell scripts.
    Lint,
    /// Print how many lines of code each part has, and how large the images are.
    Size(size::SizeArgs),
    /// Make a live patch of a diff, or of a fix in a newer version of Debian's source.
    Patch(lucos_patch_builder::arguments::BuildArgs),
    /// Make a patch of each file that differs from a newer version of Debian's source, and count.
    PatchSurvey(survey::SurveyArgs),
    /// Write manual pages of `lucos`, and completions for shells.
    Manual(manual::ManualArgs),
    /// Write an ISO that boots LUCOS with a Debian guest from BIOS or UEFI.
    Iso(run::IsoArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match cli.verb {
        Verb::Env { yes } => {
            let consent = lucos_debian_archive::packages::Consent::new(yes);
            let toolchain = toolchain::prepare(&workspace, consent)?;
            print!("{}", toolchain.shell_exports());
        }
        Verb::Bench(args) => return bench::run(&workspace, &args),
        Verb::Run(args) => return run::run(&workspace, &args),
        Verb::Build(args) => images::run(&workspace, &args)?,
        Verb::Test(args) => return check::test(&workspace, &args),
        Verb::Lint => check::lint(&workspace)?,
        Verb::Size(args) => return size::run(&workspace, &args),
        Verb::Patch(args) if !patch::run(&workspace, &args) => return Ok(ExitCode::FAILURE),
        Verb::Patch(_) => {}
        Verb::PatchSurvey(args) => survey::run(&workspace, &args)?,
        Verb::Manual(args) => manual::run(&workspace, &args)?,
        Verb::Iso(args) => run::iso(&workspace, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}
