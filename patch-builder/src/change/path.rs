//! Paths in the source tree.

use super::error::Error;

/// Checks that a path stays in the source tree.
///
/// # Errors
/// [`Error::Path`].
pub fn check_path(path: &str) -> Result<(), Error> {
    let parts = std::path::Path::new(path).components();
    let inside = parts.clone().count() > 0
        && parts.into_iter().all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside { Ok(()) } else { Err(Error::Path(path.to_owned())) }
}
