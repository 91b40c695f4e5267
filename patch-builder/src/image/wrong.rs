//! Errors inside of an image.

/// What is wrong with an image, without its path.
pub(super) type Wrong = String;
