//! The AMD-V control block: layout, optional assists, consistency checks, exits.
//!
//! Pure data: the kernel executes the instructions. Section numbers are those of the AMD64
//! Architecture Programmer's Manual, volume 2 (APM). Every assist of the processor is optional;
//! [`Assists`] says what there is.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod assists;
mod check;
mod event;
mod exit;
mod io;
mod msr;
mod state;
mod vmcb;

pub use assists::{Assists, Setup};
pub use check::{HostFacts, VmcbProblem, check_vmcb};
pub use event::{combined, exception, nmi};
pub use exit::{ExitCode, exit_reason, instruction_length};
pub use io::IoMap;
pub use msr::{MsrMap, OutsideMap};
pub use state::{is_refused, registers, start_flat, write_back};
pub use vmcb::{Control, Intercepts, Save, Segment, Vmcb};

#[cfg(test)]
mod tests;
