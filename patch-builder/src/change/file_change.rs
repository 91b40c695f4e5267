//! What a change makes of one file.

use super::c_source::functions;
use super::edits::{Edit, apply};

/// A change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Path in the source tree.
    pub path: String,
    /// The file's text before.
    pub before: String,
    /// What is replaced, in ascending order.
    pub edits: Vec<Edit>,
}

impl FileChange {
    /// The text with the change, with line numbers as before wherever nothing changed.
    #[must_use]
    pub fn after(&self) -> String {
        apply(&self.before, &self.edits)
    }

    /// The functions that the change itself touches.
    #[must_use]
    pub fn edited_functions(&self) -> Vec<String> {
        let mut names: Vec<String> = functions(&self.before)
            .into_iter()
            .filter(|function| {
                self.edits.iter().any(|edit| {
                    edit.start < function.end && edit.end.max(edit.start + 1) > function.start
                })
            })
            .map(|function| function.name)
            .collect();
        names.dedup();
        names
    }
}
