//! What the task needs of the kernel, beside what the task `memory` does for it.

use lucos_abi::object::{COUNTERS, ExitReason};
use lucos_abi::registers::Registers;
use lucos_data_versions::Note;
use lucos_service::AddressSpace;
use lucos_service::client::{Failure, Memory};
use lucos_system_info::MemoryRange;
use lucos_transaction::SubjectError;

use crate::late::Late;

/// What does not change while LUCOS runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Local APIC ids by processor number.
    pub apic_ids: &'static [u32],
    /// The memory that LUCOS keeps for itself.
    pub region: MemoryRange,
    /// The virtualization extension, a number of [`lucos_guest_interface::status::Extension`].
    pub extension: u32,
    /// `ASSIST_*` bits of [`lucos_guest_interface::status`].
    pub assists: u32,
    /// `CONTAINS_*` bits of it.
    pub containment: u32,
}

impl Facts {
    /// Number of processors.
    #[must_use]
    pub const fn processors(&self) -> u32 {
        // At most `MAX_CPUS`.
        self.apic_ids.len() as u32
    }
}

/// The effects of the task, on the processor that serves a call.
pub trait Platform: Memory {
    /// What does not change.
    fn facts(&self) -> Facts;

    /// Number of the processor that serves the call.
    fn processor(&self) -> u32;

    /// The time-stamp counter.
    fn time(&mut self) -> u64;

    /// Stops the guest on all other processors.
    ///
    /// # Errors
    /// [`SubjectError::Late`], [`SubjectError::Busy`], [`SubjectError::Failed`]
    fn stop(&mut self) -> Result<(), SubjectError>;

    /// Ends the stop.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn resume(&mut self) -> Result<(), SubjectError>;

    /// The registers of a stopped vCPU; `None` when it does not run.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn registers(&mut self, processor: u32) -> Result<Option<Registers>, SubjectError>;

    /// Runs the vCPU of this processor confined: for so many steps, or for 0 until something interrupts
    /// it. `start` begins a detour, which goes on until [`Platform::end_detour`].
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn confined(
        &mut self,
        start: Option<&Registers>,
        steps: u32,
    ) -> Result<(ExitReason, Registers), SubjectError>;

    /// Ends a detour; the vCPU has the registers again that it had before.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn end_detour(&mut self) -> Result<(), SubjectError>;

    /// Reads bytes at a guest-physical address, without a message where that is possible.
    ///
    /// # Errors
    /// [`Failure`]; `to` then holds anything.
    fn look(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Failure> {
        self.read_physical(gpa, to)
    }

    /// The note of a write that this processor has not finished, and its address space.
    fn note(&self) -> Option<(Note, AddressSpace)>;

    /// Whether another processor has one.
    fn others_have_notes(&self) -> bool;

    /// Retains the note of this processor's write.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]: there is no retained memory for it.
    fn retain_note(&mut self, note: &Note, space: AddressSpace) -> Result<(), SubjectError>;

    /// The late pair in a place of retained memory, below [`LATE_MAX`](crate::late::LATE_MAX).
    fn late(&self, place: usize) -> Option<Late>;

    /// Retains a late pair, or that there is none, in one step.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]: there is no retained memory for it.
    fn retain_late(&mut self, place: usize, late: Option<Late>) -> Result<(), SubjectError>;

    /// Retains that this processor has no note.
    ///
    /// # Errors
    /// The same.
    fn clear_note(&mut self) -> Result<(), SubjectError>;

    /// Whether invalid opcodes of the guest come to LUCOS.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn intercept(&mut self, on: bool) -> Result<(), SubjectError>;

    /// Whether NMIs by which LUCOS stops processors are passed on to the guest.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn forward_kicks(&mut self, on: bool) -> Result<(), SubjectError>;

    /// The kernel's exit counters.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    fn counters(&mut self) -> Result<[u64; COUNTERS], SubjectError>;

    /// Keeps the number of redirections for the task's next life.
    fn retain_redirections(&mut self, count: u64);

    /// Reads from the log's stream, from `offset` on or from the oldest byte that is left. Returns the
    /// offset of the first byte and how many there are.
    fn read_log(&mut self, offset: u64, bytes: &mut [u8]) -> (u64, usize);

    /// Writes a line to the log.
    fn log(&mut self, line: core::fmt::Arguments<'_>);
}
