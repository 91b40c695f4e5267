//! Changes of our own to functions, as `tests/fixes/own.toml` has them.

use lucos_patch_builder::manifest::Sign;
use serde::Deserialize;

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

impl OwnChanges {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is not TOML, has an unknown key or lacks one.
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
