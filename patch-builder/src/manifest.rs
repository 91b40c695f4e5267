//! Manifests of fixes: which files and functions a CVE of the changelog is about.

use std::fs;
use std::path::{Path, PathBuf};

use lucos_debian_archive::kernel::{Series, Version};
use serde::Deserialize;

use crate::error::{Error, at};

/// A fix whose place in the source is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFix {
    /// The version of the source package that has it, if it is known too.
    pub version: Option<String>,
    /// The files.
    pub files: Vec<String>,
    /// The functions; none for all that differs in the files.
    pub functions: Vec<String>,
}

/// What is of interest here of a manifest.
#[derive(Deserialize)]
struct Manifest {
    series: String,
    fixed: Fixed,
    #[serde(rename = "fix")]
    fixes: Vec<Entry>,
}

#[derive(Deserialize)]
struct Fixed {
    source: String,
}

#[derive(Deserialize)]
struct Entry {
    cve: Option<String>,
    files: Vec<String>,
    #[serde(default)]
    functions: Vec<String>,
}

/// The fix of a CVE, from the first manifest of the kernel's series that has it.
///
/// # Errors
/// When a manifest cannot be read or is none.
pub fn find(manifests: &[PathBuf], kernel: &Version, cve: &str) -> Result<Option<KnownFix>, Error> {
    for path in manifests {
        let text = fs::read_to_string(path).map_err(at(path))?;
        if let Some(found) = find_in(path, &text, kernel, cve)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_in(
    path: &Path,
    text: &str,
    kernel: &Version,
    cve: &str,
) -> Result<Option<KnownFix>, Error> {
    let wrong = |message: String| Error::Manifest { file: path.to_owned(), message };
    let manifest: Manifest = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let series: Series = manifest.series.parse().map_err(wrong)?;
    if Series::of(kernel) != Some(series) {
        return Ok(None);
    }
    let version = Some(manifest.fixed.source);
    let found = manifest.fixes.into_iter().find(|fix| fix.cve.as_deref() == Some(cve));
    Ok(found.map(|Entry { files, functions, .. }| KnownFix { version, files, functions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "series = \"debian-6.1\"\nrunning = { kernel = \"6.1.0-47\", source = \"1\" }\n\
        fixed = { kernel = \"6.1.0-56\", source = \"6.1.192-2\" }\n\
        [[fix]]\nname = \"a\"\ncve = \"CVE-2026-1\"\nfiles = [\"a.c\"]\n\
        [[fix]]\nname = \"b\"\ncve = \"CVE-2026-12\"\nfiles = [\"b.c\", \"b.h\"]\nfunctions = [\"f\"]\n";

    fn look(text: &str, kernel: &str, cve: &str) -> Result<Option<KnownFix>, Error> {
        find_in(Path::new("m.toml"), text, &kernel.parse().expect("a version"), cve)
    }

    #[test]
    fn a_manifest_of_the_series_settles_a_cve() {
        let found = look(MANIFEST, "6.1.0-47", "CVE-2026-12").expect("a manifest");
        let known = KnownFix {
            version: Some("6.1.192-2".into()),
            files: vec!["b.c".into(), "b.h".into()],
            functions: vec!["f".into()],
        };
        assert_eq!(found, Some(known));
        for (kernel, cve) in [("6.1.0-47", "CVE-2026-2"), ("6.12.107+deb12", "CVE-2026-12")] {
            assert_eq!(look(MANIFEST, kernel, cve).expect("a manifest"), None);
        }
    }

    #[test]
    fn what_is_no_manifest_is_an_error_that_names_the_file() {
        for text in ["x", "series = 1", &MANIFEST.replace("debian-6.1", "else")] {
            let error = look(text, "6.1.0-47", "CVE-2026-1").expect_err("no manifest");
            assert!(error.to_string().contains("m.toml"), "{error}");
        }
    }
}
