//! Verdicts, in the form that the host's runner reads.

use core::fmt::Debug;
use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::object::{MachineReply, MachineRequest};
use lucos_runtime::{CallError, GuestWindow, Object, Thread, system_info};

/// Ends of the emulator: isa-debug-exit turns `n` into the exit status `2 n + 1`.
const PASSED: u8 = 0x10;
const FAILED: u8 = 0x11;

/// Longest name of a comparison.
const NAME_MAX: usize = 64;

static FAILURES: AtomicU32 = AtomicU32::new(0);

/// Compares and reports.
pub fn check<T: PartialEq + Debug>(mut thread: &mut Thread, name: &str, found: T, expected: T) {
    if found == expected {
        lucos_runtime::log!(thread, "@@ test {name} ok");
    } else {
        FAILURES.fetch_add(1, Ordering::SeqCst);
        lucos_runtime::log!(thread, "@@ test {name} FAILED: {found:x?} instead of {expected:x?}");
    }
}

/// The same for what happens many times: only what is wrong is told.
pub fn check_quietly<T: PartialEq + Debug>(thread: &mut Thread, name: &str, found: T, expected: T) {
    if found != expected {
        check(thread, name, found, expected);
    }
}

/// The same for a guest's comparison, whose four words lie at `gpa`.
pub fn compare(thread: &mut Thread, gpa: u64) {
    let window = GuestWindow::new(system_info());
    let mut words = [0; 32];
    let _ = window.read(gpa, &mut words);
    let mut words = words.as_chunks().0.iter().copied().map(u64::from_le_bytes);
    let mut next = || words.next().unwrap_or(0);
    let (name_at, length, found, expected) = (next(), next(), next(), next());
    let mut name = [0; NAME_MAX];
    let name = name.get_mut(..length as usize).unwrap_or_default();
    let _ = window.read(name_at, name);
    check(thread, core::str::from_utf8(name).unwrap_or("unnamed"), found, expected);
}

/// Says that nothing more comes, and ends the emulator with the verdict.
pub fn end(mut thread: &mut Thread) {
    let failed = FAILURES.load(Ordering::SeqCst) > 0;
    lucos_runtime::log!(thread, "@@ {}", if failed { "failed" } else { "passed" });
    let status = if failed { FAILED } else { PASSED };
    let _: Result<MachineReply<'_>, CallError> =
        thread.call(Object::Machine, &MachineRequest::Exit { status });
}
