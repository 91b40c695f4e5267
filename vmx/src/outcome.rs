//! What a handler of an exit is given, and how the vCPU goes on.

use core::fmt;

use lucos_abi::object::{Event, ExitReason};
use lucos_abi::registers::Registers;
use lucos_linux_boot::nvs::FixedPlaces;
use lucos_service::{LogBudget, QUARTER_HOUR};
use lucos_system_info::SystemInfo;

use crate::platform::Platform;

/// Vector of an invalid opcode.
pub const INVALID_OPCODE: u8 = 6;
/// Vector of a general protection fault.
pub const GENERAL_PROTECTION: u8 = 13;

/// An exit as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Why the guest stopped.
    pub reason: ExitReason,
    /// Length of the instruction; 0 when the processor does not tell.
    pub instruction_length: u8,
    /// The vCPU's registers.
    pub registers: Registers,
}

/// What the whole task knows of the machine; it never changes.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The machine.
    pub info: &'a SystemInfo,
    /// Mailbox, start code and page tables of the guest's processors.
    pub places: FixedPlaces,
}

/// How the vCPU goes on.
// One value lives on each thread's stack, and resuming is what mostly happens.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs on with these registers: the instruction was carried out.
    Resume(Registers),
    /// The same, and it takes the debug exception of a single step.
    Step(Registers),
    /// It runs on as it was and repeats the instruction.
    Repeat,
    /// It takes an exception at the same instruction.
    Fault(Event),
    /// It waits until it is started again.
    Park,
    /// The machine is reset.
    Reset,
    /// The guest cannot go on, and a reset would hide why.
    Stop,
}

impl Outcome {
    /// An invalid opcode.
    pub const INVALID_OPCODE: Self =
        Self::Fault(Event { vector: INVALID_OPCODE, error_code: None });

    /// A general protection fault with error code 0.
    pub const GENERAL_PROTECTION: Self =
        Self::Fault(Event { vector: GENERAL_PROTECTION, error_code: Some(0) });
}

/// Lines that the guest can cause in the log, over all processors.
static NOTES: LogBudget = LogBudget::new(64, QUARTER_HOUR);

/// Logs something that the guest has done, unless it has made us log too much already.
pub fn note(platform: &mut impl Platform, text: fmt::Arguments<'_>) {
    NOTES.write(platform.time(), text, |line| platform.log(line));
}
