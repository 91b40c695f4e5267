//! What is asked of a survey.

use std::path::PathBuf;

use lucos_debian_archive::kernel::Version;

/// What is to be surveyed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The kernel that the patches are for.
    pub kernel: Version,
    /// The newer version of the source package.
    pub to: String,
    /// How many files at most; all without it.
    pub limit: Option<usize>,
    /// Decides which files these are: those of a smaller number are among those of a larger one.
    pub seed: u64,
    /// `Module.symvers` of an update manager built for the kernel.
    pub manager_symbols: Option<PathBuf>,
}
