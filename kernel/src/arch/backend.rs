//! What differs between the vendors: a [`Backend`] switches to the guest and back, and names the exit.

use super::descriptors::Descriptors;
use super::processor::PerProcessor;
use crate::fatal::Fatal;
use alloc::boxed::Box;
use lucos_abi::object::{Event, ExitReason, FlatStart, View};
use lucos_abi::registers::Registers;
use lucos_paging::{Format, PageSize};

/// The virtualization extension of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// The format of its nested page tables.
    pub format: Format,
    /// The largest page that these can map.
    pub largest: PageSize,
    /// CPUID leaves the guest, so that a hypervisor below stays hidden.
    pub hides_cpuid: bool,
    /// Switches it on for the processor that calls, and makes its vCPU.
    pub make: Make,
}

/// Makes the vCPU of a processor.
pub type Make =
    fn(&Extension, &'static PerProcessor, &Descriptors) -> Result<Box<dyn Backend>, Fatal>;

/// What is left to be done after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exited {
    /// Nothing, or the guest was not entered: look around and try again.
    Again,
    /// CPUID, where that leaves the guest, is to be answered.
    Cpuid,
    /// The instruction was carried out: the guest goes on behind it.
    CarriedOut,
    /// What a task has to do.
    Reason(ExitReason),
}

/// How the guest is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is on its own until an exit.
    Ordinary,
    /// The same, and it leaves soon after: something of its own waits for that.
    Brief,
    /// For the IRET that comes next, with everything else held back.
    OverIret,
    /// Confined.
    Confined {
        /// For one instruction; otherwise until an exit or the machine's next interrupt.
        step: bool,
    },
}

impl Entry {
    /// The view in which the guest runs then.
    pub const fn view(self) -> View {
        if matches!(self, Self::Confined { .. }) { View::Confined } else { View::Main }
    }
}

/// What differs between the vendors. `Vcpu::enter` calls the first five in their order.
pub trait Backend {
    /// Prepares an entry, ordinary or confined, and tells how it has to be. `None` when the processor
    /// would not enter the state that the guest has made.
    fn prepare(&mut self, wanted: Entry) -> Option<Entry>;
    /// From here to the guest no NMI goes unnoticed; one may keep `switch` from entering it.
    fn close(&mut self);
    /// Enters the guest, unless an NMI has come, with its old translations forgotten when `flush`, and
    /// comes back with the state saved. Invalid opcodes leave the guest when asked for.
    fn switch(&mut self, entry: Entry, flush: bool, invalid_opcode: bool);
    /// The processor is LUCOS's again, and NMIs come to it.
    fn open(&mut self);
    /// Looks at the exit of such an entry.
    fn look_at_exit(&mut self, entry: Entry) -> Exited;
    /// Confined runs go on with these registers, apart from the guest; or where the guest is.
    fn detour(&mut self, registers: Option<&Registers>);

    /// An NMI of the guest has come.
    fn pend_nmi(&mut self);
    /// Sets the state in which the guest starts. Nothing of an earlier run is left.
    fn start(&mut self, state: &FlatStart);
    /// The registers, on a detour those of the detour.
    fn registers(&self) -> Registers;
    /// Changes the registers that a task may change.
    fn set_registers(&mut self, block: &Registers);
    /// Delivers an exception at the next entry; false when it comes while a double fault is
    /// delivered, which is a shutdown.
    fn inject(&mut self, event: Event) -> bool;
    /// Length of the instruction of the last exit; 0 when the processor does not tell.
    fn instruction_length(&self) -> u8;
    /// Reads a register whose reads leave the guest though it is the machine's.
    fn read_register(&self, number: u32) -> Option<u64>;
    /// Writes a register for the guest; `None` when it may not write it, or not this value.
    fn write_register(&mut self, number: u32, value: u64) -> Option<()>;
}
