//! Tries patches in guests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use lucos_debian_archive::kernel::{GuestKernel, Version};
use lucos_patch_builder::survey::dependencies::Modules;
use lucos_patch_builder::survey::trial::{self, Outcome, Tried};
use lucos_patch_builder::survey::{Survey, Verdict};

use crate::workspace::Workspace;

/// Patches that one guest tries.
const TOGETHER: usize = 25;
/// Seconds that a guest has.
const LIMIT: &str = "1200";

/// Tries a sample of what was built: in the seed's order, until so many were tried that this machine
/// can load, or there is no more.
///
/// # Errors
/// When a guest cannot be prepared.
pub fn try_all(
    workspace: &Workspace,
    version: &Version,
    kernel: &GuestKernel,
    survey: &Survey,
    count: usize,
) -> Result<Vec<Tried>> {
    let modules = Modules::of(kernel.modules.as_deref().context("the kernel has no modules")?)?;
    let drawn = survey.drawn();
    let named = || drawn.iter().filter_map(|verdict| Some((verdict.module.as_deref()?, *verdict)));
    let order: Vec<&str> = named().map(|(patch, _)| patch).collect();
    let verdicts: BTreeMap<&str, &Verdict> = named().collect();
    let mut outcomes = BTreeMap::new();
    loop {
        let mut batch = trial::next(&order, &outcomes, count);
        let open = batch.len();
        batch.truncate(TOGETHER);
        let Some(first) = batch.first() else {
            break;
        };
        eprintln!("Trying {} of {open} patches in a guest", batch.len());
        let mut boot = Boot::new(workspace)?;
        for patch in &batch {
            let parts = verdicts.get(patch).map_or(&[][..], |verdict| verdict.parts.as_slice());
            boot.add(patch, parts, &modules, &survey.modules)?;
        }
        let found = boot.run(version)?;
        if found.is_empty() {
            // Not the patches' fault, or the first one's.
            let reason = String::from("the guest told nothing");
            outcomes.insert((*first).to_owned(), Outcome::Failed(reason));
        }
        outcomes.extend(found);
    }
    let mut tried: Vec<Tried> = named()
        .filter_map(|(patch, verdict)| {
            Some(Tried { file: verdict.file.clone(), outcome: outcomes.remove(patch)? })
        })
        .collect();
    tried.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(tried)
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
