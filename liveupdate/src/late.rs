//! Pairs that came or went while both sides of their version lived: the lists of the version lie in
//! the guest's memory, sealed, and stay as they are.
//!
//! They are retained: after a restart of the task they are carried, or not, as before. Beside them it is
//! noted which are torn, until their patch is withdrawn.

use alloc::vec::Vec;

use lucos_data_versions::{List, Pair, Side, VersionId};

/// Most of them, over all versions.
pub const LATE_MAX: usize = 128;
/// Bytes of one in retained memory: a state, and behind it three words for the version, the object and
/// the twin.
pub const LATE_SIZE: usize = 32;

/// What is noted of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateKind {
    /// It is not in the lists.
    Came,
    /// It is in the lists, and there is no such pair any more.
    Gone,
    /// Its sides differ, so that its patch is to be withdrawn. The pair may be unknown.
    Torn,
}

/// A pair that came or went, or was torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Its version.
    pub id: VersionId,
    /// The pair.
    pub pair: Pair,
    /// What is known of it.
    pub kind: LateKind,
}

impl Late {
    /// Everything but the state, which is to be written last.
    #[must_use]
    pub fn words(&self) -> [u8; LATE_SIZE - 8] {
        let VersionId { patch, version } = self.id;
        let words = [u64::from(patch) << 32 | u64::from(version), self.pair.object, self.pair.twin];
        let mut bytes = [0; LATE_SIZE - 8];
        let (chunks, _) = bytes.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    /// The byte that makes it count.
    #[must_use]
    pub const fn state(&self) -> u8 {
        match self.kind {
            LateKind::Came => 1,
            LateKind::Gone => 2,
            LateKind::Torn => 3,
        }
    }

    /// What is retained; `None` when it does not count.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; LATE_SIZE]) -> Option<Self> {
        let (chunks, _) = bytes.as_chunks();
        let mut words = [0; LATE_SIZE / 8];
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        let [state, version, object, twin] = words;
        let kind = match state as u8 {
            1 => LateKind::Came,
            2 => LateKind::Gone,
            3 => LateKind::Torn,
            _ => return None,
        };
        let id = VersionId { patch: (version >> 32) as u32, version: version as u32 };
        Some(Self { id, pair: Pair { object, twin }, kind })
    }
}

/// The late pairs of a version, as lists.
#[derive(Debug)]
pub struct LatePairs([Vec<Pair>; 2]);

impl LatePairs {
    /// Of these those that came.
    pub fn new(late: &[Option<Late>], id: VersionId) -> Self {
        let came =
            late.iter().flatten().filter(|late| late.id == id && late.kind == LateKind::Came);
        let mut by_object: Vec<Pair> = came.map(|late| late.pair).collect();
        let mut by_twin = by_object.clone();
        by_object.sort_unstable_by_key(|pair| pair.object);
        by_twin.sort_unstable_by_key(|pair| pair.twin);
        Self([by_object, by_twin])
    }
}

/// There is no such pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPair;

impl List for LatePairs {
    type Error = NoPair;

    fn len(&self) -> u32 {
        let [by_object, _] = &self.0;
        // At most `LATE_MAX`.
        by_object.len() as u32
    }

    fn read(&mut self, sorted_by: Side, index: u32) -> Result<Pair, NoPair> {
        let [by_object, by_twin] = &self.0;
        let list = match sorted_by {
            Side::Object => by_object,
            Side::Twin => by_twin,
        };
        list.get(index as usize).copied().ok_or(NoPair)
    }
}

#[cfg(test)]
mod tests {
    use super::{LATE_SIZE, Late, LateKind};
    use lucos_data_versions::{Pair, VersionId};

    #[test]
    fn what_is_retained_comes_back() {
        let id = VersionId { patch: 7, version: 3 };
        let pair = Pair { object: 0xffff_8880_0000_1000, twin: 0xffff_c900_0000_2008 };
        for kind in [LateKind::Came, LateKind::Gone, LateKind::Torn] {
            let late = Late { id, pair, kind };
            let mut bytes = [0; LATE_SIZE];
            bytes[8..].copy_from_slice(&late.words());
            assert_eq!(Late::from_bytes(&bytes), None, "without its state");
            bytes[0] = late.state();
            assert_eq!(Late::from_bytes(&bytes), Some(late));
        }
    }
}
