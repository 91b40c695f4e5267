//! Makes a live patch of a source change, for Debian's kernels.
//!
//! Only the files that a change touches are compiled, without it and with it, by the kernel's own
//! build system. What differs between the objects becomes the module; what was compiled without
//! the change must be what runs, byte for byte.

#![forbid(unsafe_code)]

pub mod arguments;
mod assembler;
mod assembly;
pub mod builder;
pub mod change;
mod compared;
pub mod compile;
pub mod cve;
pub mod decisions;
pub mod dependants;
mod description;
mod digest;
mod edited;
mod error;
pub mod explanation;
mod files;
mod flags;
pub mod image;
pub mod kbuild;
pub mod kept;
pub mod kernel_log;
pub mod kernel_tree;
mod kinds;
mod linking;
pub mod livepatch_module;
pub mod make;
pub mod manifest;
pub mod module_image;
pub mod module_names;
mod naming;
pub mod origin;
pub mod output_file;
pub mod patch_module;
pub mod pinned;
mod preparation;
mod programs;
pub mod progress;
pub mod references;
mod refused;
pub mod running;
pub mod survey;
pub mod touched;
pub mod used;
mod work_tree;
pub mod workshop;

pub use error::Error;
pub use refused::{Changed, Refused};
