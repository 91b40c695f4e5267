//! The command line that `lucos-build` and `cargo xtask patch` share.

use std::fmt::Display;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;
use serde::Serialize;

use crate::builder::{Origin, Request, build};
use crate::cve::{Report, look_up};
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
            self.print(report)?;
            bail!("the changelog names no files: choose with --file, and --function if need be");
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
        self.print(&explanation)
    }

    fn print<T: Serialize + Display>(&self, what: &T) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(what)?);
        } else {
            print!("{what}");
        }
        Ok(())
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

/// Prints why there is no patch.
pub fn print_error(error: &anyhow::Error, json: bool) {
    if json {
        println!("{}", serde_json::json!({ "error": format!("{error:#}") }));
    } else {
        eprintln!("error: {error:#}");
    }
}
