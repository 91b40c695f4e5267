//! What the kernel does for this task.

use lucos_abi::manifest::Object;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{Done, GuestMemoryReply, GuestMemoryRequest, SpaceRequest};
use lucos_runtime::{GuestWindow, Journal, Thread};

/// What the guest may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read, write and execute.
    All,
    /// Read and execute.
    ReadExecute,
}

/// The kernel did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What the kernel does for this task.
pub trait Platform {
    /// Copies guest memory from `gpa` on into `to`.
    ///
    /// # Errors
    /// The first address that cannot be read.
    fn read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), u64>;

    /// Writes guest memory.
    ///
    /// # Errors
    /// Some of it cannot be written; nothing was.
    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused>;

    /// Copies guest RAM as if through a buffer.
    ///
    /// # Errors
    /// Some of it was no RAM when the machine booted; nothing was copied.
    fn copy(&mut self, from: u64, to: u64, length: u64) -> Result<(), Refused>;

    /// Gives the guest rights on whole pages.
    ///
    /// # Errors
    /// The kernel has no room for the page tables.
    fn set(&mut self, start: u64, length: u64, rights: Rights) -> Result<(), Refused>;

    /// Copies retained memory into `to`; zeros where there is none.
    fn recall(&self, offset: usize, to: &mut [u8]);

    /// Writes retained memory, in the order of addresses.
    ///
    /// # Errors
    /// There is none at this place.
    fn retain(&mut self, offset: usize, data: &[u8]) -> Result<(), Refused>;
}

/// The kernel itself.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// The calling thread.
    pub thread: &'a mut Thread,
    /// Guest memory.
    pub window: &'a GuestWindow,
    /// Retained memory.
    pub journal: Journal,
}

impl Kernel<'_> {
    /// Reads memory that the window does not show, because it was none when the machine booted.
    #[cold]
    fn read_added(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        let mut next = gpa;
        for part in to.chunks_mut(PAYLOAD_MAX) {
            let request = GuestMemoryRequest::Read { gpa: next, length: part.len() as u32 };
            match self.thread.call(Object::GuestMemory, &request) {
                Ok(GuestMemoryReply::Bytes { bytes }) if bytes.len() == part.len() => {
                    part.copy_from_slice(bytes);
                }
                _ => return Err(next),
            }
            next += part.len() as u64;
        }
        Ok(())
    }
}

impl Platform for Kernel<'_> {
    #[inline]
    fn read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        match self.window.read(gpa, to) {
            Ok(()) => Ok(()),
            Err(_) => self.read_added(gpa, to),
        }
    }

    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused> {
        let request = GuestMemoryRequest::Write { gpa, data };
        let written = match self.thread.call(Object::GuestMemory, &request) {
            Ok(GuestMemoryReply::Done) => Ok(()),
            _ => Err(Refused),
        };
        #[cfg(feature = "fault-injection")]
        crate::injection::count_write();
        written
    }

    fn copy(&mut self, from: u64, to: u64, length: u64) -> Result<(), Refused> {
        let request = GuestMemoryRequest::Copy { from, to, length };
        match self.thread.call(Object::GuestMemory, &request) {
            Ok(GuestMemoryReply::Done) => Ok(()),
            _ => Err(Refused),
        }
    }

    fn set(&mut self, start: u64, length: u64, rights: Rights) -> Result<(), Refused> {
        let request = SpaceRequest::Set {
            start,
            length,
            read: true,
            write: rights == Rights::All,
            execute: true,
        };
        self.thread.call(Object::GuestSpace, &request).map(|Done| ()).map_err(|_| Refused)
    }

    fn recall(&self, offset: usize, to: &mut [u8]) {
        if self.journal.read(offset, to).is_err() {
            to.fill(0);
        }
    }

    fn retain(&mut self, offset: usize, data: &[u8]) -> Result<(), Refused> {
        self.journal.write(offset, data).map_err(|_| Refused)
    }
}
