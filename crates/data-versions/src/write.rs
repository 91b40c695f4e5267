//! One write to a guarded page, from the fault to the instruction behind it.
//!
//! [`Write`] does nothing by itself: it says what to do next, and is told what came of it.
//!
//! ```text
//! Lock → Note → Open → Step → Compare → { Find → Carry → Note → Publish } → Close → ClearNote → Unlock
//!          ↑             ├─ another guarded page: Note, Open it, Step
//!          └─────────────┤─ a page table: OpenTable, Step
//!                        └─ interrupted: Step
//! ```
//!
//! Whatever a step ends with, the open pages are compared and what changed is carried. Nothing is
//! undone: what an instruction has written when it faults (a scatter, FXSAVE over two pages) stays
//! written on a processor without LUCOS too, and an instruction that had written nothing leaves nothing
//! to carry.
//!
//! A note of the open pages is retained from before the first is opened until all are closed. When the
//! task ends in between, its next self [finishes](Write::finish) the note on the same processor, and
//! nobody else takes the lock before. It does not matter how far the write had come: to carry a pair
//! once more changes nothing. But for one thing: publishing changes the other side, which may lie on a
//! page that is open. A pair half published would then seem to have changed on both sides, and be
//! carried back from the half. So the note also says which pair is being published, and from where;
//! that one is published first.

use lucos_abi::object::Event as GuestEvent;

use crate::PAGE;
use crate::note::{Carrying, Note};
use crate::touched::Touched;
use crate::transfer::Cause;

/// How often a step is tried again that something interrupted.
pub const INTERRUPTIONS_MAX: u8 = 64;
/// How many page tables are opened for a write: five levels for the instruction, a source and a
/// destination, each over two pages.
pub const TABLES_MAX: u8 = 30;
/// How often something is tried that fails.
pub const TRIES_MAX: u8 = 4;

const INVALID_OPCODE: u8 = 6;

/// An exception for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// Its error code, if it has one.
    pub error_code: Option<u32>,
    /// For a page fault, the address for CR2.
    pub address: u64,
}

impl Exception {
    /// For an instruction that cannot be executed here.
    pub const GENERAL_PROTECTION: Self = Self { vector: 13, error_code: Some(0), address: 0 };

    /// What is given to the vCPU.
    #[must_use]
    pub const fn event(&self) -> GuestEvent {
        GuestEvent { vector: self.vector, error_code: self.error_code }
    }
}

/// How a write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The guest runs on as it is now.
    Done,
    /// The same: the instruction was not executed, or not to its end, and comes again.
    Again,
    /// The guest gets an exception.
    Fault(Exception),
}

/// What is to be done next. Each is answered by [`Event::Done`] or [`Event::Failed`], or as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take the coherence lock, which nobody gets while another processor has a note. Answer:
    /// [`Event::Locked`].
    Lock,
    /// Retain [`Write::note`].
    Note,
    /// Copy a page, and make it writable in the confined view. Nothing happens when it is open, so
    /// that the copy stays as it is.
    Open {
        /// Its guest-physical address.
        gpa: u64,
    },
    /// Make a page table writable in the confined view, for good.
    OpenTable {
        /// Its guest-physical address.
        gpa: u64,
    },
    /// One instruction in the confined view. Answer: [`Event::Stepped`], [`Event::Interrupted`],
    /// [`Event::Wants`], [`Event::WantsTable`], [`Event::Exception`], [`Event::Left`].
    Step,
    /// Compare the pages of the note with their copies, and begin a new search. A page that is not
    /// open has not changed.
    Compare,
    /// The next pair that has changed. Answer: [`Event::Found`], [`Event::NoMore`].
    Find,
    /// Run the transfer function on a copy of the other side. Answer: also [`Event::Contained`].
    Carry(Touched),
    /// Write what the transfer function made to the other side, where it differs.
    Publish(Touched),
    /// The pair's sides are not the same any more: withdraw the patch, for this reason.
    Torn(Touched, Cause),
    /// The same for every version that has a page of the note: what changed there cannot be found out.
    Abandon,
    /// Close the pages of the note in the confined view. Their copies count no more.
    Close,
    /// Retain that there is no note.
    ClearNote,
    /// Give the lock back.
    Unlock,
    /// Answer the processor. Nothing comes behind it.
    End(Verdict),
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is done.
    Done,
    /// It could not be done, or a task ended meanwhile.
    Failed,
    /// The lock is ours.
    Locked {
        /// The page is still guarded.
        guarded: bool,
    },
    /// The instruction was executed.
    Stepped {
        /// The guest's own debug exception that comes behind it.
        debug: Option<Exception>,
    },
    /// Something came before the instruction.
    Interrupted,
    /// The instruction writes to a page that is not open.
    Wants {
        /// An address in it, guest-physical.
        gpa: u64,
    },
    /// The processor uses a page table that it may not write.
    WantsTable {
        /// An address in it, guest-physical.
        gpa: u64,
    },
    /// The instruction raised an exception.
    Exception(Exception),
    /// The guest left the confined run for another reason.
    Left,
    /// A pair that changed.
    Found(Touched),
    /// There is none left.
    NoMore,
    /// The transfer function was ended.
    Contained(Cause),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Lock,
    /// The note of the page that is to be opened next.
    NotePages,
    Open,
    OpenTable(u64),
    Step,
    Compare,
    Find,
    Carry,
    NotePair,
    Publish,
    Torn,
    Abandon,
    Close,
    ClearNote,
    Unlock,
    End,
}

