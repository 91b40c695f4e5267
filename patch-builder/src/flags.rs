//! What the compiler is told beside what the kernel's build system tells it.

use std::path::Path;

use crate::assembler;
use crate::digest;
use crate::error::Error;

/// What the differ needs: a section for each function and each variable.
const SECTIONS: &str = "-ffunction-sections -fdata-sections";

/// What an object depends on besides the source: with others it is compiled again.
#[must_use]
pub fn settings() -> String {
    digest::of(&[SECTIONS, assembler::SCRIPT].map(str::as_bytes))
}

/// The flags for a tree in the folder `work`.
///
/// # Errors
/// When what stands in for the assembler cannot be written.
pub fn of(work: &Path) -> Result<String, Error> {
    Ok(format!("{SECTIONS} {}", assembler::install(&work.join("bin"))?))
}
