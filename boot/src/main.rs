//! The boot stub: takes over from QEMU or GRUB in 32-bit mode, loads the kernel out of the bundle,
//! and tells it what the machine is.
//!
//! | module | concern |
//! |---|---|
//! | `entry` | headers, first instructions, page tables |
//! | `facts` | what the processor says of itself |
//! | `firmware` | which processors there are |
//! | `processors` | starting the others |
//! | `load` | from the boot information to the kernel's entry point |
//! | `console` | saying what is wrong, and stopping |

// On the host the stub is only checked, together with tests that bring the standard library.
#![cfg_attr(target_os = "none", no_std)]
#![no_main]
#![warn(clippy::unwrap_used, clippy::expect_used)]
#![warn(clippy::panic, clippy::indexing_slicing)]

mod console;
mod entry;
mod facts;
mod firmware;
mod load;
mod processors;

#[cfg(target_os = "none")]
use core::alloc::{GlobalAlloc, Layout};

/// The loader crate wants an allocator, but does not use it for ELF files.
#[cfg(target_os = "none")]
struct NoMemory;

// SAFETY: it never returns memory.
#[cfg(target_os = "none")]
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[cfg(target_os = "none")]
#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::fault(&format_args!("it gave up: {}", info.message()))
}
