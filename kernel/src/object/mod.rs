//! What a capability names, and what its holder can ask of it.
//!
//! Each object decodes its own requests; nothing else is done with a message before that.

pub mod guest_memory;
pub mod guest_space;
pub mod log;
pub mod machine;
pub mod vcpu;

use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::message::{self, MESSAGE_SIZE};
use serde::{Deserialize, Serialize};

/// A kernel-owned copy of a message, or room for a reply.
pub type Buffer = [u8; MESSAGE_SIZE];

/// Decodes a request.
fn request<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8]) -> Result<T, CallStatus> {
    message::decode(bytes).map_err(|_| CallStatus::BadMessage)
}

/// Encodes a reply; replies always fit.
pub fn reply<T: Serialize>(value: &T, buffer: &mut Buffer) -> Result<usize, CallStatus> {
    message::encode(value, buffer).map_err(|_| CallStatus::TooLong)
}

/// The caller holds the right, or the call ends.
fn need(held: Rights, needed: Rights) -> Result<(), CallStatus> {
    if held.contains(needed) { Ok(()) } else { Err(CallStatus::MissingRight) }
}
