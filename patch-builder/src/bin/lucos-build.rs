//! Makes a live patch of a source change.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use lucos_debian_archive::archive::Archive;
use lucos_patch_builder::arguments::BuildArgs;
use lucos_patch_builder::builder::cache_folder;

/// Makes a live patch of a source change, for one of Debian's kernels.
#[derive(Parser)]
#[command(name = "lucos-build")]
struct Cli {
    #[command(flatten)]
    build: BuildArgs,
    /// Where packages, sources and objects are kept [default: lucos in the user's cache]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// A manifest that says in which files the fixes of CVEs are; may be given several times
    #[arg(long = "fixes", value_name = "FILE")]
    manifests: Vec<PathBuf>,
    /// Module.symvers of an update manager built for this kernel
    #[arg(long, value_name = "FILE")]
    manager_symbols: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.build.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            lucos_patch_builder::arguments::print_error(&error, json);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let cache = cli
        .cache
        .or_else(cache_folder)
        .context("neither XDG_CACHE_HOME nor HOME names a folder; use --cache")?;
    cli.build.run(&Archive::new(cache), &cli.manifests, |_| Ok(cli.manager_symbols.clone()))
}
