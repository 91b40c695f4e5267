//! The three system calls of a task.
//!
//! A task enters the kernel with `int` [`VECTOR`]; `rax` holds the call number. The message is in
//! the thread's message page, and the reply replaces it there.
//!
//! | number | `rdi` | `rsi` | back in `rax` | back in `rdx` |
//! |---|---|---|---|---|
//! | [`CALL`] | capability slot | message length | [`CallStatus`] | reply length |
//! | [`REPLY_AND_WAIT`] | – | reply length | badge of the caller | request length |
//! | [`FAULT`] | – | text length | never returns | |
//!
//! A task that is called answers a message that it cannot read with an empty reply; no reply of a
//! task is empty otherwise. Registers other than `rax`, `rdx` and the scratch registers of the C
//! calling convention come back as they were.

/// The interrupt vector of a system call.
pub const VECTOR: u8 = 0x80;

/// Sends the message to the object or task behind a capability and waits for the reply.
pub const CALL: u64 = 0;
/// Sends the reply to the last request (nothing, when there was none) and waits for the next.
pub const REPLY_AND_WAIT: u64 = 1;
/// Gives up: the message page holds a text that says why, for the log.
pub const FAULT: u64 = 2;

/// What became of a [`CALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum CallStatus {
    /// The reply is in the message page.
    Done = 0,
    /// The caller has no capability in that slot.
    NoCapability = 1,
    /// The capability lacks the right that this request needs.
    MissingRight = 2,
    /// The message is not a request of this object, or not canonical.
    BadMessage = 3,
    /// The message is longer than a message page.
    TooLong = 4,
    /// The called task is in a call already on this processor (a cycle), which is never valid.
    Cycle = 5,
    /// The called task was restarted while it worked on this request; its state is new.
    Restarted = 6,
    /// A value in the request is not allowed.
    Refused = 7,
    /// Somebody else uses the object; ask again later.
    Busy = 8,
    /// A processor did not arrive before the deadline.
    Late = 9,
    /// The number in `rax` is no system call.
    NoSuchCall = 10,
    /// The request names something that this machine does not have: a processor, guest RAM, a port.
    NotThere = 11,
    /// The request is not for this moment: it needs a stop that is not held, or may be made once.
    WrongState = 12,
    /// LUCOS's region has no room for what the request needs.
    Full = 13,
}
