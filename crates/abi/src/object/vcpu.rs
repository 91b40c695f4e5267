//! The vCPU of the processor on which the caller runs.

use serde::{Deserialize, Serialize};

/// An exception: one of the guest's, or one to be delivered to it at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Vector 0 to 31.
    pub vector: u8,
    /// The error code, for vectors that push one.
    pub error_code: Option<u32>,
}

impl Event {
    /// The debug exception.
    pub const SINGLE_STEP: Self = Self { vector: 1, error_code: None };
}

/// Requests to the vCPU of the processor on which the caller runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VcpuRequest<'a> {
    /// Runs the guest until an exit that the kernel does not handle itself. Needs `RUN`.
    Run {
        /// A changed [`crate::registers::Registers`] block, empty when nothing changed.
        #[serde(with = "serde_bytes")]
        registers: &'a [u8],
        /// An exception to deliver first.
        event: Option<Event>,
    },
    /// Runs some of the guest's instructions confined: in the view [`super::View::Confined`], whose old
    /// translations are forgotten first. Interrupts and NMIs wait, as does an event that is to be
    /// delivered; every exception leaves the guest, with the address in CR2 after a page fault. The
    /// guest never has the flag by which it is stepped; a debug exception of its own comes behind the
    /// step. Needs `CONFINE`.
    Confined {
        /// The [`crate::registers::Registers`] with which a *detour* begins, of which those are used
        /// that `Run` writes back: the guest goes on with them until [`VcpuRequest::Return`], or an
        /// ordinary `Run`, and then with all its registers as they were before. Without: it goes on
        /// where it is.
        #[serde(with = "serde_bytes")]
        registers: &'a [u8],
        /// How many instructions, one by one; 0: any number, until the machine's next interrupt.
        steps: u32,
    },
    /// Ends a detour. Needs `CONFINE`.
    Return,
    /// Gives the vCPU up: the next `Run` waits until somebody starts it. Needs `RUN`.
    Park,
    /// Reads a model-specific register whose reads leave the guest though it is the machine's: those
    /// of machine-check banks. Needs `WRITE`. Refused for all others, and where there is none.
    ReadMsr {
        /// Its number.
        number: u32,
    },
    /// Writes a model-specific register for the guest. Needs `WRITE`. Refused are registers and
    /// values that would harm LUCOS, or that the processor does not take. Besides those that
    /// `ReadMsr` names there are EFER (the guest's view, without the bits of virtualization),
    /// IA32_APIC_BASE (which keeps its value but for the bit that switches the x2APIC interface on:
    /// kicks go through the APIC), and those bits of AMD's HWCR and NB_CFG that leave LUCOS alone.
    WriteMsr {
        /// Its number.
        number: u32,
        /// New value.
        value: u64,
    },
    /// Reads or writes a port of those that leave the guest. Needs `WRITE`. Refused for others, and
    /// unless the size is 1, 2 or 4.
    Port {
        /// First port.
        port: u16,
        /// Bytes.
        size: u8,
        /// What is written; `None` reads.
        output: Option<u32>,
    },
    /// Writes back and invalidates the caches. Needs `RUN`.
    WriteBackCaches,
}

/// Replies of the vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VcpuReply<'a> {
    /// The guest stopped.
    Exit {
        /// Why.
        reason: ExitReason,
        /// Length of the instruction that caused it in bytes; 0 when the processor does not tell.
        instruction_length: u8,
        /// The [`crate::registers::Registers`] block.
        #[serde(with = "serde_bytes")]
        registers: &'a [u8],
    },
    /// The value of a register, or what was read from a port; 0 for one that was written.
    Value(u64),
    /// Done.
    Done,
}

/// Why the guest stopped, in words that hold for every processor vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    /// VMCALL or VMMCALL.
    Hypercall,
    /// RDMSR of an intercepted register (number in RCX).
    ReadMsr,
    /// WRMSR of an intercepted register (number in RCX, value in RDX:RAX).
    WriteMsr,
    /// An instruction of a virtualization extension other than the hypercall.
    Virtualization,
    /// INVD.
    InvalidateCaches,
    /// An access to a port that was asked for with [`super::MachineRequest::InterceptPort`].
    Port(PortAccess),
    /// The exception that was asked for with [`super::MachineRequest::InterceptInvalidOpcode`], or one
    /// that always leaves the guest
    /// (#DB, #AC); also the #GP of a state that the processor refuses.
    Exception(Event),
    /// An access that the guest space does not allow.
    NestedFault {
        /// The guest-physical address.
        gpa: u64,
        /// What the guest did there.
        access: Access,
    },
    /// A confined run has done all its steps.
    Stepped,
    /// A confined run was left before it was done, for an interrupt (which still waits), for a stop of
    /// another processor, or because the vCPU is to be started.
    Interrupted,
    /// Triple fault.
    Shutdown,
    /// The processor received INIT and the machine let LUCOS see it.
    Init,
    /// The processor refused the guest's state.
    InvalidState,
    /// An exit that has no name here.
    Other {
        /// The vendor's exit code.
        code: u64,
        /// The vendor's first detail word.
        info1: u64,
        /// The vendor's second detail word.
        info2: u64,
    },
}

/// An access to I/O ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortAccess {
    /// The first port.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// IN; otherwise OUT.
    pub input: bool,
    /// INS or OUTS, with memory instead of RAX.
    pub string: bool,
}

/// A guest access that faulted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// It was a write.
    pub write: bool,
    /// It was an instruction fetch.
    pub execute: bool,
    /// The page is mapped, but not for this kind of access.
    pub present: bool,
    /// The processor did it while it walked the guest's own page tables.
    pub table_walk: bool,
    /// The processor did it while it delivered an event, which comes again.
    pub delivery: bool,
}
