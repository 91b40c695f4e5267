//! A source change: where it comes from, and what it makes of each file.

mod c_source;
mod c_tokens;
pub mod changelog;
pub mod completion;
pub mod debian;
mod declared;
mod edits;
mod error;
mod file_change;
pub mod header;
mod path;
mod unified;

pub use c_source::{Function, functions, words};
pub use edits::{Edit, INDENT, apply, between, replaced};
pub use error::Error;
pub use file_change::FileChange;
pub use path::check_path;
pub use unified::{FileDiff, fit_all, parse};

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
