//! The first instructions of a thread, and the last ones of a thread that panics.

use core::panic::PanicInfo;

use lucos_abi::boot::StartInfo;
use lucos_abi::layout;
use lucos_abi::message::decode;

use crate::heap;
use crate::thread::Thread;

// The kernel starts a thread with the address of its message page in RDI, the length of the
// `StartInfo` in it in RSI, and RSP at the top of its stack.
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

unsafe extern "Rust" {
    /// Made by `entry!`.
    safe fn lucos_task_main(thread: Thread, start: StartInfo) -> !;
}

extern "C" fn start(page: *mut u8, length: usize) -> ! {
    // SAFETY: the kernel gives each thread its own message page, and this is the only `Thread`
    // that is made from it.
    let mut thread = unsafe { Thread::new(page) };
    let info = thread.page().get(..length).map(decode::<StartInfo>);
    let Some(Ok(info)) = info else {
        thread.give_up(format_args!("the kernel's start information is not readable"));
    };
    // SAFETY: the kernel maps `info.heap` bytes there for this task, and only the heap uses them.
    unsafe { heap::initialise(info.heap) };
    lucos_task_main(thread, info)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // SAFETY: this is the page of the thread that runs. Whoever held a reference to it never runs
    // again, since panics do not unwind.
    let thread = unsafe { Thread::new(message_page() as *mut u8) };
    match info.location() {
        Some(place) => {
            thread.give_up(format_args!("{}:{}: {}", place.file(), place.line(), info.message()))
        }
        None => thread.give_up(format_args!("{}", info.message())),
    }
}

/// The message page of the running thread, found by its stack: both lie the same number of strides
/// behind their first.
fn message_page() -> u64 {
    let stack: u64;
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags));
    }
    let offset = stack.saturating_sub(layout::STACK);
    layout::MESSAGE + offset / layout::PER_CPU_STRIDE * layout::PER_CPU_STRIDE
}
