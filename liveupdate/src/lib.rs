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
//! | [`update`] | APPLY, JUMP, ROLLBACK, DRAINED, MEASURE_STOP |
//! | [`withdraw`] | WITHDRAW |
//! | [`check`] | what can be checked about a function before the guest is stopped |
//! | `data` | the same for data: moved, guarded, and whether somebody is inside |
//! | [`versions`] | what is made ready for data that is moved, and put away afterwards |
//! | [`lists`] | the lists of pairs and pages in the guest's memory |
//! | [`coherence`] | the guarded versions, and the lock around them |
//! | [`guarded`] | writes of the guest to guarded pages |
//! | [`torn`] | patches whose data could not be carried |
//! | [`pairs`] | PAIR and UNPAIR |
//! | [`late`] | pairs that came or went while both sides lived |
//! | [`upcall`] | calls to the update manager |
//! | [`retained`] | what a restart must not forget |
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
pub mod coherence;
mod data;
pub mod guarded;
pub mod guest;
#[cfg(feature = "fault-injection")]
pub mod injection;
pub mod kernel;
pub mod late;
pub mod lists;
pub mod log;
pub mod pairs;
pub mod platform;
pub mod query;
pub mod registration;
pub mod retained;
pub mod service;
pub mod torn;
pub mod upcall;
pub mod update;
pub mod versions;
pub mod withdraw;

#[cfg(test)]
mod tests;
