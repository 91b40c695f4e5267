//! VT-x: controls by the capability registers, the guest's state in the VMCS, exits, confined runs.
//!
//! Pure logic: the kernel executes the instructions. A VMCS is known by its fields alone ([`Vmcs`]).
//! Section numbers are those of the Intel Software Developer's Manual, volume 3 (SDM).

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod confine;
mod controls;
mod event;
mod exit;
mod msr;
mod state;

pub use confine::{Begun, GUEST_FIELDS, begin_detour, begin_step, end_step};
pub use controls::{Capabilities, Controls, Mode, Offer, may_be_switched_on};
pub use event::{
    DEBUG, deliver, forget_virtual_nmi, interrupt_is_held, interrupted_event, nmi_is_held, window,
};
pub use exit::{
    Basic, debug_status, exit_reason, has_failed, instruction_length, is_nmi, is_of_cr0,
};
pub use msr::MsrMap;
pub use state::{
    hide_error_reporting, registers, set_debug_status, set_masks, start_flat, write_back,
};

/// A VMCS, by the numbers of its fields (SDM appendix B; `x86::vmx::vmcs` names them).
pub trait Vmcs {
    /// The value of a field.
    fn read(&self, field: u32) -> u64;
    /// Changes a field.
    fn write(&mut self, field: u32, value: u64);
}

#[cfg(test)]
mod tests;
