//! A source change: where it comes from, and what it makes of each file.

mod c_source;
mod c_tokens;
pub mod changelog;
pub mod completion;
pub mod debian;
mod declared;
mod edits;
pub mod header;
mod unified;

pub use c_source::{Function, functions, words};
pub use edits::{Edit, INDENT, apply, between, replaced};
pub use unified::{FileDiff, fit_all, parse};

use std::path::PathBuf;

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

/// Why there is no change to build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A diff is not in unified form.
    #[error("line {line} of the diff: {reason}")]
    Diff {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A diff has no change in it.
    #[error("there is no change in the diff")]
    Empty,
    /// A changed file is not in the source.
    #[error(
        "the kernel's source has no {0}; give the path from its top (in a diff behind one folder, \
         such as a/), or leave the file out"
    )]
    NoFile(String),
    /// A hunk's lines are not in the file.
    #[error(
        "the hunk at line {line} of {path} does not fit this kernel's source; make the diff anew \
         against the source of exactly this version"
    )]
    DoesNotFit {
        /// The file.
        path: String,
        /// The line that the diff says, from 1.
        line: usize,
    },
    /// A path leaves the source tree.
    #[error("{0} is no path inside the kernel's source")]
    Path(String),
    /// Two source packages have the same text.
    #[error("{path} is the same in {from} and {to}; name a file, or a version, that differs")]
    Same {
        /// The file.
        path: String,
        /// The running kernel's version.
        from: String,
        /// The version that has the fix.
        to: String,
    },
    /// A function of that name does not change.
    #[error("{function} does not change between the two versions; these do: {}", .others.join(", "))]
    NoFunction {
        /// The function asked for.
        function: String,
        /// The functions that do.
        others: Vec<String>,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// The names of the enumeration that a declaration begins with, each with a digest of its value; `None`
/// where it is no enumeration.
#[must_use]
pub fn enumerators(text: &str) -> Option<Vec<(String, u64)>> {
    declared::enumerators(&c_tokens::tokens(text))
}

/// The tokens of a source as it is written, without comments.
pub(crate) fn raw_tokens(text: &str) -> Vec<c_tokens::Token<'_>> {
    c_tokens::tokens(text)
}

/// Checks that a path stays in the source tree.
///
/// # Errors
/// [`Error::Path`].
pub fn check_path(path: &str) -> Result<(), Error> {
    let parts = std::path::Path::new(path).components();
    let inside = parts.clone().count() > 0
        && parts.into_iter().all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside { Ok(()) } else { Err(Error::Path(path.to_owned())) }
}
