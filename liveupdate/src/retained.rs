//! What the task must not forget when it is restarted, and where that lies in its retained pages.
//!
//! | part | bytes | holds |
//! |---|---|---|
//! | journal | the rest | updates ([`lucos_transaction::journal`]) |
//! | notes | 64 × 152 | the guarded write of each processor ([`lucos_data_versions::note`]), and in which address space |
//! | late pairs | 128 × 32 | pairs that came or went while both sides lived ([`crate::late`]) |
//! | redirections | 8 | how many there were |

use lucos_abi::boot::MAX_CPUS;
use lucos_data_versions::Note;
use lucos_data_versions::note::{self, SLOT};
use lucos_runtime::Journal;
use lucos_service::AddressSpace;
use lucos_transaction::journal::{Store, StoreError};

use crate::late::{LATE_MAX, LATE_SIZE, Late};

/// The retained pages of the task.
#[derive(Clone, Copy, Debug)]
pub struct RetainedPages(pub Journal);

const REDIRECTIONS_SIZE: usize = size_of::<u64>();
/// A note's slot, and behind it the root of an address space and 1 for five levels.
const PLACE: usize = SLOT + SPACE_SIZE;
const SPACE_SIZE: usize = 16;
const NOTES_SIZE: usize = MAX_CPUS * PLACE;

impl RetainedPages {
    fn notes(&self) -> usize {
        self.late_place().saturating_sub(NOTES_SIZE)
    }

    fn late_place(&self) -> usize {
        self.redirections_place().saturating_sub(LATE_MAX * LATE_SIZE)
    }

    fn redirections_place(&self) -> usize {
        self.0.len().saturating_sub(REDIRECTIONS_SIZE)
    }

    /// Redirections that the task counted in its earlier lives.
    pub fn redirections(&self) -> u64 {
        let mut bytes = [0; REDIRECTIONS_SIZE];
        match self.0.read(self.redirections_place(), &mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    pub(crate) fn retain_redirections(&self, count: u64) {
        // Only a figure; without a journal nothing is redirected.
        let _ = self.0.write(self.redirections_place(), &count.to_le_bytes());
    }

    fn slot(&self, processor: u32) -> Result<usize, StoreError> {
        let number = usize::try_from(processor).ok().filter(|&number| number < MAX_CPUS);
        number
            .filter(|_| self.has_room())
            .map(|number| self.notes() + number * PLACE)
            .ok_or(StoreError)
    }

    fn has_room(&self) -> bool {
        self.0.len() >= NOTES_SIZE + LATE_MAX * LATE_SIZE + REDIRECTIONS_SIZE
    }

    /// The late pair in a place.
    pub(crate) fn late(&self, place: usize) -> Option<Late> {
        let mut bytes = [0; LATE_SIZE];
        let offset = self.late_offset(place).ok()?;
        self.0.read(offset, &mut bytes).ok()?;
        Late::from_bytes(&bytes)
    }

    /// Retains a late pair, or that there is none.
    ///
    /// # Errors
    /// There is no room.
    pub(crate) fn retain_late(&self, place: usize, late: Option<Late>) -> Result<(), StoreError> {
        let offset = self.late_offset(place)?;
        let write = |offset, bytes: &[u8]| self.0.write(offset, bytes).map_err(|_| StoreError);
        // While it is written it does not count.
        write(offset, &[0])?;
        let Some(late) = late else { return Ok(()) };
        write(offset + 8, &late.words())?;
        write(offset, &[late.state()])
    }

    fn late_offset(&self, place: usize) -> Result<usize, StoreError> {
        match place < LATE_MAX && self.has_room() {
            true => Ok(self.late_place() + place * LATE_SIZE),
            false => Err(StoreError),
        }
    }

    /// The note of a processor. What no version of LUCOS wrote is none.
    pub(crate) fn note(&self, processor: u32) -> Option<(Note, AddressSpace)> {
        let place = self.slot(processor).ok()?;
        let (mut slot, mut space) = ([0; SLOT], [0; SPACE_SIZE]);
        self.0.read(place, &mut slot).ok()?;
        self.0.read(place + SLOT, &mut space).ok()?;
        let space = u128::from_le_bytes(space);
        // The halves.
        let space = AddressSpace { root: space as u64, five_levels: space >> 64 != 0 };
        note::read(&slot).ok().flatten().map(|note| (note, space))
    }

    /// Whether a processor has a note.
    pub(crate) fn has_note(&self, processor: u32) -> bool {
        self.state(processor) != 0 && self.note(processor).is_some()
    }

    fn state(&self, processor: u32) -> u8 {
        let mut state = [0];
        let read = |slot| self.0.read(slot, &mut state).map_err(|_| StoreError);
        let read = self.slot(processor).and_then(read);
        let [state] = state;
        read.map_or(0, |()| state)
    }

    /// Retains the note of a processor. Of a note that there is already only the record changes.
    ///
    /// # Errors
    /// There is no room.
    pub(crate) fn retain_note(
        &self,
        processor: u32,
        note: &Note,
        space: AddressSpace,
    ) -> Result<(), StoreError> {
        let place = self.slot(processor)?;
        let words = u128::from(space.root) | u128::from(space.five_levels) << 64;
        self.0.write(place + SLOT, &words.to_le_bytes()).map_err(|_| StoreError)?;
        self.change(place, note::change(self.state(processor), Some(note)))
    }

    /// Retains that a processor has no note.
    ///
    /// # Errors
    /// There is no room.
    pub(crate) fn clear_note(&self, processor: u32) -> Result<(), StoreError> {
        let place = self.slot(processor)?;
        self.change(place, note::change(self.state(processor), None))
    }

    fn change(&self, place: usize, change: note::Change) -> Result<(), StoreError> {
        if let Some((offset, record)) = change.record {
            self.0.write(place + offset, &record).map_err(|_| StoreError)?;
        }
        self.0.write(place, &[change.state]).map_err(|_| StoreError)
    }
}

impl Store for RetainedPages {
    fn len(&self) -> usize {
        self.notes()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.0.read(offset, bytes).map_err(|_| StoreError)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let end = offset.checked_add(bytes.len()).ok_or(StoreError)?;
        if end > self.len() {
            return Err(StoreError);
        }
        self.0.write(offset, bytes).map_err(|_| StoreError)
    }
}
