//! What survives of a guarded write when the task that does it ends.
//!
//! Each processor has [`SLOT`] bytes of retained memory. A slot is a state byte and two records; the
//! byte says which of the two counts, or that none does. A new note goes into the other one, and the
//! byte follows: so at any cut of a write the slot holds the note as it was or as it is to be. All
//! zero bytes are no note.

use crate::pairs::{Pair, Side};
use crate::{PAGE, VersionId};

/// Most pages that are open during a write. Every instruction that writes more pages than that writes
/// them element by element, and goes on where it was.
pub const OPEN_MAX: usize = 4;

/// Bytes of a slot.
pub const SLOT: usize = RECORDS + 2 * RECORD;
/// Bytes of a record.
pub const RECORD: usize = 64;
/// Offset of the first record.
const RECORDS: usize = 8;

/// The pages that are open for a write, and the pair that is being published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Note {
    /// Guest-physical addresses of the pages.
    pub pages: heapless::Vec<u64, OPEN_MAX>,
    /// The pair.
    pub carrying: Option<Carrying>,
}

/// A pair of which one side is being published: some bytes of it may be there, others not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Carrying {
    /// Whose pair it is.
    pub version: VersionId,
    /// The pair.
    pub pair: Pair,
    /// The side that changed. The other one cannot tell that any more: it may lie on an open page.
    pub from: Side,
}

/// What makes a slot hold another note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Bytes to be written first, and their offset in the slot.
    pub record: Option<(usize, [u8; RECORD])>,
    /// The state byte, to be written then, at offset 0.
    pub state: u8,
}

/// A slot that no version of LUCOS wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// What makes a slot with this state byte hold `note`, or none.
#[must_use]
pub fn change(state: u8, note: Option<&Note>) -> Change {
    let Some(note) = note else {
        return Change { record: None, state: 0 };
    };
    let (offset, state) = match state {
        1 => (RECORDS + RECORD, 2),
        _ => (RECORDS, 1),
    };
    Change { record: Some((offset, note.to_bytes())), state }
}

/// The note in a slot.
///
/// # Errors
/// [`Damaged`]
pub fn read(slot: &[u8; SLOT]) -> Result<Option<Note>, Damaged> {
    let [state, ..] = slot;
    let start = match state {
        0 => return Ok(None),
        1 => RECORDS,
        2 => RECORDS + RECORD,
        _ => return Err(Damaged),
    };
    let record = slot.get(start..).and_then(|record| record.first_chunk()).ok_or(Damaged)?;
    Note::from_bytes(record).map(Some).ok_or(Damaged)
}

impl Note {
    /// Eight words: what there is (pages, a carried pair, its changed side), the pages, patch and
    /// version, object, twin.
    fn to_bytes(&self) -> [u8; RECORD] {
        let mut words = [0; RECORD / 8];
        let [kinds, pages @ .., version, object, twin] = &mut words;
        *kinds = self.pages.len() as u64;
        for (word, page) in pages.iter_mut().zip(&self.pages) {
            *word = *page;
        }
        if let Some(carrying) = &self.carrying {
            *kinds |= 1 << 8 | (carrying.from as u64) << 16;
            *version = u64::from(carrying.version.patch) << 32;
            *version |= u64::from(carrying.version.version);
            *object = carrying.pair.object;
            *twin = carrying.pair.twin;
        }
        let mut bytes = [0; RECORD];
        let (chunks, _) = bytes.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; RECORD]) -> Option<Self> {
        let (chunks, _) = bytes.as_chunks();
        let mut words = [0; RECORD / 8];
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        let [kinds, pages @ .., version, object, twin] = words;
        let [count, carried, from, rest @ ..] = kinds.to_le_bytes();
        let mut note = Self::default();
        note.pages.extend_from_slice(pages.get(..usize::from(count))?).ok()?;
        let from = match (carried, from) {
            (0, 0) => None,
            (1, 0) => Some(Side::Object),
            (1, 1) => Some(Side::Twin),
            _ => return None,
        };
        note.carrying = from.map(|from| Carrying {
            version: VersionId { patch: (version >> 32) as u32, version: version as u32 },
            pair: Pair { object, twin },
            from,
        });
        let aligned = note.pages.iter().all(|page| page.is_multiple_of(PAGE as u64));
        (rest == [0; 5] && aligned && !note.pages.is_empty()).then_some(note)
    }
}
