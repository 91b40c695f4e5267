//! Tests of vCPUs, guest space and stops, with a bare-metal guest.
//!
//! This program is the only task of a system of its own (`system.toml` beside it). It loads the
//! guest, runs it on every processor, and answers its exits. The guest does most of the checking,
//! from inside.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

mod answer;
mod confined;
mod guest;
mod memory;
mod report;
mod statuses;

use lucos_runtime::{StartInfo, Thread};

lucos_runtime::entry!(run);

fn run(mut thread: Thread, start: StartInfo) -> ! {
    // Restarted, it goes on with the guest that is there.
    if start.cpu == 0 && start.generation == 0 {
        memory::check_map(&mut thread);
        memory::check_tables(&mut thread);
        memory::check_reserve(&mut thread);
        statuses::check(&mut thread);
        if let Err(why) = guest::start(&mut thread) {
            thread.give_up(format_args!("the guest does not start: {why}"));
        }
    }
    answer::exits(thread, start.generation)
}
