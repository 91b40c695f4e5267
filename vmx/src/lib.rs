//! The task `vmx`: starts the guest and handles its exits.
//!
//! Each processor has a thread that runs its vCPU for ever. Exits come to [`exit`], which hands
//! each to the module of its class. What such a module is given and says is in [`outcome`].
//!
//! | module | exits |
//! |---|---|
//! | [`caches`] | INVD |
//! | [`hypercall`] | VMCALL and VMMCALL |
//! | [`init`] | INIT |
//! | [`invalid_opcode`] | invalid opcodes, redirected functions among them |
//! | [`msr`] | RDMSR and WRMSR of the registers that LUCOS keeps |
//! | [`nested_fault`] | accesses to memory that is hidden, guarded, or not mapped yet |
//! | [`ports`] | sleep control, address line 20 |
//! | [`shutdown`] | triple faults, and states that the processor refuses |
//! | [`virtualization`] | the virtualization extension's other instructions |
//!
//! [`interface`] is what the guest is told of LUCOS, [`cpuid`] what CPUID hides where the kernel answers
//! it. [`guest`] puts the guest into memory, [`mailbox`] starts its other processors, [`platform`] is
//! what kernel and other tasks do for this one.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod caches;
pub mod cpuid;
pub mod exit;
pub mod guest;
pub mod hypercall;
pub mod init;
#[cfg(feature = "fault-injection")]
pub mod injection;
pub mod instruction;
pub mod interface;
pub mod invalid_opcode;
pub mod mailbox;
pub mod msr;
pub mod nested_fault;
pub mod outcome;
pub mod platform;
pub mod ports;
pub mod processors;
pub mod shutdown;
pub mod virtualization;

#[cfg(test)]
mod fake;
