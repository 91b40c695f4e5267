//! What the guest's kernel says when something went wrong inside it.

use std::io::{self, Seek, Write};
use std::process::Command;

/// A shell command that prints such lines of the kernel's log.
///
/// The words are those of the kernel's messages, so far as no name of a function has them: a
/// backtrace that somebody asks for may show `fd_install` or `blk_mq_stall`. An exception in the kernel
/// has its error code and number in brackets; one in a process has not.
pub const COMPLAINTS: &str = "dmesg | grep -E 'BUG:|kernel BUG at|(^|\\] )WARNING: |Oops|: 0000 \\[#\
    |general protection fault,|detected (expedited )?stall|hard LOCKUP|blocked for more than\
    |Uhhuh|unknown reason'";

/// The lines of a log that [`COMPLAINTS`] would print, were it the kernel's.
///
/// # Errors
/// The shell does not run.
pub fn complaints(log: &str) -> io::Result<String> {
    let mut file = tempfile::tempfile()?;
    file.write_all(log.as_bytes())?;
    file.rewind()?;
    let script = format!("dmesg() {{ cat; }}; {COMPLAINTS}");
    let output = Command::new("sh").args(["-c", &script]).stdin(file).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of real kernels.
    const COMPLAINING: [&str; 16] = [
        "[    1.0] BUG: unable to handle page fault for address: ffffffffc0000000",
        "[    1.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [sh:1]",
        "[    1.0] WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:1 schedule+0x1/0x2",
        "[    1.0] WARNING: kernel stack regs at 000000001 in sh:1 has bad 'bp' value 000000002",
        "[    1.0] WARNING: can't access registers at asm_exc_int3+0x1/0x2",
        "[    1.0] WARNING: suspicious RCU usage",
        "[    1.0] kernel BUG at lib/list_debug.c:59!",
        "[    1.0] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
        "[    1.0] divide error: 0000 [#1] PREEMPT SMP NOPTI",
        "[    1.0] stack segment: 0000 [#1] PREEMPT SMP NOPTI",
        "[    1.0] int3: 0000 [#1] PREEMPT SMP NOPTI",
        "[    1.0] general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
        "[    1.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[    1.0] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }",
        "[    1.0] INFO: task sh:1 blocked for more than 120 seconds.",
        "[    1.0] Uhhuh. NMI received for unknown reason 30 on CPU 0.",
    ];

    const QUIET: [&str; 7] = [
        "[    5.8] RIP: 0010:fd_install+0x48/0xd0",
        "[    5.8]  ? lockup_detector_update_enable+0x10/0x10",
        "[    5.8] NMI backtrace for cpu 1 skipped: idling at native_safe_halt+0xb/0x10",
        "[    5.8] traps: devmem[1] general protection fault ip:401000 sp:7ffc0 error:0",
        "[    5.8] traps: wrong[1] trap invalid opcode ip:401000 sp:7ffc0 error:0 in wrong[401000+1000]",
        "[    0.1] Speculative Return Stack Overflow: WARNING: See the documentation.",
        "[    5.8] traps: wrong[1] trap int3 ip:401000 sp:7ffc0 error:0",
    ];

    #[test]
    fn complaints_are_found_and_nothing_else() {
        let log = [&QUIET[..], &COMPLAINING, &QUIET].concat().join("\n");
        let printed = complaints(&log).unwrap();
        assert_eq!(printed.lines().collect::<Vec<_>>(), COMPLAINING);
    }
}
