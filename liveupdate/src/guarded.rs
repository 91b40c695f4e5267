//! Guarded writes: the effects of [`lucos_data_versions::write`].

use alloc::vec::Vec;
use core::cell::RefCell;

use lucos_abi::object::{ExitReason, View};
use lucos_data_versions::touched::{ChangedPage, Cursor, Search, Touched};
use lucos_data_versions::transfer::Upcall as Kind;
use lucos_data_versions::write::Exception;
use lucos_data_versions::{Action, Cause, Changes, Event, Pair, Side, Verdict, VersionId, Write};
use lucos_guest_interface::call::Upcall;
use lucos_service::client::Failure;
use lucos_service::{
    AddressSpace, FaultVerdict, GuardKind, LogBudget, MemoryRequest, QUARTER_HOUR,
};

use crate::coherence::{Coherence, Held, Torn, page_of};
use crate::late::{Late, LateKind, LatePairs};
use crate::platform::Platform;
use crate::upcall::{self, Pages, UpcallError};

/// The pair of which nothing is known but its page.
const UNKNOWN: Pair = Pair { object: 0, twin: 0 };

/// Lines about data that is torn.
static TORN: LogBudget = LogBudget::new(32, QUARTER_HOUR);

/// A side that a transfer function makes of the other one.
struct Target {
    address: u64,
    length: u32,
    /// Bytes of both sides.
    pair_size: u32,
    function: u64,
}

/// A write that is being done.
pub struct Guarded<'a, P> {
    platform: &'a mut P,
    coherence: &'a Coherence,
    space: AddressSpace,
    held: Option<Held<'a>>,
    /// What changed on the pages of the note.
    changes: Vec<(u64, Changes)>,
    /// The version whose pairs are looked for, and how far.
    search: Option<VersionId>,
    cursor: Cursor,
    /// Its lists are through; what came late follows.
    is_late: bool,
    /// Versions of which a pair was carried.
    carried: Vec<VersionId>,
}

impl<'a, P: Platform> Guarded<'a, P> {
    /// For a processor that is in this address space.
    pub fn new(platform: &'a mut P, coherence: &'a Coherence, space: AddressSpace) -> Self {
        Self {
            platform,
            coherence,
            space,
            held: None,
            changes: Vec::new(),
            search: None,
            cursor: Cursor::default(),
            is_late: false,
            carried: Vec::new(),
        }
    }

    /// Does a write, from its fault to the instruction behind it.
    pub fn run(&mut self, mut write: Write) -> Verdict {
        loop {
            match write.action() {
                Action::End(verdict) => return verdict,
                action => {
                    let event = self.act(action, &write);
                    write.advance(event);
                }
            }
        }
    }

    /// The processor itself could not write to a guarded page: it delivered an event to a stack, or
    /// walked page tables. The page is not what it was guarded for any more. That comes again, and no
    /// step can be made of it: of an event there is no instruction, and one that keeps RFLAGS (a system
    /// call whose code was looked up in the table) would keep the step's trap flag with it. So the page
    /// is the guest's again, and what is written there is not carried. A version with a pair there is
    /// torn.
    pub fn release(&mut self, gpa: u64) -> Verdict {
        let page = page_of(gpa);
        let mut held = self.coherence.lock(self.platform);
        // Where that fails the event comes back here.
        let located = held.locate(self.platform, self.space);
        self.held = Some(held);
        if located.is_ok() {
            self.abandon_pairs(page);
            let _ = self.platform.guard(GuardKind::Carried, false, &[page]);
        }
        self.held = None;
        Verdict::Again
    }

    fn act(&mut self, action: Action, write: &Write) -> Event {
        let pages = &write.note().pages;
        match action {
            Action::Lock => self.lock(pages),
            Action::Note => self.done(|this| {
                let retained = this.platform.retain_note(write.note(), this.space);
                retained.map_err(|_| Failure::Protocol)
            }),
            Action::Open { gpa } => self.done(|this| this.open(gpa, pages)),
            Action::OpenTable { gpa } => {
                self.done(|this| this.platform.order(&MemoryRequest::OpenTable { gpa }))
            }
            Action::Step => self.step(),
            Action::Compare => self.done(|this| this.compare(pages)),
            Action::Find => self.find(pages),
            Action::Carry(touched) => self.carry(touched),
            Action::Publish(touched) => self.done(|this| this.publish(touched)),
            Action::Torn(touched, cause) => {
                self.tear(touched.version, touched.pair, Some(cause));
                Event::Done
            }
            Action::Abandon => {
                self.abandon(pages);
                Event::Done
            }
            Action::Close => self.done(|this| this.platform.order(&MemoryRequest::Close)),
            Action::ClearNote => {
                self.done(|this| this.platform.clear_note().map_err(|_| Failure::Protocol))
            }
            Action::Unlock => {
                self.count(pages);
                self.held = None;
                Event::Done
            }
            Action::End(_) => Event::Failed,
        }
    }

