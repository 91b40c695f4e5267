//! The guest's memory.

use serde::{Deserialize, Serialize};

/// Requests to guest memory: whatever the guest can use as memory, but never LUCOS's region. Reading
/// what the window shows needs no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMemoryRequest<'a> {
    /// Writes bytes. `NotThere` when any of them is LUCOS's, or not in the address space. Needs
    /// `WRITE`.
    Write {
        /// Guest-physical address.
        gpa: u64,
        /// At most [`crate::message::PAYLOAD_MAX`].
        #[serde(with = "serde_bytes")]
        data: &'a [u8],
    },
    /// Copies as if through a buffer. `NotThere` like writing. Needs `WRITE`.
    Copy {
        /// Guest-physical address of the source.
        from: u64,
        /// Guest-physical address of the target.
        to: u64,
        /// Length in bytes.
        length: u64,
    },
    /// Reads bytes, for what the window does not show. `NotThere` like writing. Needs `READ`.
    Read {
        /// Guest-physical address.
        gpa: u64,
        /// At most [`crate::message::PAYLOAD_MAX`].
        length: u32,
    },
}

/// Replies of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMemoryReply<'a> {
    /// It is written.
    Done,
    /// What was read.
    Bytes {
        /// The bytes.
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
}
