//! The first function of the kernel, and the boot stub's record.

use crate::boot;
use hermit_entry::boot_info::{BootInfo, PlatformInfo, RawBootInfo};
use lucos_abi::boot::RECORD_MAX;
use lucos_abi::layout::DIRECT;

/// The stub jumps here as hermit-entry says, on the stack that the processor keeps.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
unsafe extern "C" fn _start(raw: &'static RawBootInfo, _cpu: u32) -> ! {
    let info = BootInfo::from(*raw);
    let PlatformInfo::Multiboot { multiboot_info_addr, .. } = info.platform_info else {
        super::end_machine(None, 0);
    };
    let record = (DIRECT + multiboot_info_addr.get()) as *const [u8; 4 + RECORD_MAX];
    // SAFETY: the stub has put the record there, in memory that nobody uses before it is read.
    boot::start(unsafe { &*record })
}

const _: hermit_entry::Entry = _start;
