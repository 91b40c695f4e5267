//! The system table: which tasks exist, what memory and which capabilities each has.
//!
//! Written by people as `system.toml`, turned into this by the image builder, checked by the
//! boot stub. A capability's slot follows from its object, so kernel and tasks cannot
//! disagree about slots.

use crate::layout::{IMAGE, PAGE};
use bitflags::bitflags;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Most tasks in a system.
pub const MAX_TASKS: usize = 4;
/// Most bytes of a task's name.
pub const NAME_MAX: usize = 16;

/// What a capability can name.
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
    /// The task at this place of the system table.
    Task(u8),
}

/// What lies in which slot of a capability table.
pub const SLOTS: [Object; 6 + MAX_TASKS] = [
    Object::Log,
    Object::Vcpu,
    Object::Machine,
    Object::GuestSpace,
    Object::GuestMemory,
    Object::Journal,
    Object::Task(0),
    Object::Task(1),
    Object::Task(2),
    Object::Task(3),
];

impl Object {
    /// The slot in which a capability to this object lies; one that does not exist for a task that
    /// no table can have.
    pub fn slot(self) -> u64 {
        SLOTS.iter().position(|object| *object == self).unwrap_or(SLOTS.len()) as u64
    }
}

/// What the holder of a capability may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights(u16);

bitflags! {
    impl Rights: u16 {
        /// Read: the log, counters, the guest memory window.
        const READ = 1;
        /// Write: the log, guest memory, the guest space; registers and ports of the guest's that leave
        /// it.
        const WRITE = 2;
        /// Call the task.
        const CALL = 4;
        /// Run the vCPU.
        const RUN = 8;
        /// Stop and resume all vCPUs.
        const STOP = 16;
        /// Start vCPUs, name ports that leave the guest, and set the rules for CPUID where that leaves
        /// it.
        const START = 32;
        /// Reset or end the machine.
        const RESET = 64;
        /// Run the vCPU confined.
        const CONFINE = 128;
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

/// What a task's image (the bundle's member of its name) holds: whole pages, in this order, which
/// lie one behind the other from [`crate::layout::IMAGE`] on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskImage {
    /// Pages that can be read.
    pub constants: u16,
    /// Pages that can be executed.
    pub code: u16,
    /// Pages that can be written. They start anew when the task does.
    pub data: u16,
    /// First instruction of a thread.
    pub entry: u64,
}

impl TaskImage {
    /// Address of the first page of constants, code and data, and of the first page behind.
    pub fn borders(&self) -> [u64; 4] {
        let behind = |start: u64, pages: u16| start + u64::from(pages) * PAGE;
        let code = behind(IMAGE, self.constants);
        let data = behind(code, self.code);
        [IMAGE, code, data, behind(data, self.data)]
    }
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
    /// What its image holds.
    pub image: TaskImage,
    /// Its capabilities, at most one for each object.
    pub capabilities: Vec<CapabilityEntry, { SLOTS.len() }>,
}

/// The whole system. The first task is the one that runs the vCPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemTable {
    /// All tasks.
    pub tasks: Vec<TaskEntry, MAX_TASKS>,
}
