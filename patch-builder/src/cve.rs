//! What the distribution's changelog says about a CVE, and which files its fix may be in.

use std::fmt;
use std::fs;
use std::path::Path;

use lucos_debian_archive::archive::{self, Archive};
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;
use serde::Serialize;

use crate::change::changelog::{self, Candidate, Entry};
use crate::digest;
use crate::error::{Error, at};
use crate::kernel_tree::{self, KernelTree, source_package};
use crate::progress::Progress;
use crate::survey::store;

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
        let kept = archive.cache().join("searches");
        search(&kept, &entries, (&from, &pristine), (&to, &newer))
    })?;
    Ok(Report { from, to, entries, candidates })
}

/// The files that fit entries, of two versions and their sources. What this very program found is
/// kept, so that the next build of a fix need not read all sources.
fn search(
    kept: &Path,
    entries: &[Entry],
    from: (&str, &Path),
    to: (&str, &Path),
) -> Result<Vec<Candidate>, Error> {
    let program = store::program()?;
    let texts = entries.iter().map(|entry| entry.text.as_bytes());
    let versions = [program.as_bytes(), from.0.as_bytes(), to.0.as_bytes()];
    let parts: Vec<&[u8]> = versions.into_iter().chain(texts).collect();
    let place = kept.join(format!("{}.json", digest::of(&parts)));
    let known = fs::read(&place).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(candidates) = known {
        return Ok(candidates);
    }
    let files = changelog::changed_files(from.1, to.1)?;
    let candidates = changelog::candidates(entries, from.1, to.1, &files)?;
    fs::create_dir_all(kept).map_err(at(kept))?;
    store::write(&place, &candidates)?;
    Ok(candidates)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_kept_for_its_entries_and_versions() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (place, limit) in [(&from, "1"), (&to, "2")] {
            fs::create_dir_all(place.join("mm")).unwrap();
            let text = format!("int f(void)\n{{\n\treturn mremap_limit({limit});\n}}\n");
            fs::write(place.join("mm/mremap.c"), text).unwrap();
        }
        let entry = |text: &str| Entry { version: "2".into(), text: text.into() };
        let kept = folder.path().join("searches");
        let find =
            |text, version| search(&kept, &[entry(text)], ("1", &from), (version, &to)).unwrap();
        let first = find("mremap_limit is wrong", "2");
        assert_eq!(first[0].file, "mm/mremap.c");
        fs::remove_file(to.join("mm/mremap.c")).unwrap();
        assert_eq!(find("mremap_limit is wrong", "2"), first, "without reading the sources");
        assert!(find("mremap_limit is too small", "2").is_empty(), "another entry");
        assert!(find("mremap_limit is wrong", "3").is_empty(), "another version");
    }
}
