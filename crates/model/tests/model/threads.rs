//! Threads of the guest, that count in the datum.

/// Which code a thread is in, and so which side it uses: 0 the kernel's own, 1 A's, 2 B's.
pub type Code = usize;

/// How a thread counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counting {
    /// By one locked instruction.
    Atomic,
    /// Under a lock of the guest, which stays in the object: read, add, write.
    Locked,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thread {
    /// In none of the functions.
    Outside,
    /// It has read A's pointer to its new function, and will call it.
    Holding,
    /// In a function, asleep or not.
    Inside(Code),
    /// The same, with the lock.
    Locked(Code),
    /// It has read this.
    Read(Code, u8),
    /// It has counted.
    Counted(Code),
}

impl Thread {
    /// The code that it executes, returns to or will call without the site.
    pub const fn code(self) -> Option<Code> {
        match self {
            Self::Outside => None,
            Self::Holding => Some(1),
            Self::Inside(code) | Self::Locked(code) | Self::Read(code, _) | Self::Counted(code) => {
                Some(code)
            }
        }
    }
}