/// A write that is being done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    at: At,
    note: Note,
    /// The pair that is carried, and why it cannot be.
    touched: Option<(Touched, Option<Cause>)>,
    verdict: Verdict,
    /// Of a write that a task's end cut off.
    is_rest: bool,
    is_abandoned: bool,
    /// The pair that is carried may be half published; the comparison comes behind it.
    is_half: bool,
    interruptions: u8,
    tables: u8,
    failures: u8,
}

impl Write {
    /// A write that met the guarded page in which `gpa` lies. Begins with [`Action::Lock`].
    #[must_use]
    pub fn begin(gpa: u64) -> Self {
        let mut note = Note::default();
        // There is room for one.
        let _ = note.pages.push(page(gpa));
        Self::with(note, false)
    }

    /// What is left of a write that was cut off, on the processor whose note it is. Begins with
    /// [`Action::Lock`].
    #[must_use]
    pub const fn finish(note: Note) -> Self {
        Self::with(note, true)
    }

    const fn with(note: Note, is_rest: bool) -> Self {
        Self {
            at: At::Lock,
            note,
            touched: None,
            verdict: Verdict::Done,
            is_rest,
            is_abandoned: false,
            is_half: false,
            interruptions: 0,
            tables: 0,
            failures: 0,
        }
    }

    /// The note that is to be retained.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// What is to be done now.
    #[must_use]
    pub fn action(&self) -> Action {
        match (self.at, self.touched) {
            (At::Lock, _) => Action::Lock,
            (At::NotePages | At::NotePair, _) => Action::Note,
            (At::Open, _) => Action::Open { gpa: self.note.pages.last().copied().unwrap_or(0) },
            (At::OpenTable(gpa), _) => Action::OpenTable { gpa },
            (At::Step, _) => Action::Step,
            (At::Compare, _) => Action::Compare,
            (At::Carry, Some((touched, _))) => Action::Carry(touched),
            (At::Publish, Some((touched, _))) => Action::Publish(touched),
            (At::Torn, Some((touched, Some(cause)))) => Action::Torn(touched, cause),
            // Without a pair there is none to be carried.
            (At::Find | At::Carry | At::Publish | At::Torn, _) => Action::Find,
            (At::Abandon, _) => Action::Abandon,
            (At::Close, _) => Action::Close,
            (At::ClearNote, _) => Action::ClearNote,
            (At::Unlock, _) => Action::Unlock,
            (At::End, _) => Action::End(self.verdict),
        }
    }

