//! The first instructions of the kernel, and the boot stub's record.

use crate::boot;
use core::arch::global_asm;
use hermit_entry::boot_info::{BootInfo, PlatformInfo, RawBootInfo};

const STACK_SIZE: usize = 64 * 1024;

#[repr(C, align(16))]
struct Stack([u8; STACK_SIZE]);

/// The boot processor's stack.
static mut STACK: Stack = Stack([0; STACK_SIZE]);

global_asm!(
    ".global _start",
    "_start:",
    "lea rsp, [rip + {stack} + {size}]",
    "xor ebp, ebp",
    "call {start}",
    "ud2",
    stack = sym STACK,
    size = const STACK_SIZE,
    start = sym start,
);

unsafe extern "C" {
    fn _start(raw: &'static RawBootInfo, cpu: u32) -> !;
}

/// The loader jumps to `_start` as hermit-entry says.
const _: hermit_entry::Entry = _start;

extern "C" fn start(raw: &'static RawBootInfo, _cpu: u32) -> ! {
    let info = BootInfo::from(*raw);
    let PlatformInfo::Multiboot { multiboot_info_addr, .. } = info.platform_info else {
        super::end_machine(None, 0);
    };
    boot::start(multiboot_info_addr.get())
}
