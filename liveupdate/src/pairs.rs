//! PAIR and UNPAIR: objects that get a twin, or lose it, while both sides of their version live.

use alloc::vec::Vec;
use core::cell::RefCell;

use lucos_abi::layout::PAGE;
use lucos_data_versions::pairs::{at, touching};
use lucos_data_versions::state::{Refusal, pair as is_ours};
use lucos_data_versions::transfer::Upcall as Kind;
use lucos_data_versions::{Cause, Mapping, Pair, Side, VersionId};
use lucos_guest_interface::call::{DATA_ITEMS, NO_ITEM, Upcall};
use lucos_guest_interface::registration::KERNEL_HALF_START;
use lucos_guest_interface::upcall::PairRecord;
use lucos_guest_interface::{ErrorCode, Fault, Part};
use lucos_service::client::Failure;
use lucos_service::{GuardKind, MemoryRequest};
use lucos_transaction::{Engine, Store, Subject as _, VersionPlan};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::buffer::{copy_in, zeroed};
use crate::coherence::{State, page_of};
use crate::guest::Guest;
use crate::late::{LATE_MAX, Late, LateKind, LatePairs};
use crate::lists::list_fault;
use crate::platform::Platform;
use crate::upcall::{self, Pages, UpcallError};

/// Most pairs that are known to be left.
const LEFT_MAX: usize = 1_024;

/// Whether a pair comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// PAIR
    Comes,
    /// UNPAIR
    Goes,
}

/// Serves both calls.
///
/// # Errors
/// `NotRegistered`, `Nonce`, `Address`, `UnknownPatch`; `Argument` for a version that the patch has
/// not, or a pair that there is not; `Settled` and `NotApplied` when only one side lives; `DataRange`,
/// `PairsOverlap`, `TooManyPages`, and whatever a transfer function is ended for.
pub fn change<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, address, _, _]: Arguments,
    change: Change,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let space = guest.space();
    let bytes = copy_in(guest.platform(), space, address, PairRecord::SIZE)?;
    let record = PairRecord::read(&bytes).ok_or(Part::Liveupdate.fault(NO_ITEM))?;
    guest.recover(engine)?;
    let PairRecord { number, version: index, object, twin } = record;
    let item = DATA_ITEMS.saturating_add(index);
    let mut patches = engine.patches().iter();
    let patch = patches.find(|patch| patch.number == number);
    let patch = patch.ok_or(Fault::new(ErrorCode::UnknownPatch, number.into()))?;
    let version = patch.versions.get(index as usize);
    let version = version.ok_or(Fault::new(ErrorCode::Argument, index.into()))?;
    is_ours(version.state(patch.state)).map_err(|refusal| {
        let code = match refusal {
            Refusal::Settled => ErrorCode::Settled,
            Refusal::Applied | Refusal::NotApplied => ErrorCode::NotApplied,
        };
        Fault::at(code, item, number.into())
    })?;
    let id = VersionId { patch: number, version: index };
    let pair = Pair { object, twin };
    match change {
        Change::Comes => guest.make_pair(id, &version.plan, pair, item)?,
        Change::Goes => guest.end_pair(id, pair, item)?,
    }
    Ok(Answer::default())
}

