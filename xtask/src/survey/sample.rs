//! Tries patches in guests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use lucos_debian_archive::kernel::{Kernel, Version};
use lucos_patch_builder::survey::Survey;
use lucos_patch_builder::survey::dependencies::Modules;
use lucos_patch_builder::survey::trial::{self, Outcome, Tried};

use crate::workspace::Workspace;

/// Patches that one guest tries.
const TOGETHER: usize = 25;
/// Seconds that a guest has.
const LIMIT: &str = "1200";

/// Tries a sample of what was built.
///
/// # Errors
/// When a guest cannot be prepared.
pub fn try_all(
    workspace: &Workspace,
    version: &Version,
    kernel: &Kernel,
    survey: &Survey,
    count: usize,
) -> Result<Vec<Tried>> {
    let modules = Modules::of(kernel.modules.as_deref().context("the kernel has no modules")?)?;
    let sample: BTreeMap<&str, (&str, &[String])> = survey
        .sample(count)
        .into_iter()
        .filter_map(|verdict| {
            let patch = verdict.module.as_deref()?;
            Some((patch, (verdict.file.as_str(), verdict.parts.as_slice())))
        })
        .collect();
    let mut open: Vec<&str> = sample.keys().copied().collect();
    let mut outcomes = BTreeMap::new();
    while !open.is_empty() {
        let batch: Vec<&str> = open.iter().copied().take(TOGETHER).collect();
        eprintln!("Trying {} of {} patches in a guest", batch.len(), open.len());
        let mut boot = Boot::new(workspace)?;
        for patch in &batch {
            let (_, parts) = sample.get(patch).copied().unwrap_or_default();
            boot.add(patch, parts, &modules, &survey.modules)?;
        }
        let found = boot.run(version)?;
        if found.is_empty() {
            // Not the patches' fault, or the first one's.
            let first = batch.first().copied().unwrap_or_default().to_owned();
            outcomes.insert(first, Outcome::Failed(String::from("the guest told nothing")));
        }
        outcomes.extend(found);
        open.retain(|patch| !outcomes.contains_key(*patch));
    }
    let tried = sample.into_iter().filter_map(|(patch, (file, _))| {
        Some(Tried { file: file.to_owned(), outcome: outcomes.remove(patch)? })
    });
    Ok(tried.collect())
}

/// A guest and what is put into it.
struct Boot {
    folder: tempfile::TempDir,
    trials: Vec<trial::Trial>,
}

impl Boot {
    fn new(workspace: &Workspace) -> Result<Self> {
        let work = workspace.target.join("lucos");
        fs::create_dir_all(&work)?;
        let folder = tempfile::Builder::new().prefix("survey-").tempdir_in(&work)?;
        for name in ["patches", "modules"] {
            fs::create_dir(folder.path().join(name))?;
        }
        Ok(Self { folder, trials: Vec::new() })
    }

    fn add(
        &mut self,
        patch: &str,
        parts: &[String],
        modules: &Modules,
        patches: &Path,
    ) -> Result<()> {
        let file = format!("{patch}.ko");
        let from = patches.join(&file);
        fs::copy(&from, self.folder.path().join("patches").join(&file))
            .with_context(|| from.display().to_string())?;
        let mut names = Vec::new();
        for part in parts {
            for (name, bytes) in modules.with_needs(part)? {
                if !names.contains(&name) {
                    fs::write(self.folder.path().join(format!("modules/{name}.ko")), bytes)?;
                    names.push(name);
                }
            }
        }
        self.trials.push(trial::Trial { patch: patch.to_owned(), modules: names });
        Ok(())
    }

    fn run(&self, version: &Version) -> Result<BTreeMap<String, Outcome>> {
        let script = self.folder.path().join("script");
        fs::write(&script, trial::script(&self.trials))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--yes", "--cpus", "2", "--timeout", LIMIT]);
        command.args(["--guest-version", &version.to_string()]);
        command.arg("--script").arg(&script);
        command.arg("--log").arg(self.folder.path().join("log"));
        for (name, place) in [("patches", trial::PATCHES), ("modules", trial::MODULES)] {
            let from = self.folder.path().join(name);
            command.arg("--add").arg(format!("{}:{place}", from.display()));
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            eprintln!("The guest ended with {}", output.status);
        }
        Ok(trial::outcomes(&String::from_utf8_lossy(&output.stdout)))
    }
}
