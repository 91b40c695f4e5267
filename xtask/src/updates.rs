//! `cargo xtask bench --updates`: what code updates cost under LUCOS, beside the same changes
//! through the guest's own livepatch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use lucos_bench::Output;
use lucos_bench::updates::{self, Change, Measured, Origin, script};
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;
use lucos_patch_builder::builder::{self, Request};
use lucos_patch_builder::manifest::Manifest;
use lucos_patch_builder::origin;
use lucos_patch_builder::pinned;
use lucos_patch_builder::progress::Progress;
use serde_json::json;

use crate::bench::{self, LIMIT};
use crate::patch;
use crate::workspace::Workspace;

/// The page that has the table, and the figures and the picture beside it.
const PAGE: &str = "docs/updates.md";
const FIGURES: &str = "docs/updates.json";
const PICTURE: &str = "docs/updates.svg";

/// What is made of the figures.
pub struct Wanted<'a> {
    /// Write them to this file.
    pub json: Option<&'a Path>,
    /// Renew the page in the documentation, its figures and its picture.
    pub record: bool,
}

/// Measures and tells. A change whose patch cannot be built is left out, and makes the exit code a
/// failure.
///
/// # Errors
/// When a change was not in force when it should have been.
pub fn run(workspace: &Workspace, wanted: &Wanted<'_>, consent: Consent) -> Result<ExitCode> {
    let (manifest, all) = updates::changes().map_err(anyhow::Error::msg)?;
    let archive = Archive::new(&workspace.cache);
    let manifest = pinned::available(&archive, &manifest, |what| eprintln!("note: {what}"))?;
    let work = workspace.target.join("lucos");
    fs::create_dir_all(&work)?;
    let folder = tempfile::Builder::new().prefix("updates-").tempdir_in(&work)?;
    let builder = Builder::new(workspace, archive, &manifest, folder.path(), consent)?;
    let (mut changes, mut modules) = (Vec::new(), Vec::new());
    let mut code = ExitCode::SUCCESS;
    for change in all {
        match builder.build(&change) {
            Ok(built) => {
                modules.extend(built);
                changes.push(change);
            }
            Err(error) => {
                eprintln!("error: {} is left out: {error:#}", change.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    let text = boot(workspace, &manifest, &changes, &modules, folder.path())?;
    // To look at when something is missing.
    fs::write(work.join("bench.updates"), &text)?;
    let output = Output::parse(&text);
    let rows = updates::derive(&output, &changes)?;
    let machine =
        format!("{}, QEMU {}, 1 processor", output.text("kernel")?, bench::qemu_version()?);
    let table = updates::table(&rows);
    println!("{machine}\n\n{table}");
    let figures = serde_json::to_string_pretty(&json!({ "machine": machine, "rows": rows }))?;
    if let Some(file) = wanted.json {
        write(file, &figures)?;
    }
    if wanted.record {
        record(workspace, &machine, &table, &rows)?;
        write(&workspace.root.join(FIGURES), &format!("{figures}\n"))?;
    }
    Ok(code)
}

/// Renews the page and its picture.
fn record(workspace: &Workspace, machine: &str, table: &str, rows: &[Measured]) -> Result<()> {
    let page = workspace.root.join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let measured = format!("\n{machine}:\n\n{table}");
    let text = updates::replace(&text, &measured)
        .with_context(|| format!("{} does not have the marks once", page.display()))?;
    write(&workspace.root.join(PICTURE), &updates::picture(rows)?)?;
    write(&page, &text)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// Builds patches that are made of fixes, each for both.
struct Builder<'a> {
    archive: Archive,
    manifest: &'a Manifest,
    kernel: Version,
    manager_symbols: Option<PathBuf>,
    folder: &'a Path,
    consent: Consent,
}

impl<'a> Builder<'a> {
    fn new(
        workspace: &Workspace,
        archive: Archive,
        manifest: &'a Manifest,
        folder: &'a Path,
        consent: Consent,
    ) -> Result<Self> {
        let kernel: Version = manifest.running.kernel.parse().map_err(anyhow::Error::msg)?;
        let manager_symbols = patch::manager_symbols(workspace, &archive, &kernel, consent)?;
        Ok(Self { archive, manifest, kernel, manager_symbols, folder, consent })
    }

    /// The modules of a change; none for one whose modules the guest has anyway.
    fn build(&self, change: &Change) -> Result<Vec<PathBuf>> {
        let Origin::Built { files, functions } = &change.origin else {
            return Ok(Vec::new());
        };
        let output = self.folder.join(format!("{}.ko", change.lucos()));
        let livepatch = self.folder.join(format!("{}.ko", change.livepatch()));
        let request = Request {
            kernel: self.kernel.clone(),
            origin: origin::Origin::Debian {
                version: self.manifest.fixed.source.clone(),
                files: files.clone(),
                functions: functions.clone(),
            },
            output: output.clone(),
            livepatch: Some(livepatch.clone()),
            harmless: Vec::new(),
            description: Some(change.title.clone()),
            said: Vec::new(),
            manager_symbols: self.manager_symbols.clone(),
        };
        eprintln!("Building {}", change.name);
        let made = builder::build(&self.archive, &request, self.consent, Progress::new(true))?;
        let (changed, expected) = (made.changed(), change.functions);
        if changed != expected {
            bail!("{changed} functions change, not {expected}");
        }
        Ok(vec![output, livepatch])
    }
}

/// Runs the guest; what it printed.
fn boot(
    workspace: &Workspace,
    manifest: &Manifest,
    changes: &[Change],
    modules: &[PathBuf],
    folder: &Path,
) -> Result<String> {
    let programs = workspace.root.join("tests/guest-programs");
    let script = folder.join("script");
    fs::write(&script, script::script(changes))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--deterministic", "--yes", "--cpus", "1", "--timeout", LIMIT]);
    command.args(["--guest-version", &manifest.running.kernel, "--append", script::WORDS]);
    command.arg("--modules").arg(workspace.root.join("bench/update-modules"));
    command.arg("--script").arg(&script).arg("--log").arg(folder.join("log"));
    for (name, place) in [("figures", "/bin/figures"), ("updates", "/bin/updates")] {
        let program = folder.join(name);
        bench::compile(workspace, &[programs.join(format!("{name}.c"))], &program)?;
        command.arg("--add").arg(format!("{}:{place}", program.display()));
    }
    let program = folder.join("fixes");
    bench::compile(workspace, &sources(&programs.join("fixes"))?, &program)?;
    for file in modules.iter().chain([&program]) {
        command.arg("--add").arg(file);
    }
    eprintln!("Measuring");
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("the guest: {}\n{text}", output.status);
    }
    Ok(text)
}

/// The sources of a program of several files.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}
