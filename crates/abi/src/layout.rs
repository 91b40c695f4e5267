//! Address spaces: the direct map of the kernel, and where it puts what a task may touch.
//!
//! Everything else below [`TASK_END`] is unmapped, everything above belongs to the kernel.

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Boot stub and kernel see physical address `p` at `DIRECT + p`; the kernel, of LUCOS's region only.
pub const DIRECT: u64 = 0xffff_8000_0000_0000;

/// First address that no task may have.
pub const TASK_END: u64 = 0x0000_8000_0000_0000;

/// Task images are linked from here on.
pub const IMAGE: u64 = 0x0040_0000;
/// Task images end before this address.
pub const IMAGE_END: u64 = 0x4000_0000;

/// Message pages, one a processor, [`PER_CPU_STRIDE`] apart.
pub const MESSAGE: u64 = 0x10_0000_0000;
/// Stacks, one a processor, [`PER_CPU_STRIDE`] apart; each ends at the top of its stride, so the
/// unmapped rest below is its guard.
pub const STACK: u64 = 0x20_0000_0000;
/// Distance between the areas of two processors, in bytes.
pub const PER_CPU_STRIDE: u64 = 0x10_0000;

/// The heap, one a task.
pub const HEAP: u64 = 0x30_0000_0000;
/// Retained pages: they survive a restart of the task.
pub const JOURNAL: u64 = 0x40_0000_0000;
/// One read-only page that the boot stub has filled: what machine this is.
pub const SYSTEM_INFO: u64 = 0x50_0000_0000;
/// Bytes mapped at [`SYSTEM_INFO`].
pub const SYSTEM_INFO_SIZE: usize = PAGE as usize;

/// The log's ring, read-only.
pub const LOG: u64 = 0x51_0000_0000;
/// Bytes mapped at [`LOG`].
pub const LOG_SIZE: u64 = 8 * PAGE;

/// Guest memory, read-only: guest-physical address `g` is at `GUEST_WINDOW + g`.
pub const GUEST_WINDOW: u64 = 0x2000_0000_0000;
/// End of the window: 46 bits of guest-physical address.
pub const GUEST_WINDOW_SIZE: u64 = 0x4000_0000_0000;
