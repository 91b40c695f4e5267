//! What the kernel does for this task.

use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Object;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{Done, GuestMemoryReply, GuestMemoryRequest, SpaceRequest};
use lucos_runtime::{CallError, GuestWindow, Journal, Thread};
use lucos_service::MemoryError;

pub use lucos_abi::object::View;

/// What the guest may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read, write and execute.
    All,
    /// Read and execute.
    ReadExecute,
    /// Nothing: it is not there.
    None,
}

/// Why the kernel did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not the guest's memory.
    NotThere,
    /// LUCOS's region has no room for the page tables.
    NoRoom,
    /// LUCOS itself is at fault: a processor that does not answer, a request that the kernel does not
    /// take, no retained memory.
    Failed,
}

impl Refused {
    /// The error for who asked for something at this address.
    pub const fn at(self, gpa: u64) -> MemoryError {
        match self {
            Self::NotThere => MemoryError::NotRam { gpa },
            Self::NoRoom => MemoryError::NoRoom,
            Self::Failed => MemoryError::Kernel,
        }
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Status(CallStatus::NotThere) => Self::NotThere,
            CallError::Status(CallStatus::Full) => Self::NoRoom,
            _ => Self::Failed,
        }
    }
}

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
    /// [`Refused`]; nothing was written.
    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused>;

    /// Copies guest RAM as if through a buffer.
    ///
    /// # Errors
    /// [`Refused`]; nothing was copied. What was no RAM when the machine booted is not there.
    fn copy(&mut self, from: u64, to: u64, length: u64) -> Result<(), Refused>;

    /// Gives the guest rights on whole pages in a view.
    ///
    /// # Errors
    /// [`Refused`]
    fn set(&mut self, view: View, start: u64, length: u64, rights: Rights) -> Result<(), Refused>;

    /// Copies retained memory into `to`; zeros where there is none.
    fn recall(&self, offset: usize, to: &mut [u8]);

    /// Writes retained memory, in the order of addresses.
    ///
    /// # Errors
    /// [`Refused::Failed`]: there is none at this place.
    fn retain(&mut self, offset: usize, data: &[u8]) -> Result<(), Refused>;
}

/// The kernel itself.
#[derive(Debug)]
pub struct Real<'a> {
    /// The calling thread.
    pub thread: &'a mut Thread,
    /// Guest memory.
    pub window: &'a GuestWindow,
    /// Retained memory.
    pub journal: Journal,
}

impl Real<'_> {
    fn change(&mut self, request: &GuestMemoryRequest<'_>) -> Result<(), Refused> {
        match self.thread.call(Object::GuestMemory, request)? {
            GuestMemoryReply::Done => Ok(()),
            GuestMemoryReply::Bytes { .. } => Err(Refused::Failed),
        }
    }

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

impl Platform for Real<'_> {
    #[inline]
    fn read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        match self.window.read(gpa, to) {
            Ok(()) => Ok(()),
            Err(_) => self.read_added(gpa, to),
        }
    }

    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused> {
        let request = GuestMemoryRequest::Write { gpa, data };
        let written = self.change(&request);
        #[cfg(feature = "fault-injection")]
        crate::injection::count_write();
        written
    }

    fn copy(&mut self, from: u64, to: u64, length: u64) -> Result<(), Refused> {
        self.change(&GuestMemoryRequest::Copy { from, to, length })
    }

    fn set(&mut self, view: View, start: u64, length: u64, rights: Rights) -> Result<(), Refused> {
        let request = SpaceRequest::Set {
            view,
            start,
            length,
            read: rights != Rights::None,
            write: rights == Rights::All,
            execute: rights != Rights::None,
        };
        let Done = self.thread.call(Object::GuestSpace, &request)?;
        Ok(())
    }

    fn recall(&self, offset: usize, to: &mut [u8]) {
        if self.journal.read(offset, to).is_err() {
            to.fill(0);
        }
    }

    fn retain(&mut self, offset: usize, data: &[u8]) -> Result<(), Refused> {
        self.journal.write(offset, data).map_err(|_| Refused::Failed)
    }
}
