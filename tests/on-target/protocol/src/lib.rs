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
