//! The subject of a transaction: the guest that it changes.

use alloc::vec::Vec;

use lucos_data_versions::state::Code;
use lucos_data_versions::{Side, VersionId};
use lucos_guest_interface::{ErrorCode, Fault, Part};
pub use lucos_service::places::{Difference, Place};

use crate::version::{Half, VersionPlan};

/// Why something was not done to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectError {
    /// A guest address is not mapped, or not memory.
    NotMapped {
        /// The address.
        address: u64,
    },
    /// A processor did not stop in time; everything runs on.
    Late,
    /// Somebody else has stopped the guest.
    Busy,
    /// LUCOS itself failed, in this part.
    Failed(Part),
}

impl SubjectError {
    /// The error for the guest, which is about entry `item`.
    pub const fn fault(self, item: u32) -> Fault {
        match self {
            Self::NotMapped { address } => Fault::at(ErrorCode::Address, item, address),
            Self::Late => Fault::at(ErrorCode::Deadline, item, 0),
            Self::Busy => Fault::at(ErrorCode::Busy, item, 0),
            Self::Failed(part) => part.fault(item),
        }
    }
}

/// An error at one of several places.
pub type PlaceError = lucos_service::places::PlaceError<SubjectError>;

/// The guest's data in two versions, for one call of the guest. All of it is only called in a stop.
pub trait DataSubject {
    /// Whether nobody is inside this code of the patch with this number.
    ///
    /// # Errors
    /// [`SubjectError::Failed`], or the guest's code that looks failed.
    fn is_clear(&mut self, patch: u32, code: Code) -> Result<bool, Fault>;

    /// Makes the other side of every pair of version `id` from side `from`, in the stage, and nowhere
    /// else: first what the target is, and behind it what it becomes.
    ///
    /// # Errors
    /// Why a transfer function was ended; [`SubjectError`]s. The stage then holds anything.
    fn stage(&mut self, id: VersionId, version: &VersionPlan, from: Side) -> Result<(), Fault>;

    /// Fills the stage with zeros, as it was.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn wipe_stage(&mut self, version: &VersionPlan) -> Result<(), SubjectError>;

    /// Copies one half of every place of the stage to side `to` of its pair. To do it once more
    /// changes nothing.
    ///
    /// # Errors
    /// [`SubjectError::Failed`], and some may be copied.
    fn copy_pairs(
        &mut self,
        version: &VersionPlan,
        to: Side,
        half: Half,
    ) -> Result<(), SubjectError>;

    /// Guards the pages of version `id`, or leaves those to the guest that no other version has. To do
    /// it once more changes nothing.
    ///
    /// # Errors
    /// [`SubjectError::Failed`], and some may be guarded.
    fn guard(&mut self, id: VersionId, version: &VersionPlan, on: bool)
    -> Result<(), SubjectError>;
}

/// The guest's memory and processors, for one call of the guest.
///
/// Addresses are guest-virtual, in the kernel's part of the address space.
pub trait Subject: DataSubject {
    /// Reads code; all bytes or none.
    ///
    /// # Errors
    /// [`SubjectError::NotMapped`], [`SubjectError::Failed`]
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), SubjectError>;

    /// Looks whether code is what it should be; tells the first byte that is not. At most
    /// [`crate::patch::FUNCTIONS_MAX`] places.
    ///
    /// # Errors
    /// [`SubjectError::NotMapped`], [`SubjectError::Failed`]
    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError>;

    /// Writes code, place by place. At most [`crate::patch::FUNCTIONS_MAX`] places.
    ///
    /// # Errors
    /// [`SubjectError::NotMapped`], and nothing is written; [`SubjectError::Failed`], and some of
    /// the first places may be written.
    fn write(&mut self, places: &[Place<'_>]) -> Result<(), PlaceError>;

    /// Stops the guest on all other processors.
    ///
    /// # Errors
    /// [`SubjectError::Late`], [`SubjectError::Busy`], [`SubjectError::Failed`]: nothing is
    /// stopped.
    fn stop(&mut self) -> Result<(), SubjectError>;

    /// Ends the stop.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn resume(&mut self) -> Result<(), SubjectError>;

    /// The instruction pointers of all stopped processors that run.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn stopped_at(&mut self) -> Result<Vec<u64>, SubjectError>;

    /// Whether invalid opcodes of the guest come to LUCOS, from now on and on all processors. Only
    /// called in a stop.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn intercept(&mut self, on: bool) -> Result<(), SubjectError>;

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
