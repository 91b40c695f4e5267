//! Files that others may read meanwhile.

use std::fs;
use std::path::Path;

use crate::error::{Error, at};

/// Nobody sees half of the copy.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let part = tempfile::NamedTempFile::new_in(parent.unwrap_or(Path::new("."))).map_err(at(to))?;
    fs::copy(from, part.path()).map_err(at(from))?;
    part.persist(to).map(|_| ()).map_err(|error| at(to)(error.error))
}
