//! What ends a task.

use serde::{Deserialize, Serialize};

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
