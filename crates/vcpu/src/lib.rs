//! What the vCPUs of both vendors have in common.
//!
//! An event that is delivered to the guest is encoded alike by both (APM vol. 2, 15.20; Intel SDM vol. 3,
//! 26.8.3), so are the bits of the I/O maps. The rest is the architecture's.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod event;
mod io;
pub mod reset;
mod step;

pub use io::IoMap;
pub use step::{BeforeStep, DR6_MET, Stepped};
