//! The log.

use serde::{Deserialize, Serialize};

/// Requests to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogRequest<'a> {
    /// Appends one line; the kernel adds the task's name. Needs `WRITE`.
    Write {
        /// The line; control characters are replaced.
        text: &'a str,
    },
    /// Reads from the ring. Needs `READ`.
    Read {
        /// Offset in the stream of all bytes ever logged.
        offset: u64,
        /// At most this many bytes, at most [`crate::message::PAYLOAD_MAX`].
        length: u32,
    },
}

/// Replies of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogReply<'a> {
    /// Done.
    Done,
    /// A part of the stream.
    Text {
        /// Offset of the first byte; later than asked when the ring has moved on.
        offset: u64,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
}
