//! Where a change comes from, and the files that it changes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

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
                change::fit_all(&diffs, |path| source_text(&pristine, &tree.root(), path))
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

/// A file of a source, none if it is to be a new one. What the build makes is no file of the source.
fn source_text(pristine: &Path, root: &Path, path: &str) -> Result<Option<String>, Error> {
    let file = pristine.join(path);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(&file)(error)),
        Err(_) if root.join(path).exists() => Err(Error::NotPatchable {
            file: path.to_owned(),
            why: String::from(
                "the build makes it of the kernel's configuration and of other files; leave this \
                 part out, and change the C files that use it",
            ),
        }),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_build_makes_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (pristine, root) = (folder.path().join("pristine"), folder.path().join("tree"));
        for (place, file) in [(&pristine, "a.h"), (&root, "a.h"), (&root, "autoconf.h")] {
            fs::create_dir_all(place).unwrap();
            fs::write(place.join(file), "#define A\n").unwrap();
        }
        let text = |path| source_text(&pristine, &root, path);
        assert_eq!(text("a.h").unwrap().as_deref(), Some("#define A\n"));
        assert_eq!(text("new.h").unwrap(), None);
        let message = text("autoconf.h").unwrap_err().to_string();
        assert!(message.contains("autoconf.h") && message.contains("the build makes"), "{message}");
        assert!(text("..").is_err());
    }
}
