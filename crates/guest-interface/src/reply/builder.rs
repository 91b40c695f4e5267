//! Builds replies, for tests and for tools with an allocator.

use std::vec::Vec;

use super::records::{LogPiece, RecordHeader, ReplyHeader};
use super::{REPLY_VERSION, RecordKind};

/// A reply that is put together.
#[derive(Debug, Clone, Default)]
pub struct ReplyBuilder {
    records: u32,
    body: Vec<u8>,
}

impl ReplyBuilder {
    /// Appends a record.
    #[must_use]
    pub fn record(mut self, kind: RecordKind, bytes: &[u8]) -> Self {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header = RecordHeader { kind: kind.number(), size };
        self.body.extend(header.to_bytes());
        self.body.extend(bytes);
        self.records += 1;
        self
    }

    /// Appends a piece of the log.
    #[must_use]
    pub fn log(self, offset: u64, text: &[u8]) -> Self {
        let piece = LogPiece { offset, length: text.len() as u64 };
        let mut bytes = piece.to_bytes().to_vec();
        bytes.extend(text);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        self.record(RecordKind::Log, &bytes)
    }

    /// The reply.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        let header = ReplyHeader {
            version: REPLY_VERSION,
            records: self.records,
            length: (ReplyHeader::SIZE + self.body.len()) as u64,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(self.body);
        bytes
    }
}
