//! What a transaction needs of the machine.

use alloc::vec::Vec;

use lucos_guest_interface::{ErrorCode, Fault};

/// Why the machine did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineError {
    /// A guest address is not mapped, or not memory.
    NotMapped {
        /// The address.
        address: u64,
    },
    /// A processor did not stop in time; everything runs on.
    Late,
    /// Somebody else has stopped the machine.
    Busy,
    /// LUCOS itself failed.
    Failed,
}

impl MachineError {
    /// The error for the guest, which is about entry `item`.
    pub const fn fault(self, item: u32) -> Fault {
        match self {
            Self::NotMapped { address } => Fault::at(ErrorCode::Address, item, address),
            Self::Late => Fault::at(ErrorCode::Deadline, item, 0),
            Self::Busy => Fault::at(ErrorCode::Busy, item, 0),
            Self::Failed => Fault::at(ErrorCode::Internal, item, 0),
        }
    }
}

/// Bytes of code at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Where.
    pub address: u64,
    /// What is or should be there, 1 to [`crate::patch::CODE_MAX`] bytes.
    pub bytes: &'a [u8],
}

/// An error at one of several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceError {
    /// Number of the place, from 0.
    pub place: usize,
    /// What it is.
    pub error: MachineError,
}

/// A byte that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Number of the place, from 0.
    pub place: usize,
    /// The byte's number in it.
    pub offset: usize,
}

/// The guest's memory and processors, for one call of the guest.
///
/// Addresses are guest-virtual, in the kernel's part of the address space.
pub trait Machine {
    /// Reads code; all bytes or none.
    ///
    /// # Errors
    /// [`MachineError::NotMapped`], [`MachineError::Failed`]
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), MachineError>;

    /// Looks whether code is what it should be; tells the first byte that is not. At most
    /// [`crate::patch::FUNCTIONS_MAX`] places.
    ///
    /// # Errors
    /// [`MachineError::NotMapped`], [`MachineError::Failed`]
    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError>;

    /// Writes code, place by place. At most [`crate::patch::FUNCTIONS_MAX`] places.
    ///
    /// # Errors
    /// [`MachineError::NotMapped`], and nothing is written; [`MachineError::Failed`], and some of
    /// the first places may be written.
    fn write(&mut self, places: &[Place<'_>]) -> Result<(), PlaceError>;

    /// Stops the guest on all other processors.
    ///
    /// # Errors
    /// [`MachineError::Late`], [`MachineError::Busy`], [`MachineError::Failed`]: nothing is
    /// stopped.
    fn stop(&mut self) -> Result<(), MachineError>;

    /// Ends the stop.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn resume(&mut self) -> Result<(), MachineError>;

    /// The instruction pointers of all stopped processors that run.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn stopped_at(&mut self) -> Result<Vec<u64>, MachineError>;

    /// Whether invalid opcodes of the guest come to LUCOS, from now on and on all processors. Only
    /// called in a stop.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn intercept(&mut self, on: bool) -> Result<(), MachineError>;

    /// Where a trap at `site` leads from now on: to function number `function` of the journal, at
    /// `target`; nowhere with `None`. Only called in a stop, or before the first guest instruction
    /// after a restart.
    fn redirect(&mut self, site: u64, to: Option<Target>);

    /// The time-stamp counter.
    fn now(&mut self) -> u64;
}

/// Where a trap leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address of the new function.
    pub entry: u64,
    /// The place of the function in the journal.
    pub function: usize,
    /// The function was applied just now: its calls count from 0.
    pub is_new: bool,
}
