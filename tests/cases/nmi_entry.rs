//! The kernel's NMI entry, instruction by instruction.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Gdb, Monitor, equal, watched_self_test};

const SYSTEM: &str = "tests/on-target/system.toml";
const LIMIT: Duration = Duration::from_secs(240);

/// Offset of the second gate in the interrupt table.
const NMI_GATE: u64 = 2 * 16;
/// Where the interrupted stack pointer is in the frame of an interrupt.
const FRAME_RSP: u64 = 3 * 8;
/// Bytes of the NMI's stack.
const STACK: u64 = 4096;
/// More instructions than the entry has on any way.
const MOST: usize = 100;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let test = || watched_self_test(SYSTEM, 1, LIMIT, watch);
    vec![Trial::test("nmi_entry::a_machine_check_lets_no_second_nmi_in", test)]
}

/// A machine check and another NMI come before each instruction of the entry in turn. The machine
/// check is taken at once; the NMI has to wait until the entry has left its stack.
fn watch(monitor: &mut Monitor, log: &Path) -> Result<(), Failed> {
    while !fs::read_to_string(log).is_ok_and(|log| log.contains("@@ test ")) {
        thread::sleep(Duration::from_millis(1));
        // An error when the machine has ended without a test.
        monitor.processor(0)?;
    }
    let mut gdb = Gdb::connect(monitor, &log.with_file_name("gdb"))?;
    let table = monitor.processor(0)?.idt;
    let (low, high) = (gdb.read(table + NMI_GATE)?, gdb.read(table + NMI_GATE + 8)?);
    let entry = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
    let mut instructions = 0;
    while instructions < MOST {
        monitor.nmi()?;
        gdb.go_on(entry)?;
        let stack = gdb.rsp()?;
        let is_on_it = |rsp: u64| rsp.wrapping_sub(stack - STACK) < 2 * STACK;
        for _ in 0..instructions {
            gdb.step()?;
        }
        if !is_on_it(gdb.rsp()?) {
            break;
        }
        monitor.machine_check(0, true)?;
        monitor.nmi()?;
        gdb.go_on(entry)?;
        let interrupted = gdb.rsp()? + FRAME_RSP;
        let interrupted = gdb.read(interrupted)?;
        equal(&format!("in the entry after {instructions}"), is_on_it(interrupted), false)?;
        instructions += 1;
    }
    gdb.leave()?;
    equal("the entry has an end, and not at once", (5..MOST).contains(&instructions), true)
}
