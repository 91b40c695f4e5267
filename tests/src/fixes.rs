//! Which fixes of the distribution the tests build, and how to see that they work: `tests/fixes`.

use serde::Deserialize;

/// The fixes of one series.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixes {
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
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// As in the names of packages: `6.1.0-47`.
    pub kernel: String,
    /// As `6.1.170-3`.
    pub source: String,
}

/// One fix.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// The patch's name.
    pub name: String,
    /// Upstream's subject, as in the distribution's changelog.
    pub subject: String,
    /// Its number, when it has one.
    pub cve: Option<String>,
    /// The files whose differences it is part of.
    pub files: Vec<String>,
    /// The functions in the source that it changes; none for all that differs in the files.
    #[serde(default)]
    pub functions: Vec<String>,
    /// The functions that differ in the objects, sorted.
    pub changes: Vec<String>,
    /// The module that has to be loaded for it.
    pub module: Option<String>,
    /// How it shows.
    pub sign: Option<Sign>,
    /// What shows that its code runs, where nothing can be provoked to be different.
    pub calls: Option<Calls>,
    /// In the second boot, with those that take longer or are of the same kind as others.
    #[serde(default)]
    pub long: bool,
}

/// A command whose output differs.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// For the guest's shell.
    pub command: String,
    /// The function whose calls count.
    pub function: String,
}

/// Changes of our own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnChanges {
    /// The changes, by the array `change`.
    #[serde(rename = "change")]
    pub changes: Vec<OwnChange>,
}

/// Lines at the beginning of a function's body.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnChange {
    /// The patch's name.
    pub name: String,
    /// The file in the kernel's source.
    pub file: String,
    /// The function.
    pub function: String,
    /// The lines.
    pub lines: Vec<String>,
    /// How they show.
    pub sign: Sign,
}

impl Fixes {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is not TOML, has an unknown key, lacks one, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fixes: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut names = std::collections::BTreeSet::new();
        for fix in &fixes.fixes {
            let wrong = |what: &str| Err(format!("fix {}: {what}", fix.name));
            if !names.insert(&fix.name) {
                return wrong("there are two of this name");
            }
            if fix.sign.is_some() == fix.calls.is_some() {
                return wrong("it needs either a sign or calls");
            }
            if fix.sign.as_ref().is_some_and(|sign| sign.old == sign.new) {
                return wrong("old and new look the same");
            }
            if fix.files.is_empty() || fix.changes.is_empty() || !fix.changes.is_sorted() {
                return wrong("it needs files, and a sorted list of changes");
            }
            if fix.calls.as_ref().is_some_and(|calls| !fix.changes.contains(&calls.function)) {
                return wrong("the function whose calls count does not change");
            }
        }
        Ok(fixes)
    }

    /// The same with other fixes.
    #[must_use]
    pub fn with(&self, fixes: Vec<Fix>) -> Self {
        Self { fixes, ..self.clone() }
    }
}

impl OwnChanges {
    /// Reads a manifest.
    ///
    /// # Errors
    /// As [`Fixes::parse`].
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }
}

impl OwnChange {
    /// The change as a unified diff against `source`, the text of its file.
    ///
    /// # Errors
    /// When the file has no such function.
    pub fn diff(&self, source: &str) -> Result<String, String> {
        let lines: Vec<&str> = source.lines().collect();
        let body = lucos_patch_builder::change::functions(source)
            .into_iter()
            .find(|function| function.name == self.function)
            .and_then(|function| {
                let head = lines.get(function.start..function.end)?;
                Some(function.start + head.iter().position(|line| line.starts_with('{'))?)
            })
            .ok_or_else(|| format!("{} has no function {}", self.file, self.function))?;
        let brace = lines.get(body).copied().unwrap_or_default();
        let added: String = self.lines.iter().map(|line| format!("+{line}\n")).collect();
        let (from, count) = (body + 1, self.lines.len() + 1);
        Ok(format!(
            "--- a/{file}\n+++ b/{file}\n@@ -{from},1 +{from},{count} @@\n {brace}\n{added}",
            file = self.file
        ))
    }
}
