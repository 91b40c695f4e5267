//! How a session ended.

use std::fmt;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The command in the guest ended with this status.
    Exited(u8),
    /// The machine was powered off. In a command session: before the command had ended.
    PoweredOff,
    /// Software in the machine wrote this value to the debug exit port.
    DebugExit(u8),
    /// The guest's kernel panicked.
    GuestPanic,
    /// LUCOS stopped with an error of its own.
    HypervisorFault,
    /// The time was over.
    Timeout,
    /// QEMU did not start, or ended on its own.
    QemuFailed,
    /// We were told to stop.
    Interrupted,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "the command ended with status {status}"),
            Self::PoweredOff => f.write_str("the machine was powered off"),
            Self::DebugExit(value) => write!(f, "the machine wrote {value:#x} to the exit port"),
            Self::GuestPanic => f.write_str("the guest's kernel panicked"),
            Self::HypervisorFault => f.write_str("LUCOS stopped with a fault"),
            Self::Timeout => f.write_str("the time was over"),
            Self::QemuFailed => f.write_str("QEMU failed"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// How a session ended and what was said last.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// The last lines of the log: of LUCOS, of the guest's console, of QEMU.
    pub last_lines: Vec<String>,
}
