//! What the `lucos` command does.
//!
//! * [`arguments`] is its command line.
//! * [`patch_file`] reads a patch module and checks what can be checked in the file.
//! * [`kallsyms`] finds symbols of the running kernel.
//! * [`resolve`] decides which symbol is meant and writes the addresses into the image.
//! * [`manager`] talks to the update manager through `/dev/lucos`; [`answer`] reads its replies.
//! * [`enabled`] is the store of patches that come back after a boot, [`enabling`] what is done with it.
//! * [`commands`] puts these together; [`render`] and [`json`] make text and JSON of what they give.

#![forbid(unsafe_code)]

pub mod answer;
pub mod arguments;
pub mod commands;
pub mod enabled;
pub mod enabling;
pub mod error;
pub mod json;
pub mod kallsyms;
pub mod manager;
pub mod modules;
pub mod patch_file;
pub mod render;
pub mod resolve;
pub mod system;
pub mod tail_calls;
