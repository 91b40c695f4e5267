//! What the kernel does for this task.

use lucos_abi::manifest::Object;
use lucos_abi::object::{Done, GuestMemoryRequest, SpaceRequest};
use lucos_runtime::{GuestWindow, Journal, Thread, WindowError};

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
    fn read(&self, gpa: u64, to: &mut [u8]) -> Result<(), u64>;

    /// Writes guest memory.
    ///
    /// # Errors
    /// Some of it cannot be written; nothing was.
    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused>;

    /// Copies within guest memory, as if through a buffer.
    ///
    /// # Errors
    /// Some of it is not guest memory; nothing was copied.
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
    fn call<Request: serde::Serialize>(
        &mut self,
        object: Object,
        request: &Request,
    ) -> Result<(), Refused> {
        self.thread.call::<_, Done>(object, request).map(|Done| ()).map_err(|_| Refused)
    }
}

impl Platform for Kernel<'_> {
    fn read(&self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        self.window.read(gpa, to).map_err(|WindowError::NotReadable { gpa }| gpa)
    }

    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused> {
        let written = self.call(Object::GuestMemory, &GuestMemoryRequest::Write { gpa, data });
        #[cfg(feature = "fault-injection")]
        crate::injection::count_write();
        written
    }

    fn copy(&mut self, from: u64, to: u64, length: u64) -> Result<(), Refused> {
        let request = GuestMemoryRequest::Copy { from, to, length };
        self.call(Object::GuestMemory, &request)
    }

    fn set(&mut self, start: u64, length: u64, rights: Rights) -> Result<(), Refused> {
        let request = SpaceRequest::Set {
            start,
            length,
            read: true,
            write: rights == Rights::All,
            execute: true,
        };
        self.call(Object::GuestSpace, &request)
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
