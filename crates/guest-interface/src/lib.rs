//! The interface between LUCOS and its guest.
//!
//! * [`detection`]: how a guest finds out that LUCOS is underneath.
//! * [`call`]: the hypercalls, their numbers, arguments and results.
//! * [`error`]: every error that a hypercall or the update manager can answer with.
//! * [`registration`]: what the update manager tells LUCOS about the guest kernel.
//! * [`descriptor`]: how an update is described, with a strict parser.
//! * [`group`]: several descriptors in one step.
//! * [`rollback`]: what is rolled back in one step.
//! * [`upcall`]: records of data versions that cross the interface outside of a descriptor.
//! * [`patch_module`]: what a patch module says about itself.
//! * [`status`]: the records that [`call::Call::Query`] fills.
//! * [`reply`]: what the update manager answers to commands, with a strict reader.
//!
//! All records are little endian, without padding, and made of naturally aligned fields, so that
//! the C structures of `guest/include/lucos/interface.h` and the headers beside it have the same
//! layout. A test of this crate compiles them and compares every size, offset, constant and text.

#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![forbid(unsafe_code)]

#[macro_use]
mod listing;
#[macro_use]
mod record;

pub mod call;
pub mod constants;
pub mod descriptor;
pub mod detection;
pub mod error;
pub mod group;
pub mod name;
pub mod patch_module;
pub mod registration;
pub mod reply;
pub mod rollback;
pub mod status;
pub mod upcall;

pub use error::{ErrorCode, Fault, Part};
pub use record::Field;

/// Version of this interface. LUCOS and the update manager must agree on it exactly.
pub const INTERFACE_VERSION: u32 = 3;
