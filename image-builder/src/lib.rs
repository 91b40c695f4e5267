//! Assembles the boot bundle and the ISO.

#![forbid(unsafe_code)]
