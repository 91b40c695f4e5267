//! Verdicts, in the form that the host's runner reads.

use core::fmt::Debug;
use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::object::{MachineReply, MachineRequest};
use lucos_runtime::{CallError, Object, Thread};

/// Ends of the emulator: isa-debug-exit turns `n` into the exit status `2 n + 1`.
const PASSED: u8 = 0x10;
const FAILED: u8 = 0x11;

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

/// Says that nothing more comes, and ends the emulator with the verdict.
pub fn end(mut thread: &mut Thread) {
    let failed = FAILURES.load(Ordering::SeqCst) > 0;
    lucos_runtime::log!(thread, "@@ {}", if failed { "failed" } else { "passed" });
    let status = if failed { FAILED } else { PASSED };
    let _: Result<MachineReply<'_>, CallError> =
        thread.call(Object::Machine, &MachineRequest::Exit { status });
}