    /// Takes what came of [`Write::action`]. An answer that is none to it counts as a failure.
    pub fn advance(&mut self, event: Event) {
        self.at = match (self.at, event) {
            (At::Lock, Event::Locked { .. }) if self.is_rest => self.compare_again(),
            (At::Lock, Event::Locked { guarded: true }) => At::NotePages,
            (At::Lock, Event::Locked { guarded: false }) => {
                self.verdict = Verdict::Again;
                At::Unlock
            }
            (At::NotePages, Event::Done) => At::Open,
            (At::Open | At::OpenTable(_), Event::Done) => At::Step,
            (At::Step, event) => self.after_step(event),
            (At::Compare, Event::Done) => At::Find,
            (At::Find, Event::Found(touched)) => self.found(touched),
            (At::Find, Event::NoMore) => At::Close,
            (At::Carry, Event::Done) => self.carried(),
            (At::Carry, Event::Contained(cause)) => {
                self.touched = self.touched.map(|(touched, _)| (touched, Some(cause)));
                At::Torn
            }
            (At::NotePair, Event::Done) => At::Publish,
            (At::Publish | At::Torn, Event::Done) if self.is_half => {
                self.is_half = false;
                At::Compare
            }
            (At::Publish | At::Torn, Event::Done) => At::Find,
            (At::Abandon, _) => {
                self.is_abandoned = true;
                At::Close
            }
            (At::Close, Event::Done) => At::ClearNote,
            (At::ClearNote, Event::Done) => At::Unlock,
            (At::Unlock | At::End, _) => At::End,
            (at, _) => self.after_failure(at),
        };
    }

    fn after_step(&mut self, event: Event) -> At {
        let verdict = match event {
            Event::Stepped { debug: None } => Verdict::Done,
            // In the guest's own view both come before the instruction writes. So it is the one behind
            // a write that was done, whose answer was lost; the guest's own view is where it belongs.
            Event::Left | Event::Exception(Exception { vector: INVALID_OPCODE, .. }) => {
                Verdict::Again
            }
            Event::Stepped { debug: Some(exception) } | Event::Exception(exception) => {
                Verdict::Fault(exception)
            }
            Event::Interrupted => {
                self.interruptions += 1;
                if self.interruptions < INTERRUPTIONS_MAX {
                    return At::Step;
                }
                Verdict::Again
            }
            Event::WantsTable { gpa } => {
                self.tables += 1;
                if self.tables <= TABLES_MAX {
                    return At::OpenTable(page(gpa));
                }
                // Those that are open stay so: the next write comes further.
                Verdict::Again
            }
            Event::Wants { gpa } if self.note.pages.contains(&page(gpa)) => {
                return self.after_failure(At::Step);
            }
            Event::Wants { gpa } => match self.note.pages.push(page(gpa)) {
                Ok(()) => return At::NotePages,
                Err(_) => Verdict::Again,
            },
            _ => return self.after_failure(At::Step),
        };
        self.verdict = verdict;
        At::Compare
    }

    fn found(&mut self, touched: Touched) -> At {
        self.touched = Some((touched, None));
        At::Carry
    }

    fn carried(&mut self) -> At {
        let Some((Touched { version, pair, from }, _)) = self.touched else {
            return At::Find;
        };
        self.note.carrying = Some(Carrying { version, pair, from });
        At::NotePair
    }

    /// To the comparison, by way of the pair that may be half published.
    fn compare_again(&mut self) -> At {
        let Some(Carrying { version, pair, from }) = self.note.carrying else {
            return At::Compare;
        };
        self.is_half = true;
        self.found(Touched { version, pair, from })
    }

    fn after_failure(&mut self, at: At) -> At {
        self.failures = self.failures.saturating_add(1);
        let is_over = self.failures >= TRIES_MAX;
        match at {
            At::Lock if is_over => {
                self.verdict = Verdict::Again;
                At::End
            }
            At::NotePages | At::Open | At::OpenTable(_) | At::Step if is_over => {
                self.verdict = Verdict::Fault(Exception::GENERAL_PROTECTION);
                self.failures = 0;
                At::Compare
            }
            At::Lock | At::NotePages | At::Open | At::OpenTable(_) | At::Step => at,
            At::Close if self.is_abandoned => At::ClearNote,
            // A store that cannot be written any more will not be mended by waiting.
            At::ClearNote if is_over => At::Unlock,
            At::ClearNote => at,
            _ if is_over => At::Abandon,
            At::Close => At::Close,
            // What was published meanwhile is published once more.
            _ => self.compare_again(),
        }
    }
}

const fn page(gpa: u64) -> u64 {
    gpa & !(PAGE as u64 - 1)
}
