//! The command line that `lucos-build` and `cargo xtask patch` share.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;
use serde::Serialize;

use crate::builder::{Origin, Request, build};
use crate::cve::{Report, look_up};
use crate::explanation::Explanation;
use crate::manifest::{self, KnownFix};
use crate::progress::Progress;

/// What is to be built.
#[derive(Args)]
pub struct BuildArgs {
    /// A unified diff against the kernel's source.
    #[arg(value_name = "DIFF", conflicts_with_all = ["from_debian", "cve", "files"])]
    pub diff: Option<PathBuf>,
    /// The version of the distribution's source package that has the fix, such as 6.1.192-2.
    #[arg(long, value_name = "VERSION")]
    pub from_debian: Option<String>,
    /// A CVE that the changelog of the distribution's source package names. Without --file it is
    /// only looked up.
    #[arg(long, value_name = "CVE")]
    pub cve: Option<String>,
    /// A file whose difference is the fix; may be given several times.
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<String>,
    /// Only what differs in this function, and what it newly uses; may be given several times.
    #[arg(long = "function", value_name = "NAME", requires = "files")]
    pub functions: Vec<String>,
    /// The kernel that the patch is for, such as 6.1.0-47.
    #[arg(long, value_name = "VERSION")]
    pub guest_version: Version,
    /// The module to write; its name is the patch's.
    #[arg(long, short, value_name = "FILE", default_value = "patch.ko")]
    pub output: PathBuf,
    /// Write the same new code as a module for the kernel's own livepatch too, to compare the two.
    #[arg(long, value_name = "FILE")]
    pub livepatch: Option<PathBuf>,
    /// What the patch does.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Explain in JSON.
    #[arg(long)]
    pub json: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    pub yes: bool,
}

impl BuildArgs {
    /// Builds the patch and prints the explanation. `manifests` are files that say where the fixes
    /// of CVEs are; `manager_symbols` finds the `Module.symvers` of the update manager for a kernel.
    ///
    /// # Errors
    /// When there is no patch.
    pub fn run(
        &self,
        archive: &Archive,
        manifests: &[PathBuf],
        manager_symbols: impl FnOnce(&Version) -> Result<Option<PathBuf>>,
    ) -> Result<()> {
        let mut progress = Progress::new(self.json);
        let consent = Consent::new(self.yes);
        let known = self.known_fix(manifests)?;
        let found = match &self.cve {
            None => None,
            Some(cve) => {
                let version = known.as_ref().and_then(|known| known.version.as_deref());
                let version = self.from_debian.as_deref().or(version);
                let (kernel, is_settled) = (&self.guest_version, known.is_some());
                Some(look_up(archive, kernel, cve, version, is_settled, consent, &mut progress)?)
            }
        };
        if let Some(report) = &found
            && known.is_none()
        {
            return Err(self.undecided(report)?);
        }
        if let Some(report) = found.as_ref().filter(|_| !self.json) {
            print!("{report}");
        }
        let request = Request {
            kernel: self.guest_version.clone(),
            origin: self.origin(found.as_ref(), known)?,
            output: self.output.clone(),
            livepatch: self.livepatch.clone(),
            description: match (&self.description, &found) {
                (None, Some(report)) => Some(report.entry.text.clone()),
                (description, _) => description.clone(),
            },
            manager_symbols: manager_symbols(&self.guest_version)?,
        };
        let explanation = build(archive, &request, consent, progress)?;
        if self.json {
            let answer = Answer { cve: found.as_ref(), explanation: &explanation };
            println!("{}", serde_json::to_string_pretty(&answer)?);
        } else {
            print!("{explanation}");
        }
        Ok(())
    }

    /// Says what was found, which does not tell what to build.
    fn undecided(&self, report: &Report) -> Result<anyhow::Error> {
        if !self.json {
            print!("{report}");
        }
        Ok(Undecided { report: serde_json::to_value(report)? }.into())
    }