    fn done(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Event {
        match work(self) {
            Ok(()) => Event::Done,
            Err(_) => Event::Failed,
        }
    }

    fn lock(&mut self, pages: &[u64]) -> Event {
        let mut held = self.coherence.lock(self.platform);
        if held.locate(self.platform, self.space).is_err() {
            return Event::Failed;
        }
        let guarded = pages.iter().any(|page| held.index.is_guarded(*page));
        if !guarded {
            // It was released a moment ago, or a task had ended before it could be.
            let _ = self.platform.guard(GuardKind::Carried, false, pages);
        }
        self.held = Some(held);
        Event::Locked { guarded }
    }

    /// The pages of upcalls of this processor.
    fn upcall_pages(&self) -> Result<Pages, UpcallError> {
        let upcalls = self.held.as_deref().and_then(|state| state.upcalls);
        Pages::of(upcalls, self.platform.processor())
    }

    fn open(&mut self, gpa: u64, pages: &[u64]) -> Result<(), Failure> {
        let number = pages.iter().position(|page| *page == page_of(gpa));
        let held = self.held.as_deref().ok_or(Failure::Protocol)?;
        let copies = held.copies_of(self.platform.processor());
        let copy = number.and_then(|number| copies.get(number)).ok_or(Failure::Protocol)?;
        let open = MemoryRequest::Open { gpa, copy: *copy };
        self.platform.order(&open)
    }

    fn step(&mut self) -> Event {
        let Ok((reason, registers)) = self.platform.confined(None, 1) else {
            return Event::Failed;
        };
        match reason {
            // Its own debug exception, if there is one, waits in the vCPU.
            ExitReason::Stepped => Event::Stepped { debug: None },
            ExitReason::Interrupted => Event::Interrupted,
            ExitReason::Exception(event) => Event::Exception(Exception {
                vector: event.vector,
                error_code: event.error_code,
                address: registers.cr2,
            }),
            ExitReason::NestedFault { gpa, access } => {
                match self.platform.nested_fault(gpa, access, View::Confined) {
                    Ok(FaultVerdict::Mended) => Event::Interrupted,
                    Ok(FaultVerdict::Carried) => Event::Wants { gpa },
                    Ok(FaultVerdict::Table) => Event::WantsTable { gpa },
                    Ok(_) => Event::Exception(Exception::GENERAL_PROTECTION),
                    Err(_) => Event::Failed,
                }
            }
            _ => Event::Left,
        }
    }

    fn compare(&mut self, pages: &[u64]) -> Result<(), Failure> {
        self.changes.clear();
        self.search = None;
        for &page in pages {
            let mut bits = [0; Changes::SIZE];
            self.platform.changes(page, &mut bits)?;
            self.changes.push((page, Changes::from_bytes(&bits)));
        }
        self.next_version(pages);
        Ok(())
    }

    fn next_version(&mut self, pages: &[u64]) {
        let state = self.held.as_deref();
        self.search = state.and_then(|state| state.index.next_version(pages, self.search));
        (self.cursor, self.is_late) = (Cursor::default(), false);
    }

    fn find(&mut self, pages: &[u64]) -> Event {
        while let Some(version) = self.search {
            match self.find_of(version) {
                Ok(Some(touched)) => return Event::Found(touched),
                Ok(None) => self.next_version(pages),
                Err(_) => return Event::Failed,
            }
        }
        Event::NoMore
    }

    fn find_of(&mut self, version: VersionId) -> Result<Option<Touched>, Failure> {
        let state = self.held.as_deref().ok_or(Failure::Protocol)?;
        let live = state.versions.iter().find(|live| live.id == version);
        let live = live.ok_or(Failure::Protocol)?;
        let lists = live.located.as_ref().ok_or(Failure::Protocol)?;
        let pages: Vec<ChangedPage<'_>> =
            self.changes.iter().map(|(gpa, changes)| ChangedPage { gpa: *gpa, changes }).collect();
        let search = Search::new(version, live.plan.shape(), &state.index, &pages);
        if !self.is_late {
            let platform = RefCell::new(&mut *self.platform);
            let mut pairs = lists.pairs(&platform);
            while let Some(touched) = search.next(&mut pairs, &mut self.cursor)? {
                if !state.is_gone(version, touched.pair) {
                    return Ok(Some(touched));
                }
            }
            (self.is_late, self.cursor) = (true, Cursor::default());
        }
        let mut late = LatePairs::new(&state.late, version);
        search.next(&mut late, &mut self.cursor).map_err(|_| Failure::Protocol)
    }

    /// The other side of a pair, which is to be made.
    fn target(&self, touched: Touched) -> Option<Target> {
        let state = self.held.as_deref()?;
        let live = state.versions.iter().find(|live| live.id == touched.version)?;
        let to = touched.from.other();
        let function = match to {
            Side::Twin => live.plan.kind.to_new,
            Side::Object => live.plan.kind.to_old,
        };
        Some(Target {
            address: touched.pair.address(to),
            // At most a page.
            length: live.plan.shape().size(to) as u32,
            pair_size: live.plan.pair_size(),
            function,
        })
    }

    fn carry(&mut self, touched: Touched) -> Event {
        let (Some(target), Ok(pages)) = (self.target(touched), self.upcall_pages()) else {
            return Event::Failed;
        };
        let Target { address, length, pair_size, function } = target;
        let scratch = pages.scratch;
        let copy = MemoryRequest::Publish { space: self.space, from: address, to: scratch, length };
        if self.platform.order(&copy).is_err() {
            return Event::Failed;
        }
        let source = touched.pair.address(touched.from);
        let what = (Upcall::TransferOne, [function, scratch, source]);
        let one = Kind::One { bytes: pair_size };
        match upcall::call(self.platform, self.space, &pages, what, one) {
            Ok(()) => Event::Done,
            Err(UpcallError::Contained { cause, rip }) => {
                let time = self.platform.time();
                let line = format_args!("the transfer to {address:#x} is ended at {rip:#x}");
                TORN.write(time, line, |line| self.platform.log(line));
                Event::Contained(cause)
            }
            Err(UpcallError::Missing | UpcallError::Busy | UpcallError::Failed(_)) => Event::Failed,
        }
    }

    fn publish(&mut self, touched: Touched) -> Result<(), Failure> {
        let Target { address: to, length, .. } = self.target(touched).ok_or(Failure::Protocol)?;
        let from = self.upcall_pages().map_err(|_| Failure::Protocol)?.scratch;
        let publish = MemoryRequest::Publish { space: self.space, from, to, length };
        self.platform.order(&publish)?;
        self.carried.push(touched.version);
        Ok(())
    }

    /// A pair's sides are not the same any more.
    fn tear(&mut self, id: VersionId, pair: Pair, cause: Option<Cause>) {
        let Some(state) = self.held.as_deref_mut() else { return };
        // The patch is withdrawn behind this write; the task may end before.
        let late = Late { id, pair, kind: LateKind::Torn };
        if let Some(place) = state.free_late().filter(|_| !state.late.contains(&Some(late)))
            && self.platform.retain_late(place, Some(late)).is_ok()
            && let Some(slot) = state.late.get_mut(place)
        {
            *slot = Some(late);
        }
        if let Some(live) = state.live(id) {
            live.counts.torn = live.counts.torn.saturating_add(1);
        }
        if state.torn.iter().all(|torn| torn.id != id) {
            state.torn.push(Torn { id, cause });
        }
        let VersionId { patch, version } = id;
        let time = self.platform.time();
        let line = format_args!("data version {version} of patch {patch} is torn: {cause:x?}");
        TORN.write(time, line, |line| self.platform.log(line));
    }

    /// No pair on this page is carried any more.
    fn abandon_pairs(&mut self, page: u64) {
        let Some(state) = self.held.as_deref_mut() else { return };
        let mappings = state.index.at(page).to_vec();
        for mapping in mappings {
            let Some(state) = self.held.as_deref_mut() else { return };
            match state.is_used(self.platform, &mapping) {
                Ok(false) => state.index.take(&mapping),
                Ok(true) | Err(_) => self.tear(mapping.version, UNKNOWN, None),
            }
        }
    }

    /// What changed on these pages cannot be found out.
    fn abandon(&mut self, pages: &[u64]) {
        let mut last = None;
        loop {
            let state = self.held.as_deref();
            let next = state.and_then(|state| state.index.next_version(pages, last));
            let Some(id) = next else { return };
            self.tear(id, UNKNOWN, None);
            last = Some(id);
        }
    }

    fn count(&mut self, pages: &[u64]) {
        let Some(state) = self.held.as_deref_mut() else { return };
        let mut last = None;
        while let Some(id) = state.index.next_version(pages, last) {
            last = Some(id);
            let carried = self.carried.contains(&id);
            let Some(live) = state.live(id) else { continue };
            live.counts.traps += 1;
            live.counts.carried += u64::from(carried);
            live.counts.neighbours += u64::from(!carried);
        }
    }
}
