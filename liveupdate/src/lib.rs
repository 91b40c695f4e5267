//! The task `liveupdate`: the hypercalls of the update manager, and what an invalid opcode of the
//! guest means.
//!
//! | module | does |
//! |---|---|
//! | [`service`] | decides which hypercall it is; what all processors share |
//! | [`answer`] | a hypercall's arguments and its answer |
//! | [`platform`] | what the task needs of the kernel and of `memory`, as a trait |
//! | [`guest`] | the guest's memory and processors for one call: the transaction's subject |
//! | [`buffer`] | copies between guest and task |
//! | [`registration`] | REGISTER and UNREGISTER |
//! | [`update`] | APPLY, JUMP, ROLLBACK, MEASURE_STOP |
//! | [`withdraw`] | WITHDRAW |
//! | [`check`] | what can be checked about a function before the guest is stopped |
//! | [`query`] | QUERY |
//! | [`log`] | LOG |
//! | [`kernel`] | the platform of the real task |
//!
//! Everything that the guest hands over is hostile: it is copied once, checked strictly, and every
//! loop over it is bounded. No guest data faults the task.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod answer;
pub mod buffer;
pub mod check;
pub mod guest;
#[cfg(feature = "fault-injection")]
pub mod injection;
pub mod kernel;
pub mod log;
pub mod platform;
pub mod query;
pub mod registration;
pub mod service;
pub mod update;
pub mod withdraw;

#[cfg(test)]
mod tests;
