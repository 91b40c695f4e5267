//! The verb `patch-survey`: how much of a newer source can be patched, and how many of a sample of
//! the patches do their work in a guest.

mod sample;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::{self, Flavour, GuestKernel};
use lucos_debian_archive::packages::Consent;
use lucos_patch_builder::output_file;
use lucos_patch_builder::progress::Progress;
use lucos_patch_builder::survey::{self, Settings, table};

use crate::patch;
use crate::workspace::Workspace;

/// Options of `patch-survey`.
#[derive(Args)]
pub struct SurveyArgs {
    /// Version of the source package of the kernel that is patched, such as 6.1.170-3.
    #[arg(long, value_name = "VERSION")]
    from: String,
    /// Version of the newer source package.
    #[arg(long, value_name = "VERSION")]
    to: String,
    /// What that kernel is configured for: cloud or generic [default: cloud]
    #[arg(long, value_name = "FLAVOUR")]
    flavour: Option<Flavour>,
    /// Look at so many files only, chosen by the seed.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Chooses the files, and the patches that are loaded.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Apply so many of the patches in a guest and roll them back; those that this machine cannot
    /// load do not count.
    #[arg(long, value_name = "N", default_value_t = 50)]
    load: usize,
    /// Write what was found as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table into a page that has one for each pair of versions.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// Surveys and prints the table.
///
/// # Errors
/// When the survey cannot be made.
pub fn run(workspace: &Workspace, args: &SurveyArgs) -> Result<()> {
    output_file::check([args.json.as_ref(), args.table.as_ref()])?;
    let archive = Archive::new(&workspace.cache);
    let consent = Consent::new(args.yes);
    let version = kernel::of_source(&archive, &args.from, args.flavour.unwrap_or_default())?;
    let settings = Settings {
        manager_symbols: patch::manager_symbols(workspace, &archive, &version, consent)?,
        kernel: version.clone(),
        to: args.to.clone(),
        limit: args.limit,
        seed: args.seed,
    };
    let mut survey = survey::run(&archive, &settings, consent, &mut Progress::new(false))?;
    if args.load > 0 {
        let kernel = GuestKernel::fetch(&archive, &version)?;
        survey.tried = sample::try_all(workspace, &version, &kernel, &survey, args.load)?;
    }
    if let Some(path) = &args.json {
        write(path, &serde_json::to_string_pretty(&survey)?)?;
    }
    if let Some(path) = &args.table {
        let page = if path.exists() {
            fs::read_to_string(path).with_context(|| path.display().to_string())?
        } else {
            String::new()
        };
        write(path, &table::into_page(&page, &survey))?;
    }
    print!("{}", table::of(&survey));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}
