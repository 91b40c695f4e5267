//! What the test suite asks of the assist tasks.

#![no_std]
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A request to an assist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Do nothing wrong: count.
    Count,
    /// Commit a crime.
    Commit(Crime),
    /// Go round a loop so many times, then count.
    Work(u32),
    /// The same, with a lock held that all threads of the assist share.
    LockedWork(u32),
}

/// Something that ends a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Crime {
    /// Read at an address.
    Read(u64),
    /// Write at an address.
    Write(u64),
    /// Jump to an address.
    Execute(u64),
    /// Execute a privileged or otherwise forbidden instruction.
    Instruction(Instruction),
    /// Use more stack than there is.
    Overflow,
    /// Panic.
    Panic,
    /// Panic with the assist's lock held.
    LockedPanic,
}

/// An instruction that a task must not execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Instruction {
    /// HLT
    Halt,
    /// CLI
    DisableInterrupts,
    /// MOV CR3
    WriteRoot,
    /// RDMSR
    ReadMsr,
    /// OUT
    Output,
    /// VMRUN
    RunGuest,
    /// An SSE instruction: the FPU holds the guest's state.
    Float,
}

/// What a well-behaved assist answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Requests since the task was started or restarted, from its ordinary memory.
    pub ordinary: u64,
    /// Requests since boot, from its retained memory.
    pub retained: u64,
    /// How often it was restarted.
    pub generation: u32,
    /// Address of a constant of the assist.
    pub constant: u64,
    /// Address of its code.
    pub code: u64,
    /// Address of a variable.
    pub variable: u64,
}

/// Hypercalls of the test guest: RAX holds one of these.
pub mod guest {
    /// A check: RBX = number of the check, RCX = what was found, RDX = what was expected.
    pub const CHECK: u64 = 1;
    /// The guest is done.
    pub const DONE: u64 = 2;
    /// Asks for the number of all exits so far, in RAX.
    pub const EXITS: u64 = 3;
    /// Asks for the invalid-opcode intercept to be on (RBX = 1) or off (0).
    pub const INTERCEPT: u64 = 4;
    /// Asks for an exception with vector RBX and error code RCX. RDX = 0, or the address of a word
    /// that is set to 1 a while before.
    pub const EXCEPTION: u64 = 5;
    /// Asks for a number of stops and resumes; RBX = how many, RCX = where another processor counts,
    /// RDX = time-stamp ticks that each may take. RAX = how many succeeded, RCX = how often the other
    /// processor moved while it was stopped.
    pub const STOPS: u64 = 6;
    /// Asks for processor RBX to be started at RCX.
    pub const START: u64 = 7;
    /// Asks for the page at RBX to be read-only (RCX = 1) or writable (0). RAX = 0, or the number of
    /// the status.
    pub const PROTECT: u64 = 8;
    /// `CallStatus::Late`.
    pub const LATE: u64 = 9;
    /// Asks for two stops and no resume.
    pub const STOP_FOR_GOOD: u64 = 10;

    /// A check by its name: RBX = address of four words, the name's address and length, what was found,
    /// and what was expected.
    pub const COMPARE: u64 = 11;
    /// Asks for RCX pages from RBX on to be guarded, and for the end of all other guards. RDX = 0, or
    /// the address of a word that is to hold whatever is written to the first one.
    pub const GUARD: u64 = 12;
    /// RAX = steps since this was asked last, RCX = pages that were opened for them.
    pub const STEPS: u64 = 13;
    /// Asks for a detour to RBX with the end of its stack in RCX, for RDX steps. RAX = how it ended,
    /// one of [`Ended`]; RCX = the detail.
    pub const DETOUR: u64 = 14;
    /// The same with all other processors stopped.
    pub const STOPPED_DETOUR: u64 = 15;
    /// Ends a detour with RBX as the detail.
    pub const BACK: u64 = 16;
    /// Begins a detour to RBX with the end of its stack in RCX, and ends the task in the middle of it.
    /// RAX = how often the task was restarted.
    pub const ABANDON: u64 = 17;
    /// Asks for RCX bytes from RBX on to be filled with zeros and with ones, RDX times.
    pub const FILL: u64 = 18;

    /// How a detour ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u64)]
    pub enum Ended {
        /// Otherwise than is foreseen.
        Otherwise = 0,
        /// It came back.
        Back = 1,
        /// It did all its steps. The detail is RIP.
        Stepped = 2,
        /// An exception. The detail is the vector, or CR2 for a page fault.
        Exception = 3,
        /// A nested fault. The detail is the address.
        NestedFault = 4,
        /// It was interrupted.
        Interrupted = 5,
    }

    /// First address of LUCOS's region is in RSI at start, number of processors in RDI is not
    /// possible (only RSI is set), so it lies here, below the guest's image.
    pub const PARAMETERS: u64 = 0x01ff_0000;

    /// Names of the checks.
    pub const NAMES: [&str; 27] = [
        "cpuid_leaves_where_it_must",
        "cpuid_is_the_machines",
        "msr_read_by_task",
        "hidden_read_shows_ones",
        "hidden_write_is_refused",
        "invalid_opcode_is_the_guests",
        "invalid_opcode_redirected",
        "exception_injected",
        "timer_interrupt_arrives",
        "timer_without_exit",
        "halt_wakes",
        "nmi_arrives",
        "nmi_waits_for_iret",
        "nmi_after_iret",
        "processors_started",
        "stops_succeed",
        "stopped_processors_stand_still",
        "nmis_survive_stops",
        "nmi_behind_an_exception_arrives",
        "stop_ends_when_its_processor_runs",
        "stop_without_kicks_is_late",
        "protection_without_kicks_is_late",
        "rights_are_given_back_without_kicks",
        "lost_kick_is_sent_again",
        "stopped_after_a_lost_kick",
        "protection_after_a_lost_kick",
        "kicks_stay_away_from_the_guest",
    ];
    /// Vector of the guest's timer.
    pub const TIMER: u8 = 0x40;
}
