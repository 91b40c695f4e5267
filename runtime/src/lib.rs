//! The runtime of a task: entry, calls, message page, heap, panic.
//!
//! A task is a static ELF program in ring 3. It has one thread for each processor, all in one
//! address space, and each starts at `_start` with its own message page and stack. After a restart
//! the image is as it was linked; only the journal is kept.
//!
//! ```ignore
//! #![cfg_attr(target_os = "none", no_std, no_main)]
//! #![forbid(unsafe_code)]
//!
//! lucos_runtime::entry!(run);
//!
//! fn run(thread: lucos_runtime::Thread, start: lucos_runtime::StartInfo) -> ! {
//!     thread.serve(MyService::new(&start))
//! }
//! ```
//!
//! The package of a task needs the build script `include!("../runtime/task_link.rs");`.
//!
//! The crate also builds as a library of the host, so that the logic of tasks can be tested there.
//! On the host there is no kernel: every call answers [`CallStatus::NoSuchCall`], and window and
//! journal are empty.

#![cfg_attr(any(target_os = "none", not(test)), no_std)]

mod journal;
mod log;
mod processor;
mod service;
mod system;
mod system_call;
mod thread;
mod window;

#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod start;

pub use journal::{Journal, JournalError};
pub use log::read_log;
pub use lucos_abi::boot::StartInfo;
pub use lucos_abi::call::CallStatus;
pub use lucos_abi::manifest::Object;
pub use processor::time_stamp;
pub use service::{Scratch, Service};
pub use system::system_info;
pub use thread::{CallError, Thread, call_status};
pub use window::{GuestWindow, WindowError};

/// Makes the function `$main`, a `fn(Thread, StartInfo) -> !`, the start of every thread of this
/// program.
///
/// Built for the host, the program only says that it is a task.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        fn lucos_task_main(thread: $crate::Thread, start: $crate::StartInfo) -> ! {
            let main: fn($crate::Thread, $crate::StartInfo) -> ! = $main;
            main(thread, start)
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _: fn($crate::Thread, $crate::StartInfo) -> ! = $main;
            eprintln!("this program is a task of LUCOS and runs nowhere else");
            std::process::exit(1);
        }
    };
}

/// Writes one line to LUCOS's log: `log!(thread, "processor {cpu} started")`.
///
/// A task without the capability to write to the log stays silent.
#[macro_export]
macro_rules! log {
    ($thread:expr, $($argument:tt)+) => {
        $crate::Thread::log(&mut $thread, format_args!($($argument)+))
    };
}
