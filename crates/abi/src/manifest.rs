//! The system table: which tasks exist, what memory and which capabilities each has.
//!
//! Written by people as `system.toml`, turned into this by the image builder, checked by the kernel
//! before any task starts. A capability's slot follows from its object, so kernel and tasks cannot
//! disagree about slots.

use bitflags::bitflags;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Most tasks in a system.
pub const MAX_TASKS: usize = 4;
/// Most bytes of a task's name.
pub const NAME_MAX: usize = 16;

/// The kinds of things a capability can name. The discriminant is the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// The log.
    Log,
    /// The vCPU of the processor on which the caller runs.
    Vcpu,
    /// All processors.
    Machine,
    /// The nested page table.
    GuestSpace,
    /// The guest's RAM.
    GuestMemory,
    /// Retained pages of the task.
    Journal,
    /// The task that virtualizes memory.
    MemoryTask,
    /// The live-update service.
    LiveupdateTask,
}

impl Object {
    /// The slot in which a capability to this object lies.
    pub const fn slot(self) -> u64 {
        self as u64
    }

    /// Every object, in the order of their slots.
    pub const ALL: [Object; SLOTS] = [
        Object::Log,
        Object::Vcpu,
        Object::Machine,
        Object::GuestSpace,
        Object::GuestMemory,
        Object::Journal,
        Object::MemoryTask,
        Object::LiveupdateTask,
    ];

    /// The name of the task behind this object, if it is a task.
    pub const fn task_name(self) -> Option<&'static str> {
        match self {
            Object::MemoryTask => Some("memory"),
            Object::LiveupdateTask => Some("liveupdate"),
            _ => None,
        }
    }
}

/// Number of slots in a capability table.
pub const SLOTS: usize = 8;

/// What the holder of a capability may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights(u16);

bitflags! {
    impl Rights: u16 {
        /// Read: the log, counters, the guest memory window.
        const READ = 1;
        /// Write: the log, guest memory, the guest space, EFER.
        const WRITE = 2;
        /// Call the task.
        const CALL = 4;
        /// Run the vCPU.
        const RUN = 8;
        /// Stop and resume all vCPUs.
        const STOP = 16;
        /// Start vCPUs and define what CPUID says.
        const START = 32;
        /// Reset or end the machine.
        const RESET = 64;
    }
}

/// One capability of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityEntry {
    /// What it names.
    pub object: Object,
    /// What the task may do with it; never empty.
    pub rights: Rights,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEntry {
    /// Its name; its image is the bundle's `tasks/<name>`.
    pub name: String<NAME_MAX>,
    /// Pages of stack for each processor, 1 to 64.
    pub stack_pages: u16,
    /// Pages of heap, 0 to 1024.
    pub heap_pages: u16,
    /// Pages that survive a restart, 0 to 64.
    pub journal_pages: u16,
    /// Its capabilities, at most one for each object.
    pub capabilities: Vec<CapabilityEntry, SLOTS>,
}

/// The whole system. The first task is the one that runs the vCPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemTable {
    /// All tasks.
    pub tasks: Vec<TaskEntry, MAX_TASKS>,
}
