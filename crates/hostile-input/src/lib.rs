//! What every decoder must survive, as functions of bytes.
//!
//! Each [`Target`] takes any bytes, hands them to one of LUCOS's decoders, and panics when that
//! accepts what it must not. The fuzz targets in `fuzz/` call these functions, and so does the test
//! `fixed_runs`, with inputs of a fixed sequence.
//!
//! | module | what is decoded |
//! |---|---|
//! | [`messages`] | messages between kernel, tasks and boot stub; the system table |
//! | [`descriptor`] | update descriptors, registrations, records of patch modules |
//! | [`transaction`] | sequences of updates on a machine that fails; journals |
//! | [`code`] | functions of the guest's kernel, jumps, stores |
//! | [`linux_boot`] | headers of kernels, firmware tables, memory maps, the wake-up mailbox |
//! | [`patch_file`] | patch modules as files, the kernel's lists of symbols and modules |
//! | [`reply`] | replies of the update manager |

#![forbid(unsafe_code)]

pub mod code;
pub mod descriptor;
mod input;
pub mod linux_boot;
pub mod messages;
pub mod mutation;
pub mod patch_file;
pub mod reply;
pub mod transaction;

/// A decoder under attack.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of the fuzz target too.
    pub name: &'static str,
    /// Panics when the decoder does what it must not. Returns whether it accepted the input.
    pub check: fn(&[u8]) -> bool,
    /// Inputs that get far, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "messages", check: messages::check, seeds: messages::seeds },
    Target { name: "descriptor", check: descriptor::check, seeds: descriptor::seeds },
    Target { name: "transaction", check: transaction::check, seeds: transaction::seeds },
    Target { name: "code", check: code::check, seeds: code::seeds },
    Target { name: "linux_boot", check: linux_boot::check, seeds: linux_boot::seeds },
    Target { name: "patch_file", check: patch_file::check, seeds: patch_file::seeds },
    Target { name: "reply", check: reply::check, seeds: reply::seeds },
];
