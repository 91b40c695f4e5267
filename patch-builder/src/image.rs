//! The kernel image that will run: its text, symbols, build id and the sizes of its tables.

mod btf;
mod bzimage;
mod kallsyms;
mod vmlinux;
mod wrong;

pub use btf::Prototype;
pub use kallsyms::{Symbol, Symbols};
pub use vmlinux::Vmlinux;

use std::path::{Path, PathBuf};

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a kernel image that this program understands.
    #[error("{} is no kernel image that can be used: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a bzImage.
///
/// # Errors
/// When the file cannot be read, unpacked or understood.
pub fn read(path: &Path) -> Result<Vmlinux, Error> {
    let file =
        std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    bzimage::payload(&file)
        .and_then(Vmlinux::parse)
        .map_err(|reason| Error::Malformed { path: path.to_owned(), reason })
}
