//! Files that are to be written when long work is done, looked at before it begins.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Why a file cannot be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its folder is missing.
    #[error("{}: there is no folder {}", file.display(), folder.display())]
    NoFolder {
        /// The file.
        file: PathBuf,
        /// What is no folder.
        folder: PathBuf,
    },
    /// A folder has its name.
    #[error("{} is a folder", .0.display())]
    IsFolder(PathBuf),
    /// The system does not let us write there.
    #[error("{} cannot be written", .0.display())]
    NotWritable(PathBuf),
}

/// Looks at all files that a command line names, as far as it does.
///
/// # Errors
/// What is wrong with the first that cannot be written.
pub fn check<'a>(files: impl IntoIterator<Item = Option<&'a PathBuf>>) -> Result<(), Error> {
    files.into_iter().flatten().try_for_each(|file| check_one(file))
}

fn check_one(file: &Path) -> Result<(), Error> {
    let folder = match file.parent() {
        None => return Err(Error::IsFolder(file.to_owned())),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if !folder.is_dir() {
        return Err(Error::NoFolder { file: file.to_owned(), folder: folder.to_owned() });
    }
    if file.is_dir() {
        return Err(Error::IsFolder(file.to_owned()));
    }
    let written = if file.exists() { file } else { folder };
    access(written, Access::WRITE_OK).map_err(|_| Error::NotWritable(file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        for good in [at("file"), at("new"), PathBuf::from("new"), PathBuf::from("./new")] {
            assert_eq!(check([Some(&good)]), Ok(()), "{}", good.display());
        }
        for folder in [at("none"), at("none/none"), at("file")] {
            let file = folder.join("new");
            let error = Error::NoFolder { file: file.clone(), folder };
            assert_eq!(check([None, Some(&at("new")), Some(&file)]), Err(error));
        }
        let here = folder.path().to_owned();
        assert_eq!(check([Some(&here)]), Err(Error::IsFolder(here)));
        assert_eq!(check([Some(&"/".into())]), Err(Error::IsFolder("/".into())));
    }
}