impl<P: Platform> Guest<'_, P> {
    fn make_pair(
        &mut self,
        id: VersionId,
        plan: &VersionPlan,
        pair: Pair,
        item: u32,
    ) -> Result<(), Fault> {
        for side in Side::BOTH {
            let start = pair.address(side);
            if start < KERNEL_HALF_START || start.checked_add(plan.shape().size(side)).is_none() {
                return Err(Fault::at(ErrorCode::DataRange, item, start));
            }
        }
        // In a stop: the NMIs that take rights from a processor are those that the manager knows.
        self.stop().map_err(|error| error.fault(item))?;
        let held = self.held.take();
        let broken = Part::Liveupdate.fault(item);
        let (result, held) = match held {
            Some(mut state) => (self.make_stopped(&mut state, id, plan, pair, item), Some(state)),
            None => (Err(broken), None),
        };
        self.held = held;
        let resumed = self.resume().map_err(|error| error.fault(item));
        result.and(resumed)
    }

    fn make_stopped(
        &mut self,
        state: &mut State,
        id: VersionId,
        plan: &VersionPlan,
        pair: Pair,
        item: u32,
    ) -> Result<(), Fault> {
        let located = state.locate(self.platform, self.space);
        located.map_err(|failure| list_fault(failure, pair.object, item))?;
        let place = self.place_of(state, id, pair, item)?;
        if place == Place::Nowhere {
            self.is_apart(state, plan, pair, item)?;
        }
        let mut twin = zeroed(plan.kind.twin_size as usize)?;
        let read = self.platform.read(self.space, pair.twin, &mut twin);
        read.map_err(|failure| list_fault(failure, pair.twin, item))?;
        let mut guarded = Vec::new();
        let made = self
            .guard_pair(state, id, plan, (pair, item), &mut guarded)
            .and_then(|()| self.fill(state, plan, pair, item))
            .and_then(|()| self.note_pair(state, id, pair, (place, item)));
        if made.is_err() {
            let _ = self.platform.write(self.space, pair.twin, &twin);
            let _ = state.unguard(self.platform, &guarded);
        }
        made
    }

    /// Retains that there is this pair from now on.
    fn note_pair(
        &mut self,
        state: &mut State,
        id: VersionId,
        pair: Pair,
        (place, item): (Place, u32),
    ) -> Result<(), Fault> {
        match place {
            Place::Nowhere => {
                let free = state.free_late();
                let free = free.ok_or(Fault::at(ErrorCode::TooManyPages, item, LATE_MAX as u64))?;
                let late = Late { id, pair, kind: LateKind::Came };
                self.retain(state, free, Some(late), item)
            }
            Place::Gone(slot) => self.retain(state, slot, None, item),
            Place::Late(_) | Place::Lists => Ok(()),
        }
    }

    fn end_pair(&mut self, id: VersionId, pair: Pair, item: u32) -> Result<(), Fault> {
        let mut state = self.coherence.lock(self.platform);
        let located = state.locate(self.platform, self.space);
        located.map_err(|failure| list_fault(failure, pair.object, item))?;
        let place = self.place_of(&state, id, pair, item)?;
        let noted = match place {
            Place::Late(slot) => self.retain(&mut state, slot, None, item),
            Place::Lists => {
                let late = Late { id, pair, kind: LateKind::Gone };
                let none = Fault::at(ErrorCode::TooManyPages, item, LATE_MAX as u64);
                let free = state.free_late().ok_or(none);
                free.and_then(|free| self.retain(&mut state, free, Some(late), item))
            }
            Place::Gone(_) | Place::Nowhere => {
                return Err(Fault::at(ErrorCode::Argument, item, pair.object));
            }
        };
        if noted.is_err() && state.left.len() < LEFT_MAX {
            state.left.push((id, pair));
        }
        // What is not found out stays guarded.
        let _ = self.unguard_pair(&mut state, id, pair);
        noted
    }

    /// Leaves pages to the guest on which no pair of the version lies any more: they may become
    /// anything, stacks and page tables too.
    fn unguard_pair(
        &mut self,
        state: &mut State,
        id: VersionId,
        pair: Pair,
    ) -> Result<(), Failure> {
        let live = state.versions.iter().find(|live| live.id == id);
        let live = live.ok_or(Failure::Protocol)?;
        let mut mappings = Vec::new();
        for side in Side::BOTH {
            let range = live.plan.shape().range(side, &pair);
            let pages = (page_of(range.start)..range.end).step_by(PAGE as usize);
            mappings.extend(pages.filter_map(|page| state.index.mapping(id, page)));
        }
        let mut unused = Vec::new();
        for mapping in mappings {
            if !state.is_used(self.platform, &mapping)? {
                unused.push(mapping);
            }
        }
        state.unguard(self.platform, &unused)
    }

    fn retain(
        &mut self,
        state: &mut State,
        slot: usize,
        late: Option<Late>,
        item: u32,
    ) -> Result<(), Fault> {
        self.platform.retain_late(slot, late).map_err(|error| error.fault(item))?;
        if let Some(place) = state.late.get_mut(slot) {
            *place = late;
        }
        Ok(())
    }

    /// Where exactly this pair is known from.
    fn place_of(
        &mut self,
        state: &State,
        id: VersionId,
        pair: Pair,
        item: u32,
    ) -> Result<Place, Fault> {
        for (slot, late) in state.late.iter().enumerate() {
            match late.filter(|late| late.id == id && late.pair == pair).map(|late| late.kind) {
                Some(LateKind::Gone) => return Ok(Place::Gone(slot)),
                Some(LateKind::Came) => return Ok(Place::Late(slot)),
                Some(LateKind::Torn) | None => {}
            }
        }
        let live = state.versions.iter().find(|live| live.id == id);
        let Some((live, lists)) = live.and_then(|live| Some((live, live.located.as_ref()?))) else {
            return Err(Part::Liveupdate.fault(item));
        };
        let platform = RefCell::new(&mut *self.platform);
        let known = at(&mut lists.pairs(&platform), &live.plan.shape(), Side::Object, pair.object)
            .map_err(|failure| list_fault(failure, pair.object, item))?;
        Ok(match known {
            Some((_, known)) if known == pair => Place::Lists,
            _ => Place::Nowhere,
        })
    }

    /// Checks that neither side has a byte in common with one of any other pair.
    fn is_apart(
        &mut self,
        state: &State,
        plan: &VersionPlan,
        pair: Pair,
        item: u32,
    ) -> Result<(), Fault> {
        let overlap = |side| Fault::at(ErrorCode::PairsOverlap, item, pair.address(side));
        let shape = plan.shape();
        let [object, twin] = Side::BOTH.map(|side| shape.range(side, &pair));
        if object.start < twin.end && twin.start < object.end {
            return Err(overlap(Side::Twin));
        }
        for live in &state.versions {
            let Some(lists) = &live.located else { continue };
            let mut late = LatePairs::new(&state.late, live.id);
            for (side, other) in
                Side::BOTH.into_iter().flat_map(|side| Side::BOTH.map(|other| (side, other)))
            {
                let (range, others) = (shape.range(side, &pair), live.plan.shape());
                let found = touching(&mut late, &others, other, range.clone());
                if found.is_ok_and(|found| !found.is_empty()) {
                    return Err(overlap(side));
                }
                let platform = RefCell::new(&mut *self.platform);
                let mut pairs = lists.pairs(&platform);
                let unreadable = |failure: Failure| list_fault(failure, pair.address(side), item);
                let found = touching(&mut pairs, &others, other, range).map_err(unreadable)?;
                for index in found {
                    use lucos_data_versions::List as _;
                    let known = pairs.read(other, index).map_err(unreadable)?;
                    if !state.is_gone(live.id, known) {
                        return Err(overlap(side));
                    }
                }
            }
        }
        Ok(())
    }

    /// Guards the pages of a pair; `added` are those that its version did not have.
    fn guard_pair(
        &mut self,
        state: &mut State,
        id: VersionId,
        plan: &VersionPlan,
        (pair, item): (Pair, u32),
        added: &mut Vec<Mapping>,
    ) -> Result<(), Fault> {
        let mut guarded = Vec::new();
        for side in Side::BOTH {
            let range = plan.shape().range(side, &pair);
            let mut page = page_of(range.start);
            while page < range.end {
                let at_page = |failure| list_fault(failure, page, item);
                let gpa = self.platform.translate(self.space, page).map_err(at_page)?;
                self.platform.read_physical(gpa, &mut [0]).map_err(at_page)?;
                let mapping = Mapping { gpa: page_of(gpa), version: id, address: page };
                if !state.index.contains(&mapping) {
                    added.push(mapping);
                }
                let inserted = state.index.insert(mapping);
                inserted.map_err(|error| Fault { item, ..error.fault() })?;
                guarded.push(page_of(gpa));
                page = page.saturating_add(PAGE);
            }
        }
        let set = self.platform.guard(GuardKind::Carried, true, &guarded);
        set.map_err(|failure| list_fault(failure, pair.object, item))
    }

    /// Makes the twin of the object, and looks whether it leads back.
    fn fill(
        &mut self,
        state: &State,
        plan: &VersionPlan,
        Pair { object, twin }: Pair,
        item: u32,
    ) -> Result<(), Fault> {
        let pages = Pages::of(state.upcalls, self.platform.processor());
        let pages = pages.map_err(|error| error.fault(item))?;
        let (kind, scratch) = (&plan.kind, pages.scratch);
        let carry = |this: &mut Self, function, target: (u64, u32), source| {
            this.publish(target.0, scratch, target.1, item)?;
            let what = (Upcall::TransferOne, [function, scratch, source]);
            let one = Kind::One { bytes: plan.pair_size() };
            upcall::call(this.platform, this.space, &pages, what, one).map_err(|error| {
                if let UpcallError::Contained { rip, .. } = error {
                    this.ended_at = Some(rip);
                }
                error.fault(item)
            })
        };
        carry(self, kind.to_new, (twin, kind.twin_size), object)?;
        self.publish(scratch, twin, kind.twin_size, item)?;
        carry(self, kind.to_old, (object, kind.object_size), twin)?;
        let [mut was, mut again] =
            [zeroed(kind.object_size as usize)?, zeroed(kind.object_size as usize)?];
        for (address, bytes) in [(object, &mut was), (scratch, &mut again)] {
            let read = self.platform.read(self.space, address, bytes);
            read.map_err(|failure| list_fault(failure, address, item))?;
        }
        match was.iter().zip(&again).position(|(was, again)| was != again) {
            Some(offset) => Err(Cause::Law { offset: offset as u64 }.fault(item)),
            None => Ok(()),
        }
    }

    fn publish(&mut self, from: u64, to: u64, length: u32, item: u32) -> Result<(), Fault> {
        let publish = MemoryRequest::Publish { space: self.space, from, to, length };
        self.platform.order(&publish).map_err(|failure| list_fault(failure, to, item))
    }
}

/// Where a pair is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is not.
    Nowhere,
    /// From the lists.
    Lists,
    /// From the lists, and it is gone: the place of that note.
    Gone(usize),
    /// It came late: the place of that note.
    Late(usize),
}
