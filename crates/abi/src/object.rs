//! What a task can ask of a kernel object, and what it gets back.
//!
//! Each object kind has one request type; the capability in the slot decides which one the kernel
//! decodes. `Rights` says which right a request needs.

use crate::boot::MAX_CPUS;
use crate::cpuid::{CpuidRule, MAX_CPUID_RULES};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// An event that is delivered to the guest at the next entry.
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
    /// An access to a port that was asked for with [`MachineRequest::InterceptPort`].
    Port(PortAccess),
    /// An exception that was asked for with [`Intercept`].
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code, 0 for vectors without one.
        error_code: u32,
    },
    /// An access that the guest space does not allow.
    NestedFault {
        /// The guest-physical address.
        gpa: u64,
        /// What the guest did there.
        access: Access,
    },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// It was a write.
    pub write: bool,
    /// It was an instruction fetch.
    pub execute: bool,
    /// The page is mapped, but not for this kind of access.
    pub present: bool,
    /// The processor did it while it walked the guest's own page tables.
    pub table_walk: bool,
}

/// A class of exits that can be switched on for all vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intercept {
    /// Invalid opcode (#UD).
    InvalidOpcode,
    /// Debug exception (#DB).
    Debug,
}

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
    /// Switches a class of exits on or off, on all vCPUs. Needs `STOP`, and all other vCPUs
    /// stopped when there are any.
    Intercept {
        /// Which.
        class: Intercept,
        /// On or off.
        on: bool,
    },
    /// Makes every access of the guest to a port an exit, for good. Needs `START`.
    InterceptPort {
        /// The port.
        port: u16,
    },
    /// Sets the rules by which the kernel answers CPUID where that leaves the guest, once. Needs
    /// `START`.
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
    /// The last fault of a task. Needs `READ`.
    LastFault,
    /// Resets the machine. Needs `RESET`.
    Reset,
    /// Ends the emulator with this status, where LUCOS was started with an exit port; otherwise
    /// refused. Needs `RESET`.
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
    /// All other processors stand still.
    Stopped {
        /// How many of them were kicked out of the guest.
        kicked: u32,
        /// How long it took, in time-stamp ticks.
        ticks: u64,
    },
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
    /// The last fault of a task; `None` when there was none yet.
    Fault(Option<FaultRecord>),
}

/// A task's fault, as the kernel recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Place of the task in the system table.
    pub task: u8,
    /// Processor on which it ran.
    pub cpu: u32,
    /// What it did.
    pub fault: TaskFault,
}

/// Number of exit counters.
pub const COUNTERS: usize = 18;

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
    /// No count, but the time-stamp ticks of the last stop: until every processor that was in the
    /// guest has entered it again.
    LastStop = 17,
}

/// Requests to the guest space (nested page table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpaceRequest {
    /// Gives the guest these rights on a range of its physical addresses, each page onto itself.
    /// Pages of LUCOS are never given: they show the hidden page instead. Needs `WRITE`.
    ///
    /// When rights are taken away, the reply comes after every processor has forgotten the old. The
    /// status is `Late` when one does not in time: the rights are the new ones, but it may still use
    /// the old. When a part of the range cannot be changed, the status is `Refused`, and other parts
    /// may have changed.
    Set {
        /// First address, page aligned.
        start: u64,
        /// Bytes, a multiple of the page size.
        length: u64,
        /// Reads allowed; without it nothing is.
        read: bool,
        /// Writes allowed.
        write: bool,
        /// Instruction fetches allowed.
        execute: bool,
    },
}

/// Requests to guest memory: whatever the guest can use as memory, but never LUCOS's region. Reading
/// what the window shows needs no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMemoryRequest<'a> {
    /// Writes bytes. Refused when any of them is LUCOS's, or not in the address space. Needs `WRITE`.
    Write {
        /// Guest-physical address.
        gpa: u64,
        /// At most [`crate::message::PAYLOAD_MAX`].
        #[serde(with = "serde_bytes")]
        data: &'a [u8],
    },
    /// Copies RAM as if through a buffer. Refused like writing, and where RAM was added while the
    /// machine runs. Needs `WRITE`.
    Copy {
        /// Guest-physical address of the source.
        from: u64,
        /// Guest-physical address of the target.
        to: u64,
        /// Length in bytes.
        length: u64,
    },
    /// Reads bytes, for what the window does not show. Refused like writing. Needs `READ`.
    Read {
        /// Guest-physical address.
        gpa: u64,
        /// At most [`crate::message::PAYLOAD_MAX`].
        length: u32,
    },
}

/// Replies of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMemoryReply<'a> {
    /// It is written.
    Done,
    /// What was read.
    Bytes {
        /// The bytes.
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
}

/// Reply of objects that only say that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done;

/// Requests to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogRequest<'a> {
    /// Appends one line; the kernel adds the task's name. Needs `WRITE`.
    Write {
        /// The line; control characters are replaced.
        text: &'a str,
    },
    /// Reads from the ring. Needs `READ`.
    Read {
        /// Offset in the stream of all bytes ever logged.
        offset: u64,
        /// At most this many bytes, at most [`crate::message::PAYLOAD_MAX`].
        length: u32,
    },
}

/// Replies of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogReply<'a> {
    /// Done.
    Done,
    /// A part of the stream.
    Text {
        /// Offset of the first byte; later than asked when the ring has moved on.
        offset: u64,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
}

/// Why a task stopped. Kept with the task and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskFault {
    /// Access to an address that the task may not touch so.
    Memory {
        /// The address.
        address: u64,
        /// The instruction.
        rip: u64,
        /// It was a write.
        write: bool,
        /// It was an instruction fetch.
        execute: bool,
    },
    /// A privileged or invalid instruction, or another processor exception.
    Exception {
        /// Its vector.
        vector: u8,
        /// The instruction.
        rip: u64,
    },
    /// The task itself gave up (panic).
    GaveUp,
    /// The task replied to nobody, or ended its loop in a way that is not allowed.
    Protocol,
}

/// Register bytes of all processors, used where a list of processors travels.
pub type CpuList = Vec<u32, MAX_CPUS>;
