//! The command line that `lucos-build` and `cargo xtask patch` share.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;
use serde::Serialize;

use crate::builder::{Request, build};
use crate::cve::{Report, look_up};
use crate::decisions::Said;
use crate::error::Error;
use crate::explanation::Explanation;
use crate::manifest::{self, KnownFix};
use crate::origin::Origin;
use crate::output_file;
use crate::progress::Progress;
use crate::refused::Refused;

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
    /// What the kernel may go on using after a rollback without harm, as the explanation names it
    /// (a text with or without its quotation marks), or `all`; may be given several times. When
    /// nothing else is kept, the module is unloaded after a rollback.
    #[arg(long, value_name = "NAME")]
    pub harmless: Vec<String>,
    /// What the patch does.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A variable of the changed source is one that the kernel has, by the symbols of both, such as
    /// counter.0=counter.1, with the object in front (fs/inode.o:counter.0=counter.1) if several
    /// have these; may be given several times. A line `Lucos-Same: OLD=NEW` in front of the diff does
    /// the same.
    #[arg(long, value_name = "OLD=NEW")]
    pub same: Vec<String>,
    /// A variable of the changed source is new, by its symbol; may be given several times. A line
    /// `Lucos-New: NAME` in front of the diff does the same.
    #[arg(long, value_name = "NAME")]
    pub new: Vec<String>,
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
        output_file::check([Some(&self.output), self.livepatch.as_ref()])?;
        let mut progress = Progress::new(false);
        let consent = Consent::new(self.yes);
        let known = self.known_fix(manifests)?;
        let found = match &self.cve {
            None => None,
            Some(cve) => {
                let version = known.as_ref().and_then(|known| known.version.as_deref());
                let version = self.from_debian.as_deref().or(version);
                Some(look_up(archive, &self.guest_version, cve, version, consent, &mut progress)?)
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
            harmless: self.harmless.clone(),
            description: match (&self.description, &found) {
                (None, Some(report)) => report.entries.first().map(|entry| entry.text.clone()),
                (description, _) => description.clone(),
            },
            said: self.said()?,
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

    fn said(&self) -> Result<Vec<Said>, Error> {
        let same = self.same.iter().map(|text| Said::same(text));
        same.chain(self.new.iter().map(|text| Said::new(text))).collect()
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

/// What an error answers to a machine: one object.
#[derive(Default, Serialize)]
struct Failure<'a> {
    error: String,
    /// What the changelog says about a CVE whose files nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    cve: Option<&'a serde_json::Value>,
    /// The objects of which no patch can be made, and the functions that change.
    #[serde(flatten)]
    refused: Option<Refused>,
}

impl<'a> Failure<'a> {
    fn of(error: &'a anyhow::Error) -> Self {
        let refused = match error.downcast_ref::<Error>() {
            Some(Error::RefusedObjects(refused)) => Some(refused.clone()),
            Some(Error::Refused(refusal)) => Some(refusal.clone().into()),
            _ => None,
        };
        let cve = error.downcast_ref::<Undecided>().map(|undecided| &undecided.report);
        Self { error: format!("{error:#}"), cve, refused }
    }
}

/// Prints why there is no patch.
pub fn print_error(error: &anyhow::Error, json: bool) {
    let object = json.then(|| serde_json::to_string_pretty(&Failure::of(error)).ok()).flatten();
    match object {
        Some(object) => println!("{object}"),
        None => eprintln!("error: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::changelog::{self, Candidate};
    use lucos_object_diff::{Reason, Refusal};

    fn report() -> Report {
        let text = "linux (6.1.3-1) bookworm; urgency=medium\n\n  * New upstream:\n    \
                    - mm: fix it (CVE-2026-1)\n\n -- X <x@y>  Mon, 2 Jan 2026\n\n\
                    linux (6.1.2-1) bookworm; urgency=medium\n\n  * mm: begin (CVE-2026-1)\n\n";
        let candidate = Candidate {
            file: "mm/x.c".into(),
            functions: vec!["f".into()],
            words: vec!["mm".into()],
            likelihood: 0.75,
        };
        Report {
            from: "6.1.1-1".into(),
            to: "6.1.3-1".into(),
            entries: changelog::find(text, "CVE-2026-1"),
            candidates: vec![candidate],
        }
    }

    #[test]
    fn a_looked_up_cve_and_the_error_are_one_object() {
        let report = serde_json::to_value(report()).unwrap();
        let error = Undecided { report }.into();
        let object = serde_json::to_value(Failure::of(&error)).unwrap();
        assert!(object["error"].as_str().unwrap().contains("--file"), "{object}");
        assert_eq!(object["cve"]["to"], "6.1.3-1");
        assert_eq!(object["cve"]["entries"][0]["version"], "6.1.3-1");
        assert_eq!(object["cve"]["entries"][1]["text"], "mm: begin (CVE-2026-1)");
        let other = anyhow::anyhow!("x");
        let object = serde_json::to_value(Failure::of(&other)).unwrap();
        assert_eq!(object, serde_json::json!({ "error": "x" }));
    }

    #[test]
    fn a_refusal_is_a_text_and_its_parts() {
        let refusal = || {
            let reasons = vec![Reason::InitFunction("start".into())];
            Refusal { object: "mm/a.o".into(), reasons }
        };
        let expected = serde_json::json!([
            { "object": "mm/a.o", "reasons": [{ "init_function": "start" }] }
        ]);
        for error in [Error::Refused(refusal()), Error::RefusedObjects(refusal().into())] {
            let error = anyhow::Error::from(error);
            let object = serde_json::to_value(Failure::of(&error)).unwrap();
            assert_eq!(object["error"], error.to_string());
            assert!(error.to_string().starts_with("mm/a.o: start runs during boot only"));
            assert_eq!(object["refused"], expected);
            assert_eq!(object["changed"], serde_json::json!([]));
        }
    }

    #[test]
    fn a_report_has_all_entries_and_how_sure_each_file_is() {
        let mut report = report();
        let expected = "mm: fix it (CVE-2026-1) in 6.1.3-1\nmm: begin (CVE-2026-1) in 6.1.2-1\n\
                        Files that differ between 6.1.1-1 and 6.1.3-1 and fit:\n   \
                        75 %  mm/x.c: f (mm)\n";
        assert_eq!(report.to_string(), expected);
        report.candidates.clear();
        assert!(
            report.to_string().ends_with("No file that differs between 6.1.1-1 and 6.1.3-1 fits\n")
        );
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
            kept: Vec::new(),
            module: Some("patch.ko".into()),
            without_module: None,
            stages: Vec::new(),
        };
        let report = report();
        let answer = Answer { cve: Some(&report), explanation: &explanation };
        let object = serde_json::to_value(answer).unwrap();
        assert_eq!(object["module"], "patch.ko");
        assert_eq!(object["cve"]["entries"][0]["text"], "mm: fix it (CVE-2026-1)");
        assert_eq!(object["cve"]["candidates"][0]["file"], "mm/x.c");
        assert_eq!(object["cve"]["candidates"][0]["likelihood"], 0.75);
        let answer = Answer { cve: None, explanation: &explanation };
        assert!(serde_json::to_value(answer).unwrap().get("cve").is_none());
    }
}
