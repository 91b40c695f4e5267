//! Running tests and reporting them.

use core::fmt::Debug;
use lucos_abi::object::{MachineReply, MachineRequest};
use lucos_runtime::{CallError, Object, Thread};

/// The first of the tasks that help.
pub const ASSIST: Object = Object::Task(1);
/// The second.
pub const OTHER: Object = Object::Task(2);

/// The tests' view of the machine, and their verdict.
pub struct Suite {
    /// The thread that calls.
    pub thread: Thread,
    failures: u32,
}

impl Suite {
    /// A suite that has run nothing yet.
    pub fn new(thread: Thread) -> Self {
        Self { thread, failures: 0 }
    }

    /// Compares and reports one test, in the form that the host's runner reads.
    pub fn check<T: PartialEq + Debug>(&mut self, name: &str, found: T, expected: T) {
        if found == expected {
            lucos_runtime::log!(self.thread, "@@ test {name} ok");
        } else {
            self.failures += 1;
            lucos_runtime::log!(
                self.thread,
                "@@ test {name} FAILED: {found:x?} instead of {expected:x?}"
            );
        }
    }

    /// Nothing failed.
    pub fn all_passed(&self) -> bool {
        self.failures == 0
    }

    /// Says that nothing more comes.
    pub fn close(&mut self) {
        let verdict = if self.all_passed() { "passed" } else { "failed" };
        lucos_runtime::log!(self.thread, "@@ {verdict}");
    }

    /// Ends the emulator.
    pub fn end(mut self, status: u8) -> ! {
        let request = MachineRequest::Exit { status };
        let result: Result<MachineReply<'_>, CallError> =
            self.thread.call(Object::Machine, &request);
        let refused = result.err();
        self.thread.give_up(format_args!("the machine does not end: {refused:?}"))
    }
}
