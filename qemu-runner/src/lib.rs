//! Starts a machine under QEMU or Bochs, collects what it says, ends it in time and returns a verdict.
//!
//! A [`Session`] describes the machine, what it boots and where its console goes. In a command
//! session the guest's COM2 and COM3 carry standard output and standard error of a command, and
//! COM4 the line `LUCOS-EXIT <status>`.

#![forbid(unsafe_code)]

mod accelerator;
pub mod bochs;
mod channel;
mod command_line;
mod log;
mod process;
mod session;
mod verdict;

pub use accelerator::{
    Accelerator, AcceleratorChoice, Extension, ExtensionChoice, Threads, choose,
};
pub use command_line::{Boot, Machine};
pub use session::{Console, Emulator, Error, Output, Session};
pub use verdict::{Report, Verdict};
