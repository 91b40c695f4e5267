//! Tests of kernel, messages and capabilities.
//!
//! This program is the first task of a system of its own (`tests/on-target/system.toml`), in which
//! two assists stand in the places of `memory` and `liveupdate`. It prints one line for each test
//! and ends the emulator with the verdict. All verdicts compare values.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

mod faults;
mod messages;
mod others;
mod suite;

use lucos_runtime::{StartInfo, Thread};
use suite::Suite;

lucos_runtime::entry!(run);

/// Ends of the emulator: isa-debug-exit turns `n` into the exit status `2 n + 1`.
const PASSED: u8 = 0x10;
const FAILED: u8 = 0x11;

fn run(thread: Thread, start: StartInfo) -> ! {
    let mut suite = Suite::new(thread);
    if start.cpu != 0 {
        others::work(&mut suite);
    }
    messages::run(&mut suite);
    faults::run(&mut suite);
    others::run(&mut suite);
    suite.close();
    let verdict = if suite.all_passed() { PASSED } else { FAILED };
    suite.end(verdict)
}
