//! The pages of a task that survive its restart.

use lucos_abi::boot::StartInfo;
use spin::Mutex;

/// Why journal bytes cannot be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The range ends behind the journal.
    OutOfRange,
}

/// The retained pages of this task. All zero at the first start, afterwards as the task left them.
///
/// A write is in the journal as soon as it returns; a task that is ended in the middle of a write
/// leaves its bytes written up to some point, in order of rising addresses.
#[derive(Clone, Copy, Debug)]
pub struct Journal {
    length: usize,
}

/// Keeps reads and writes of several threads apart. A restart makes it new.
static LOCK: Mutex<()> = Mutex::new(());

impl Journal {
    /// The journal that the kernel named at the start.
    pub fn new(start: &StartInfo) -> Self {
        Self { length: usize::try_from(start.journal).unwrap_or(0) }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the task has no journal.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies bytes from `offset` on into `to`.
    ///
    /// # Errors
    /// [`JournalError::OutOfRange`]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), JournalError> {
        self.check(offset, to.len())?;
        let _guard = LOCK.lock();
        memory::read(offset, to);
        Ok(())
    }

    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`JournalError::OutOfRange`], and nothing is written.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), JournalError> {
        self.check(offset, bytes.len())?;
        let _guard = LOCK.lock();
        memory::write(offset, bytes);
        Ok(())
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), JournalError> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(JournalError::OutOfRange),
        }
    }
}

#[cfg(target_os = "none")]
mod memory {
    use lucos_abi::layout::JOURNAL;

    pub(super) fn read(offset: usize, to: &mut [u8]) {
        let from = JOURNAL as *const u8;
        for (index, byte) in to.iter_mut().enumerate() {
            // SAFETY: the caller checked the range against what the kernel mapped for this task,
            // readable and writable; no references to it exist, and the lock is held.
            *byte = unsafe { from.add(offset + index).read_volatile() };
        }
    }

    pub(super) fn write(offset: usize, bytes: &[u8]) {
        let to = JOURNAL as *mut u8;
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: as in `read`. Volatile, so that the order of writes is the program's.
            unsafe { to.add(offset + index).write_volatile(*byte) };
        }
    }
}

#[cfg(not(target_os = "none"))]
mod memory {
    pub(super) fn read(_offset: usize, to: &mut [u8]) {
        to.fill(0);
    }

    pub(super) fn write(_offset: usize, _bytes: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::{Journal, JournalError};

    #[test]
    fn ranges_behind_the_end_are_refused() {
        let journal = Journal { length: 8 };
        assert_eq!(journal.read(0, &mut [1; 8]), Ok(()));
        assert_eq!(journal.read(8, &mut []), Ok(()));
        assert_eq!(journal.write(1, &[0; 8]), Err(JournalError::OutOfRange));
        assert_eq!(journal.write(usize::MAX, &[0; 2]), Err(JournalError::OutOfRange));
    }
}
