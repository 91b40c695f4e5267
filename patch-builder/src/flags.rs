//! What the compiler is told beside what the kernel's build system tells it.

use std::path::Path;

use crate::assembler;
use crate::digest;
use crate::error::Error;

/// What the differ needs: a section for each function and each variable.
const SECTIONS: &str = "-ffunction-sections -fdata-sections";
/// Whoever got a callback from new code has the frame of that code below it, so that the patch's
/// module is not unloaded under the callback after a rollback.
pub(crate) const WITHOUT_TAIL_CALLS: &str = "-fno-optimize-sibling-calls";

/// What an object is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be compared with what runs: the code is what the kernel's own build makes.
    Comparison,
    /// Its code becomes part of a patch's module.
    Module,
}

impl Purpose {
    const fn flags(self) -> &'static str {
        match self {
            Self::Comparison => "",
            Self::Module => WITHOUT_TAIL_CALLS,
        }
    }
}

/// What an object depends on besides the source: with others it is compiled again.
#[must_use]
pub fn settings(purpose: Purpose) -> String {
    let all = [SECTIONS, assembler::SCRIPT, purpose.flags()];
    // Objects to compare are found where they always were.
    let parts = if purpose == Purpose::Comparison { all.get(..2) } else { all.get(..) };
    let parts: Vec<&[u8]> = parts.unwrap_or(&all).iter().map(|part| part.as_bytes()).collect();
    digest::of(&parts)
}

/// The flags for a tree in the folder `work`.
///
/// # Errors
/// When what stands in for the assembler cannot be written.
pub fn of(work: &Path, purpose: Purpose) -> Result<String, Error> {
    let assembler = assembler::install(&work.join("bin"))?;
    Ok(format!("{SECTIONS} {assembler} {}", purpose.flags()))
}
