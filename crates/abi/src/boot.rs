//! What the boot stub tells the kernel, and the kernel a thread that starts.

use crate::manifest::{MAX_TASKS, TaskEntry};
use core::sync::atomic::{AtomicU32, AtomicU64};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Most processors that LUCOS uses.
pub const MAX_CPUS: usize = 64;
/// Most ranges in a memory map.
pub const MAX_RANGES: usize = 64;
/// Version of [`BootRecord`]; stub and kernel must agree.
pub const BOOT_RECORD_VERSION: u32 = 4;
/// Longest encoded [`BootRecord`] in bytes.
pub const RECORD_MAX: usize = 4096;

/// A part of physical memory: whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// First byte behind it, not below `start`.
    pub end: u64,
}

/// What the operator asks for on LUCOS's command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `debugcon=PORT`: every log line goes to this port, byte by byte (QEMU's debug console).
    pub debugcon: Option<u16>,
    /// `serial=PORT`: log to a 16550 UART there until the guest starts.
    pub serial: Option<u16>,
    /// `exit=PORT`: writing a status to this port ends the emulator (QEMU's isa-debug-exit).
    pub exit: Option<u16>,
}

/// A task of the system table, which the stub has checked, and its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedTask {
    /// What the table says.
    pub entry: TaskEntry,
    /// Physical address of the image, in the region: as many pages as the table says.
    pub image: u64,
}

/// What the boot stub tells the kernel, as postcard at the address in hermit-entry's
/// `multiboot_info_addr`, preceded by its length as a little-endian `u32`. Stub and kernel see it in
/// the direct map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRecord {
    /// [`BOOT_RECORD_VERSION`].
    pub version: u32,
    /// LUCOS's own region.
    pub region: Span,
    /// The part of it that nobody uses any more once the record is read.
    pub free: Span,
    /// Physical address of the kernel's page table. It maps, in the direct map, what the kernel uses
    /// of the region, and nothing else; below the stack on which the kernel starts lies a page that
    /// is mapped nowhere.
    pub root: u64,
    /// Memory of the guest and of the firmware that tasks with the guest-memory window may read.
    pub readable: Vec<Span, MAX_RANGES>,
    /// Local APIC ids of the processors; the one that boots comes first, the others wait at `gate`.
    pub apic_ids: Vec<u32, MAX_CPUS>,
    /// Physical address of the [`Gate`], in RAM that is the guest's as soon as it runs.
    pub gate: u64,
    /// What LUCOS's own command line says.
    pub options: Options,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// A hypervisor below offers an interface of its own, which the guest must not see.
    pub hypervisor_below: bool,
    /// Physical address of the page that every task sees at [`crate::layout::SYSTEM_INFO`].
    pub system_info: u64,
    /// The tasks. The first one runs the vCPUs.
    pub tasks: Vec<LoadedTask, MAX_TASKS>,
}

/// Where processors that the stub has started wait for the kernel, in 64-bit mode, on the stub's
/// tables, interrupts off.
#[repr(C)]
#[derive(Debug)]
pub struct Gate {
    /// End of the stack of the one that may go on, a multiple of 16.
    pub stack: AtomicU64,
    /// The function that it calls, with its number as the argument.
    pub entry: AtomicU64,
    /// Its number; written last. 0 lets nobody in.
    pub next: AtomicU32,
}

/// What a thread of a task finds in its message page when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartInfo {
    /// Number of the processor on which the thread runs.
    pub cpu: u32,
    /// How often the task was restarted.
    pub generation: u32,
    /// How often in a row this thread itself was the reason while it handled an exit of the guest at
    /// one and the same instruction. Only the first task's threads handle exits.
    pub failures: u32,
    /// Bytes of heap at [`crate::layout::HEAP`].
    pub heap: u64,
    /// Bytes of retained memory at [`crate::layout::JOURNAL`].
    pub journal: u64,
}
