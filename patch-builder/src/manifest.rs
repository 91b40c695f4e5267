//! Manifests of fixes: which files and functions a fix of the distribution is in, and how it shows.
//!
//! The builder looks CVEs up in them; the tests and the table of code updates build what they name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lucos_debian_archive::kernel::{Series, Version};
use serde::Deserialize;

use crate::error::{Error, at};

/// The fixes of one series.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The guest, such as `debian-6.1`.
    pub series: String,
    /// The kernel that is patched.
    pub running: Revision,
    /// The one that has the fixes.
    pub fixed: Revision,
    /// The fixes, by the array `fix`.
    #[serde(rename = "fix")]
    pub fixes: Vec<Fix>,
}

/// A kernel and the version of its source package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// As in the names of packages: `6.1.0-47`.
    pub kernel: String,
    /// As `6.1.170-3`.
    pub source: String,
}

/// One fix.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// The patch's name.
    pub name: String,
    /// Upstream's subject, as in the distribution's changelog.
    pub subject: Option<String>,
    /// Its number, when it has one.
    pub cve: Option<String>,
    /// The files whose differences it is part of.
    pub files: Vec<String>,
    /// The functions in the source that it changes; none for all that differs in the files.
    #[serde(default)]
    pub functions: Vec<String>,
    /// The functions that differ in the objects, sorted; none when nobody has looked.
    #[serde(default)]
    pub changes: Vec<String>,
    /// The module that has to be loaded for it.
    pub module: Option<String>,
    /// How it shows.
    pub sign: Option<Sign>,
    /// What shows that its code runs, where nothing can be provoked to be different.
    pub calls: Option<Calls>,
    /// It takes longer to look at, or is of the same kind as others.
    #[serde(default)]
    pub long: bool,
}

/// A command whose output differs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// For the guest's shell.
    pub command: String,
    /// Its output without the fix, trimmed.
    pub old: String,
    /// Its output with the fix.
    pub new: String,
}

/// A command that makes the kernel call a function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// For the guest's shell.
    pub command: String,
    /// The function whose calls count.
    pub function: String,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it cannot be read, and as [`Self::parse`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(file).map_err(at(file))?;
        Self::parse(file, &text)
    }

    /// Parses the text of a manifest; `file` is its name for messages.
    ///
    /// # Errors
    /// When it is not TOML, has an unknown key, lacks one, or contradicts itself.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let wrong = |message: String| Error::Manifest { file: file.to_owned(), message };
        let manifest: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    /// The same with other fixes.
    #[must_use]
    pub fn with(&self, fixes: Vec<Fix>) -> Self {
        Self { fixes, ..self.clone() }
    }

    fn check(&self) -> Result<(), String> {
        let _: Series = self.series.parse().map_err(|error| format!("series: {error}"))?;
        let mut names = BTreeSet::new();
        for fix in &self.fixes {
            if !names.insert(&fix.name) {
                return Err(format!("fix {}: there are two of this name", fix.name));
            }
            fix.check().map_err(|what| format!("fix {}: {what}", fix.name))?;
        }
        Ok(())
    }
}

impl Fix {
    fn check(&self) -> Result<(), &'static str> {
        if self.files.is_empty() {
            return Err("files: there are none");
        }
        if !self.changes.is_sorted() {
            return Err("changes: they are not sorted");
        }
        if self.sign.is_some() && self.calls.is_some() {
            return Err("calls: it has a sign");
        }
        if self.sign.as_ref().is_some_and(|sign| sign.old == sign.new) {
            return Err("sign: old and new look the same");
        }
        if self.calls.as_ref().is_some_and(|calls| !self.changes.contains(&calls.function)) {
            return Err("calls: the function does not change");
        }
        Ok(())
    }
}

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

/// The fix of a CVE, from the first manifest of the kernel's series that has it.
///
/// # Errors
/// When a manifest cannot be read or is none.
pub fn find(manifests: &[PathBuf], kernel: &Version, cve: &str) -> Result<Option<KnownFix>, Error> {
    for path in manifests {
        if let Some(found) = find_in(Manifest::read(path)?, kernel, cve) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_in(manifest: Manifest, kernel: &Version, cve: &str) -> Option<KnownFix> {
    if Series::of(kernel) != manifest.series.parse().ok() {
        return None;
    }
    let version = Some(manifest.fixed.source);
    let found = manifest.fixes.into_iter().find(|fix| fix.cve.as_deref() == Some(cve))?;
    Some(KnownFix { version, files: found.files, functions: found.functions })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "series = \"debian-6.1\"\nrunning = { kernel = \"6.1.0-47\", source = \"1\" }\n\
        fixed = { kernel = \"6.1.0-56\", source = \"6.1.192-2\" }\n\
        [[fix]]\nname = \"a\"\ncve = \"CVE-2026-1\"\nfiles = [\"a.c\"]\n\
        [[fix]]\nname = \"b\"\ncve = \"CVE-2026-12\"\nfiles = [\"b.c\", \"b.h\"]\nfunctions = [\"f\"]\n";

    fn parse(text: &str) -> Result<Manifest, Error> {
        Manifest::parse(Path::new("m.toml"), text)
    }

    #[test]
    fn a_manifest_of_the_series_settles_a_cve() {
        let look = |kernel: &str, cve: &str| {
            find_in(parse(MANIFEST).expect("a manifest"), &kernel.parse().expect("a version"), cve)
        };
        let known = KnownFix {
            version: Some("6.1.192-2".into()),
            files: vec!["b.c".into(), "b.h".into()],
            functions: vec!["f".into()],
        };
        assert_eq!(look("6.1.0-47", "CVE-2026-12"), Some(known));
        for (kernel, cve) in [("6.1.0-47", "CVE-2026-2"), ("6.12.107+deb12", "CVE-2026-12")] {
            assert_eq!(look(kernel, cve), None);
        }
    }

    #[test]
    fn what_is_no_manifest_is_an_error_that_names_file_and_key() {
        let add = |lines: &str| format!("{MANIFEST}{lines}\n");
        for (text, key) in [
            ("x".to_owned(), "x"),
            ("series = 1".to_owned(), "series"),
            (MANIFEST.replace("debian-6.1\"", "else\""), "series"),
            (MANIFEST.replace("fixed = {", "fixed = { colour = 1,"), "colour"),
            (MANIFEST.replace("kernel = \"6.1.0-47\", ", ""), "kernel"),
            (MANIFEST.replace("name = \"a\"\n", ""), "name"),
            (MANIFEST.replace("name = \"a\"", "name = \"b\""), "two of this name"),
            (MANIFEST.replace("[\"a.c\"]", "[]"), "fix a: files"),
            (add("file = \"b.c\""), "file"),
            (add("changes = [\"g\", \"f\"]"), "fix b: changes"),
            (add("sign = { command = \"x\", old = \"1\", new = \"1\" }"), "fix b: sign"),
            (add("calls = { command = \"x\", function = \"f\" }"), "fix b: calls"),
        ] {
            let error = parse(&text).expect_err("no manifest").to_string();
            assert!(error.contains("m.toml") && error.contains(key), "{key}: {error}");
        }
    }
}
