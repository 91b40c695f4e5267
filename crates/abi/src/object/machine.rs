//! All processors.

use crate::cpuid::{CpuidRule, MAX_CPUID_RULES};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// State in which a vCPU starts: 64-bit code, flat segments, interrupts off. Page tables may forbid
/// execution (EFER.NXE is set): Linux' start code for other processors counts on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatStart {
    /// First instruction.
    pub rip: u64,
    /// RSI at start.
    pub rsi: u64,
    /// Page-table root; it must map `rip`.
    pub cr3: u64,
    /// GDT address.
    pub gdt_base: u64,
    /// GDT limit in bytes minus one.
    pub gdt_limit: u16,
    /// Selector of a 64-bit code segment in it.
    pub code_selector: u16,
    /// Selector of a data segment in it.
    pub data_selector: u16,
}

/// Requests that concern all processors.
#[expect(
    clippy::large_enum_variant,
    reason = "the kernel has no heap on this path, and the table is sent once"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineRequest {
    /// Stops the guest on every other processor. Needs `STOP`. A caller on another processor than
    /// the one that holds a stop gets `Busy`; on the same one the stop goes on. When a processor is
    /// not there in time everything runs on and the status is `Late`.
    ///
    /// The stop outlives a restart of the task that asked for it: the new one finds it held, and
    /// has to put in order and resume what the old one left. It ends at the latest when the
    /// processor that holds it runs its own vCPU.
    Stop {
        /// Time-stamp ticks to wait at most.
        deadline: u64,
    },
    /// Ends the stop that the caller's processor holds. Needs `STOP`.
    Resume,
    /// The registers of a stopped vCPU. Needs `STOP`.
    Registers {
        /// Processor number, from 0.
        cpu: u32,
    },
    /// Starts a vCPU, wherever it is: parked, or running in the guest. Needs `START`.
    Start {
        /// Processor number, from 0.
        cpu: u32,
        /// Where and how.
        state: FlatStart,
    },
    /// Switches on or off that invalid opcodes (#UD) leave the guest, on all vCPUs. Needs `STOP`, and
    /// all other vCPUs stopped when there are any, or it is `WrongState`.
    InterceptInvalidOpcode {
        /// On or off.
        on: bool,
    },
    /// Makes every access of the guest to a port an exit, for good; `WrongState` before there is a
    /// vCPU. Needs `START`.
    InterceptPort {
        /// The port.
        port: u16,
    },
    /// Sets the rules by which the kernel answers CPUID where that leaves the guest, once; then
    /// it is `WrongState`. Needs `START`.
    SetCpuid {
        /// The rules.
        rules: Vec<CpuidRule, MAX_CPUID_RULES>,
    },
    /// Whether kicks are passed on as NMIs to vCPUs with the same interrupt table as the caller's.
    /// Needs `STOP`.
    ForwardKicks {
        /// On or off.
        on: bool,
    },
    /// Exit counters, summed over all processors. Needs `READ`.
    Counters,
    /// Resets the machine. Needs `RESET`.
    Reset,
    /// Ends the emulator with this status, where LUCOS was started with an exit port; otherwise
    /// `NotThere`. Needs `RESET`.
    Exit {
        /// Value written to the port.
        status: u8,
    },
}

/// Replies of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineReply<'a> {
    /// Done.
    Done,
    /// A register block; empty when that vCPU never ran or is parked.
    Registers {
        /// [`crate::registers::Registers`] bytes.
        #[serde(with = "serde_bytes")]
        registers: &'a [u8],
    },
    /// Exit counters.
    Counters {
        /// By [`Counter`].
        counts: [u64; COUNTERS],
    },
}

/// Number of exit counters.
pub const COUNTERS: usize = 17;

/// What is counted, once per event, per processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// All exits but CPUID.
    Exits = 0,
    /// CPUID.
    Cpuid = 1,
    /// RDMSR.
    ReadMsr = 2,
    /// WRMSR.
    WriteMsr = 3,
    /// VMCALL and VMMCALL.
    Hypercall = 4,
    /// Other instructions of a virtualization extension.
    Virtualization = 5,
    /// Invalid opcode, trapped redirections among them.
    InvalidOpcode = 6,
    /// Debug exceptions: single steps.
    Debug = 7,
    /// IRET.
    Iret = 8,
    /// Nested page faults.
    NestedFault = 9,
    /// NMIs that were kicks.
    Kick = 10,
    /// NMIs that were the guest's.
    GuestNmi = 11,
    /// INIT.
    Init = 12,
    /// Triple faults.
    Shutdown = 13,
    /// Anything else.
    Other = 14,
    /// Calls of tasks to kernel objects and to each other.
    Messages = 15,
    /// Restarts of tasks.
    Restarts = 16,
}
