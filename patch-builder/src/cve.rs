//! What the distribution's changelog says about a CVE, and which files its fix may be in.

use std::fmt;

use lucos_debian_archive::archive::{self, Archive};
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;
use serde::Serialize;

use crate::change::changelog::{self, Candidate, Entry};
use crate::error::Error;
use crate::kernel_tree::{self, KernelTree, source_package};
use crate::progress::Progress;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of the running kernel's source.
    pub from: String,
    /// The version whose difference to the former was searched.
    pub to: String,
    /// The entries of the changelog that name it, newest first; at least one.
    pub entries: Vec<Entry>,
    /// Files that fit, best first.
    pub candidates: Vec<Candidate>,
}

/// Looks a CVE up in a version of the source package, by default the newest, and searches for the
/// files of its fix.
///
/// # Errors
/// When there is no such version or no such entry, or the sources cannot be read.
pub fn look_up(
    archive: &Archive,
    kernel: &Version,
    cve: &str,
    version: Option<&str>,
    consent: Consent,
    progress: &mut Progress,
) -> Result<Report, Error> {
    let tree = KernelTree::open(archive, kernel, consent, progress)?;
    let package = source_package(&tree.version);
    let to = match version {
        Some(version) => version.to_owned(),
        None => newest(archive, &package)?,
    };
    let text = progress.stage("Changelog", || kernel_tree::changelog(archive, &to))?;
    let entries = changelog::find(&text, cve);
    if entries.is_empty() {
        return Err(Error::UnknownCve { cve: cve.to_owned(), package, version: to });
    }
    let from = tree.version.clone();
    let newer = kernel_tree::newer_source(archive, &to, progress)?;
    let pristine = tree.pristine();
    let candidates = progress.stage("Searching the differences", || {
        let files = changelog::changed_files(&pristine, &newer)?;
        changelog::candidates(&entries, &pristine, &newer, &files)
    })?;
    Ok(Report { from, to, entries, candidates })
}

fn newest(archive: &Archive, package: &str) -> Result<String, Error> {
    let newest = archive.versions(package)?.into_iter().next();
    newest.map(|package| package.version).ok_or_else(|| {
        Error::Package(archive::Error::Gone { name: package.to_owned(), others: Vec::new() })
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{} in {}", entry.text, entry.version)?;
        }
        if self.candidates.is_empty() {
            let Self { from, to, .. } = self;
            return writeln!(f, "No file that differs between {from} and {to} fits");
        }
        writeln!(f, "Files that differ between {} and {} and fit:", self.from, self.to)?;
        for candidate in &self.candidates {
            writeln!(
                f,
                "  {:3.0} %  {}: {} ({})",
                candidate.likelihood * 100.0,
                candidate.file,
                candidate.functions.join(", "),
                candidate.words.join(" ")
            )?;
        }
        Ok(())
    }
}
