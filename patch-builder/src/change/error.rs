//! Why there is no change.

use std::path::PathBuf;

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
