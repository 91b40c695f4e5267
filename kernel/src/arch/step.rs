//! One single step of the guest, by the trap flag.
//!
//! The flag is set, the guest is entered, and after one instruction a debug exception (#DB) brings it
//! back; the back-end must intercept that. Both vendors do this alike, while VT-x's monitor trap flag
//! has no twin on AMD-V.
//!
//! Who steps has to know which instructions put the flag where the guest sees it: PUSHF, and every
//! event that is delivered instead of the instruction, an exception of its own among them, store
//! RFLAGS on a stack. The step over IRET, the only one so far, can meet the latter: when the IRET
//! faults, its frame has the flag, and the guest's handler for it gets one debug exception that
//! nobody asked for when it returns. Hypervisors that step over IRET take that; guests do as well
//! (Linux ignores it).

const TRAP_FLAG: u64 = 1 << 8;
/// DR6: the debug exception is that of a single step.
const SINGLE_STEP: u64 = 1 << 14;

/// A single step, or none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// Address of the instruction that is stepped over.
    over: Option<u64>,
    /// The guest steps by itself: then the exception is also its own.
    guests: bool,
}

/// What an exit means for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It has not been done, if there is one.
    Not,
    /// It is done, and the exit is something else.
    Done,
    /// It is done, and the exit says only that.
    Exactly,
}

impl Step {
    /// Steps over the instruction at `rip` when the guest is entered with these flags.
    pub fn begin(&mut self, rip: u64, rflags: &mut u64) {
        *self = Self { over: Some(rip), guests: *rflags & TRAP_FLAG != 0 };
        *rflags |= TRAP_FLAG;
    }

    /// The guest is stepped.
    pub const fn is_on(&self) -> bool {
        self.over.is_some()
    }

    /// Looks at an exit: where the guest stands, its DR6, and whether it is a debug exception.
    pub fn look(&mut self, rip: u64, dr6: &mut u64, is_debug_exception: bool) -> Stepped {
        if self.over.is_none_or(|over| over == rip && !is_debug_exception) {
            return Stepped::Not;
        }
        self.over = None;
        if !is_debug_exception || self.guests {
            return Stepped::Done;
        }
        *dr6 &= !SINGLE_STEP;
        Stepped::Exactly
    }
}
