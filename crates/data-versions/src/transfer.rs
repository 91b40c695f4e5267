//! How long the guest's transfer functions may run, and what they are ended for.
//!
//! They run on the guest's processor, confined: they can write a copy and their stack, and nothing
//! else. They run freely until the machine's next interrupt, which LUCOS cannot put off for long, and
//! from then on instruction by instruction.

use lucos_guest_interface::call::{DONE_LAW_BROKEN, DONE_SUCCESS};
use lucos_guest_interface::{ErrorCode, Fault};

use crate::write::Exception;

/// Steps for one pair, without those for its bytes.
const ONE: u32 = 20_000;
/// Steps for each byte of the pair: a transfer function may look at them one by one.
const ONE_BYTE: u32 = 8;
/// Steps for many, without those for each.
const MANY: u32 = 50_000;
/// Steps for each of many, without those for its bytes.
const EACH: u32 = 300;
/// Steps for each byte of each of many: three transfers, four copies, and two comparisons.
const EACH_BYTE: u32 = 32;
/// Steps that are asked for at a time.
const STRIDE: u32 = 1_000;
/// Most pairs for which the rest goes by steps at once: a step costs as much as two hundred
/// instructions.
const SHORT: u32 = 64;
/// How often the guest is asked to come again instead.
pub const BUSY_MAX: u8 = 4;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upcall {
    /// One pair, for a write that is carried.
    One {
        /// Its bytes, those of both sides.
        bytes: u32,
    },
    /// Every pair of a version.
    All {
        /// How many.
        pairs: u32,
        /// The bytes of one, those of both sides.
        bytes: u32,
        /// How often the guest was asked to come again.
        asked_again: u8,
    },
    /// The search for threads inside.
    Witness {
        /// How many threads are looked at.
        threads: u32,
        /// How often the guest was asked to come again.
        asked_again: u8,
    },
}

/// What a confined run ended with. RIP is known to whoever ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Stepped,
    /// An interrupt, an NMI, or a stop.
    Interrupted,
    /// Hypercall DONE.
    Done {
        /// [`DONE_SUCCESS`], [`DONE_LAW_BROKEN`], or what the function returned.
        result: u64,
        /// For [`DONE_LAW_BROKEN`] the offset of the first byte that differs.
        detail: u64,
    },
    /// An exception.
    Exception(Exception),
    /// A write to a page that is not open.
    Write {
        /// The address, guest-physical.
        gpa: u64,
    },
    /// A read or write of a device.
    Device {
        /// The address, guest-physical.
        gpa: u64,
    },
    /// A hypercall other than DONE, or any other exit.
    Exit,
}

/// What a transfer function did that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It raised an exception: a page fault at an address, or one with another vector.
    Fault {
        /// The vector.
        vector: u8,
        /// The address of a page fault.
        address: u64,
    },
    /// It did not end.
    Loops,
    /// It wrote something but its target, or used a device.
    Writes {
        /// The address, guest-physical.
        gpa: u64,
    },
    /// It left the guest.
    Calls,
    /// It returned an error.
    Refused {
        /// What it returned.
        result: u64,
    },
    /// There and back again is not the same.
    Law {
        /// Offset of the first byte that differs.
        offset: u64,
    },
}

impl Cause {
    /// What the guest is told, of the version with this item number.
    #[must_use]
    pub const fn fault(self, item: u32) -> Fault {
        const PAGE_FAULT: u8 = 14;
        match self {
            Self::Fault { vector: PAGE_FAULT, address } => {
                Fault::at(ErrorCode::TransferFault, item, address)
            }
            Self::Fault { vector, .. } => Fault::at(ErrorCode::TransferFault, item, vector as u64),
            Self::Loops => Fault::at(ErrorCode::TransferLoops, item, 0),
            Self::Writes { gpa } => Fault::at(ErrorCode::TransferWrites, item, gpa),
            Self::Calls => Fault::at(ErrorCode::TransferCalls, item, 0),
            Self::Refused { result } => Fault::at(ErrorCode::TransferRefused, item, result),
            Self::Law { offset } => Fault::at(ErrorCode::TransferLaw, item, offset),
        }
    }
}

/// What is to be done with an upcall next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Let it run until something interrupts it.
    Free,
    /// At most so many instructions.
    Steps(u32),
    /// It has done what it should.
    Finished,
    /// It is ended, and nothing of it counts; the guest is to come again, behind the interrupt.
    Busy,
    /// It is ended, and nothing of it counts.
    Contained(Cause),
}

/// An upcall that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Steps that are left.
    left: u32,
    next: Next,
    comes_again: bool,
}

impl Run {
    /// An upcall that begins.
    #[must_use]
    pub const fn new(upcall: Upcall) -> Self {
        let (each, count, asked_again) = match upcall {
            Upcall::One { bytes } => {
                let left = ONE.saturating_add(ONE_BYTE.saturating_mul(bytes));
                return Self { left, next: Next::Steps(STRIDE), comes_again: false };
            }
            Upcall::All { pairs, bytes, asked_again } => {
                (EACH.saturating_add(EACH_BYTE.saturating_mul(bytes)), pairs, asked_again)
            }
            Upcall::Witness { threads, asked_again } => (EACH, threads, asked_again),
        };
        Self {
            left: MANY.saturating_add(each.saturating_mul(count)),
            next: Next::Free,
            comes_again: count > SHORT && asked_again < BUSY_MAX,
        }
    }

    /// What is to be done now.
    #[must_use]
    pub const fn next(&self) -> Next {
        self.next
    }

    /// Takes what came of it.
    pub fn advance(&mut self, outcome: Outcome) {
        self.next = match (self.next, outcome) {
            (Next::Free, Outcome::Interrupted) if self.comes_again => Next::Busy,
            (Next::Free, Outcome::Interrupted) => self.steps(0),
            (Next::Steps(steps), Outcome::Stepped) => self.steps(steps),
            // It is not known how many were done. One is taken off, so that there is an end.
            (Next::Steps(_), Outcome::Interrupted) => self.steps(1),
            (Next::Free | Next::Steps(_), outcome) => ended(outcome),
            (end, _) => end,
        };
    }

    /// The next steps, when `done` are done.
    fn steps(&mut self, done: u32) -> Next {
        self.left = self.left.saturating_sub(done);
        match self.left {
            0 => Next::Contained(Cause::Loops),
            left => Next::Steps(left.min(STRIDE)),
        }
    }
}

fn ended(outcome: Outcome) -> Next {
    Next::Contained(match outcome {
        Outcome::Done { result: DONE_SUCCESS, .. } => return Next::Finished,
        Outcome::Done { result: DONE_LAW_BROKEN, detail } => Cause::Law { offset: detail },
        Outcome::Done { result, .. } => Cause::Refused { result },
        Outcome::Exception(Exception { vector, address, .. }) => Cause::Fault { vector, address },
        Outcome::Write { gpa } | Outcome::Device { gpa } => Cause::Writes { gpa },
        // A free run does not end by steps.
        Outcome::Exit | Outcome::Stepped | Outcome::Interrupted => Cause::Calls,
    })
}
