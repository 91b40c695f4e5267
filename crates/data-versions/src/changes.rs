//! Which bytes of a page a write changed.

use crate::PAGE;

const WORDS: usize = PAGE / u64::BITS as usize;

/// One bit for each byte of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes([u64; WORDS]);

impl Changes {
    /// Bytes of [`Changes::to_bytes`].
    pub const SIZE: usize = PAGE / 8;
    /// No byte.
    pub const NONE: Self = Self([0; WORDS]);

    /// The bytes in which a page differs from its copy.
    #[must_use]
    pub fn between(page: &[u8; PAGE], copy: &[u8; PAGE]) -> Self {
        let mut changes = Self::NONE;
        for (offset, _) in page.iter().zip(copy).enumerate().filter(|(_, (now, then))| now != then)
        {
            changes.set(offset);
        }
        changes
    }

    /// What [`Changes::to_bytes`] made.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let (chunks, _) = bytes.as_chunks();
        let mut changes = Self::NONE;
        for (word, chunk) in changes.0.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        changes
    }

    /// The bits as a message carries them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (chunks, _) = bytes.as_chunks_mut();
        for (word, chunk) in self.0.iter().zip(chunks) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    /// Adds the byte at `offset`; nothing happens when no page has it.
    pub fn set(&mut self, offset: usize) {
        if let Some(word) = self.0.get_mut(offset / 64) {
            *word |= 1 << (offset % 64);
        }
    }

    /// Whether no byte changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The first changed byte at `offset` or behind it.
    #[must_use]
    pub fn next(&self, offset: usize) -> Option<usize> {
        let first = offset / 64;
        for (index, word) in self.0.iter().enumerate().skip(first) {
            let word = if index == first { word & (u64::MAX << (offset % 64)) } else { *word };
            if word != 0 {
                return Some(index * 64 + word.trailing_zeros() as usize);
            }
        }
        None
    }
}
