//! Where a change comes from, and the files that it changes.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use lucos_debian_archive::archive::Archive;

use crate::change::completion::{TwoTexts, missed};
use crate::change::debian::Cut;
use crate::change::{self, FileChange};
use crate::compile;
use crate::decisions::Said;
use crate::error::{Error, at};
use crate::kernel_tree::{self, KernelTree};
use crate::naming::files_naming;
use crate::progress::Progress;

/// Where a change comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A unified diff.
    Diff(PathBuf),
    /// The difference to a newer version of the distribution's source package.
    Debian {
        /// The version that has the fix.
        version: String,
        /// Files in the source.
        files: Vec<String>,
        /// Functions; none for all that changed in the files.
        functions: Vec<String>,
    },
}

impl Origin {
    /// In a few words, for the patch's description.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Diff(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Debian { version, files, functions } => {
                let what = if functions.is_empty() { files } else { functions };
                format!("{} of Debian {version}", what.join(", "))
            }
        }
    }

    /// What the patch file says of variables.
    ///
    /// # Errors
    /// When it cannot be read, or does not say which variable is which.
    pub(crate) fn said(&self) -> Result<Vec<Said>, Error> {
        match self {
            Self::Diff(path) => Said::in_patch(&fs::read_to_string(path).map_err(at(path))?),
            Self::Debian { .. } => Ok(Vec::new()),
        }
    }

    /// The changes of the files.
    ///
    /// # Errors
    /// When a file or a source package is missing, or does not fit.
    pub(crate) fn changes(
        &self,
        archive: &Archive,
        tree: &KernelTree,
        progress: &mut Progress,
    ) -> Result<Vec<FileChange>, Error> {
        let pristine = tree.pristine();
        match self {
            Self::Diff(path) => {
                let text = fs::read_to_string(path).map_err(at(path))?;
                let diffs = change::parse(&text)?;
                change::fit_all(&diffs, |path| {
                    let file = pristine.join(path);
                    match fs::read_to_string(&file) {
                        Ok(text) => Ok(Some(text)),
                        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                        Err(error) => Err(at(&file)(error)),
                    }
                })
            }
            Self::Debian { version, files, functions } => {
                let newer = kernel_tree::newer_source(archive, version, progress)?;
                let cut = Cut {
                    from: (&pristine, &tree.version),
                    to: (&newer, version),
                    files,
                    functions,
                };
                Ok(cut.changes()?)
            }
        }
    }

    /// Adds to a change that is cut from the distribution's source what the compiler missed in it.
    /// Gives the files that it added something of.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub(crate) fn complete(
        &self,
        archive: &Archive,
        tree: &KernelTree,
        error: &Error,
        changes: &mut Vec<FileChange>,
    ) -> Result<Vec<String>, Error> {
        let (Self::Debian { version, .. }, Error::Compile { message, with: compile::CHANGED, .. }) =
            (self, error)
        else {
            return Ok(Vec::new());
        };
        let names = missed(message);
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let newer = kernel_tree::newer_source(archive, version, &mut Progress::new(true))?;
        let mut paths = files_naming(&newer, &names, "*.h")?;
        paths.extend(files_naming(&newer, &names, "*.c")?);
        let texts = paths.iter().map(|path| TwoTexts::read(&tree.pristine(), &newer, path));
        let texts: Vec<TwoTexts> = texts.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(change::completion::complete(changes, &texts, &names))
    }
}
