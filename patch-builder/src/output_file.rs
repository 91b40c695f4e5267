//! Files that are to be written when long work is done, looked at before it begins.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::error::{self, at};

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

/// Removes the module of an earlier build, which is not that of this one, however it ends.
///
/// # Errors
/// When something else is there, or it cannot be removed.
pub fn remove_older(output: &Path) -> Result<(), error::Error> {
    let something_else =
        || Err(at(output)(io::Error::other("this is there, and no module to replace")));
    match fs::metadata(output) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(output)(error)),
        Ok(there) if !there.is_file() => return something_else(),
        Ok(_) => {}
    }
    let mut magic = Vec::new();
    File::open(output).and_then(|file| file.take(4).read_to_end(&mut magic)).map_err(at(output))?;
    if !magic.is_empty() && magic != object::elf::ELFMAG {
        return something_else();
    }
    fs::remove_file(output).map_err(at(output))
}

/// The name that a patch gets from the file it is written to.
#[must_use]
pub fn name_of(output: &Path) -> String {
    let output = PathBuf::from(output);
    output.file_stem().unwrap_or_default().to_string_lossy().into_owned()
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

    #[test]
    fn an_older_module_goes_but_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("patch.ko");
        remove_older(&file).unwrap();
        fs::write(&file, b"\x7fELF and more").unwrap();
        remove_older(&file).unwrap();
        assert!(!file.exists());
        assert!(remove_older(folder.path()).is_err());
        assert!(remove_older(Path::new("/dev/null")).is_err());
        fs::write(&file, "--- a/fs/file.c").unwrap();
        assert!(remove_older(&file).is_err());
        assert!(file.exists());
    }
}
