//! The AMD-V control block: layout, optional assists, exits, confined runs.
//!
//! Pure data: the kernel executes the instructions. Section numbers are those of the AMD64
//! Architecture Programmer's Manual, volume 2 (APM). Every assist of the processor is optional;
//! [`Assists`] says what there is.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod assists;
mod confine;
mod event;
mod exit;
mod msr;
mod state;
mod vmcb;

pub use assists::{Assists, NESTED_PAGING, Setup};
pub use confine::Confinement;
pub use exit::{ExitCode, exit_reason, instruction_length};
pub use msr::MsrMap;
pub use state::{CR0_CD, CR0_NW, EFER_SVME, is_refused, registers, start_flat, write_back};
pub use vmcb::{Control, Intercepts, Save, Segment, Vmcb};

#[cfg(test)]
mod tests;