    /// The files of the fix: those of the command line, or of a manifest that has the CVE.
    fn known_fix(&self, manifests: &[PathBuf]) -> Result<Option<KnownFix>> {
        if self.files.is_empty() {
            let Some(cve) = &self.cve else { return Ok(None) };
            return Ok(manifest::find(manifests, &self.guest_version, cve)?);
        }
        let version = self.from_debian.clone();
        let (files, functions) = (self.files.clone(), self.functions.clone());
        Ok(Some(KnownFix { version, files, functions }))
    }

    fn origin(&self, found: Option<&Report>, known: Option<KnownFix>) -> Result<Origin> {
        let version = found.map(|report| report.to.clone()).or_else(|| self.from_debian.clone());
        match (&self.diff, version, known) {
            (Some(path), ..) => Ok(Origin::Diff(path.clone())),
            (None, Some(version), Some(KnownFix { files, functions, .. })) => {
                Ok(Origin::Debian { version, files, functions })
            }
            _ => bail!("give a diff, --from-debian with --file, or --cve"),
        }
    }
}

/// What a build answers to a machine: one object.
#[derive(Serialize)]
struct Answer<'a> {
    /// What the changelog says about the CVE that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    cve: Option<&'a Report>,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

/// A CVE was looked up, and nobody knows its files.
#[derive(Debug, thiserror::Error)]
#[error("the changelog names no files: choose with --file, and --function if need be")]
struct Undecided {
    report: serde_json::Value,
}

/// An error for a machine: one object.
fn error_object(error: &anyhow::Error) -> serde_json::Value {
    let message = format!("{error:#}");
    match error.downcast_ref::<Undecided>() {
        Some(Undecided { report }) => serde_json::json!({ "error": message, "cve": report }),
        None => serde_json::json!({ "error": message }),
    }
}

/// Prints why there is no patch.
pub fn print_error(error: &anyhow::Error, json: bool) {
    if json {
        println!("{}", error_object(error));
    } else {
        eprintln!("error: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::changelog;

    fn report() -> Report {
        let text = "linux (6.1.2-1) bookworm; urgency=medium\n\n  * New upstream:\n    \
                    - mm: fix it (CVE-2026-1)\n\n -- X <x@y>  Mon, 1 Jan 2026\n";
        let entry = changelog::find(text, "CVE-2026-1").remove(0);
        Report { from: "6.1.1-1".into(), to: "6.1.2-1".into(), entry, candidates: Vec::new() }
    }

    #[test]
    fn a_looked_up_cve_and_the_error_are_one_object() {
        let report = serde_json::to_value(report()).unwrap();
        let object = error_object(&Undecided { report }.into());
        assert!(object["error"].as_str().unwrap().contains("--file"), "{object}");
        assert_eq!(object["cve"]["to"], "6.1.2-1");
        assert_eq!(object["cve"]["entry"]["version"], "6.1.2-1");
        let other = error_object(&anyhow::anyhow!("x"));
        assert_eq!(other, serde_json::json!({ "error": "x" }));
    }

    #[test]
    fn a_settled_cve_is_in_the_answer() {
        let explanation = Explanation {
            kernel: "6.1.0-1".into(),
            version: "6.1.1-1".into(),
            build_id: "00".into(),
            origin: "mm/x.c of Debian 6.1.2-1".into(),
            files: vec!["mm/x.c".into()],
            objects: Vec::new(),
            module: Some("patch.ko".into()),
            without_module: None,
            stages: Vec::new(),
        };
        let report = report();
        let answer = Answer { cve: Some(&report), explanation: &explanation };
        let object = serde_json::to_value(answer).unwrap();
        assert_eq!(object["module"], "patch.ko");
        assert!(object["cve"]["entry"]["text"].as_str().unwrap().contains("fix it"), "{object}");
        let answer = Answer { cve: None, explanation: &explanation };
        assert!(serde_json::to_value(answer).unwrap().get("cve").is_none());
    }
}
