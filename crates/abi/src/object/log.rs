//! The log: lines are written by request, and read where the ring is mapped.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use serde::{Deserialize, Serialize};

use crate::layout::LOG_SIZE;

/// Requests to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogRequest<'a> {
    /// Appends one line; the kernel adds the task's name. Needs `WRITE`.
    Write {
        /// The line; control characters are replaced.
        text: &'a str,
    },
}

/// Bytes that are kept.
const KEPT: usize = LOG_SIZE as usize - size_of::<u64>();
/// So many of them are those that were logged first; the others move on.
pub const LOG_FIRST: u64 = 8 * 1024;
/// Bytes that move on.
pub const LOG_MOVING: u64 = KEPT as u64 - LOG_FIRST;

/// What was logged, as far as it is kept. Tasks with the right `READ` see it at
/// [`crate::layout::LOG`], while the kernel goes on writing.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct LogRing {
    written: AtomicU64,
    bytes: [AtomicU8; KEPT],
}

impl LogRing {
    /// Nothing was logged.
    #[expect(clippy::new_without_default, reason = "it is only made as a static")]
    pub const fn new() -> Self {
        Self { written: AtomicU64::new(0), bytes: [const { AtomicU8::new(0) }; KEPT] }
    }

    /// Logs a byte. Of two at the same time one may be lost, no more.
    pub fn push(&self, byte: u8) {
        let written = self.written.load(Ordering::Relaxed);
        if let Some(place) = self.at(written) {
            place.store(byte, Ordering::Relaxed);
        }
        self.written.store(written + 1, Ordering::Release);
    }

    /// Bytes ever logged. The next one may be in its place already.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Where the byte at a stream offset is kept, if it is.
    pub fn at(&self, offset: u64) -> Option<&AtomicU8> {
        let moved = offset.checked_sub(LOG_FIRST).map(|moving| LOG_FIRST + moving % LOG_MOVING);
        self.bytes.get(moved.unwrap_or(offset) as usize)
    }
}
