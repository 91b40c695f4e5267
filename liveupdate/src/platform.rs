//! What the task needs of the kernel and of the task `memory`.

use lucos_abi::object::COUNTERS;
use lucos_service::AddressSpace;
use lucos_system_info::MemoryRange;
use lucos_transaction::MachineError;
use lucos_transaction::machine::{Difference, Place, PlaceError};

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
pub trait Platform {
    /// What does not change.
    fn facts(&self) -> Facts;

    /// Number of the processor that serves the call.
    fn processor(&self) -> u32;

    /// Reads bytes at a guest-virtual address; all or none.
    ///
    /// # Errors
    /// [`MachineError::NotMapped`], [`MachineError::Failed`]
    fn read(
        &mut self,
        space: AddressSpace,
        address: u64,
        bytes: &mut [u8],
    ) -> Result<(), MachineError>;

    /// Writes at most [`lucos_abi::message::PAYLOAD_MAX`] bytes at a guest-virtual address where the
    /// guest itself may write; all or none.
    ///
    /// # Errors
    /// [`MachineError::NotMapped`], [`MachineError::Failed`]
    fn write(
        &mut self,
        space: AddressSpace,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), MachineError>;

    /// As [`lucos_transaction::Machine::compare`].
    ///
    /// # Errors
    /// [`MachineError::NotMapped`], [`MachineError::Failed`]
    fn compare_code(
        &mut self,
        space: AddressSpace,
        places: &[Place<'_>],
    ) -> Result<Option<Difference>, PlaceError>;

    /// As [`lucos_transaction::Machine::write`].
    ///
    /// # Errors
    /// [`MachineError::NotMapped`], [`MachineError::Failed`]
    fn write_code(&mut self, space: AddressSpace, places: &[Place<'_>]) -> Result<(), PlaceError>;

    /// The time-stamp counter.
    fn time(&mut self) -> u64;

    /// Stops the guest on all other processors.
    ///
    /// # Errors
    /// [`MachineError::Late`], [`MachineError::Busy`], [`MachineError::Failed`]
    fn stop(&mut self) -> Result<(), MachineError>;

    /// Ends the stop.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn resume(&mut self) -> Result<(), MachineError>;

    /// The instruction pointer of a stopped vCPU; `None` when it does not run.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn instruction_pointer(&mut self, processor: u32) -> Result<Option<u64>, MachineError>;

    /// Whether invalid opcodes of the guest come to LUCOS.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn intercept(&mut self, on: bool) -> Result<(), MachineError>;

    /// Whether NMIs by which LUCOS stops processors are passed on to the guest.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn forward_kicks(&mut self, on: bool) -> Result<(), MachineError>;

    /// The kernel's exit counters.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn counters(&mut self) -> Result<[u64; COUNTERS], MachineError>;

    /// Keeps the number of redirections for the task's next life.
    fn retain_redirections(&mut self, count: u64);

    /// How often the guest wrote to memory that LUCOS hides, or executed there.
    ///
    /// # Errors
    /// [`MachineError::Failed`]
    fn hidden_accesses(&mut self) -> Result<u64, MachineError>;

    /// Reads from the log's stream, from `offset` on or from the oldest byte that is left. Returns the
    /// offset of the first byte and how many there are.
    fn read_log(&mut self, offset: u64, bytes: &mut [u8]) -> (u64, usize);

    /// Writes a line to the log.
    fn log(&mut self, line: core::fmt::Arguments<'_>);
}
