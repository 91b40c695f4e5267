//! What all processors share about data of which both sides live, and the lock around it.
//!
//! Everything that the guest writes to a guarded page, and every stop of this task, happens inside the
//! *coherence lock*. The order of locks is: engine, coherence, stop.

use alloc::vec::Vec;
use core::cell::RefCell;

use lucos_abi::layout::PAGE;
use lucos_data_versions::pages::PAGES_MAX;
use lucos_data_versions::pairs::touching;
use lucos_data_versions::{Cause, List as _, Mapping, Pages, Pair, Side, VersionId, VersionState};
use lucos_service::client::Failure;
use lucos_service::{AddressSpace, GuardKind};
use lucos_transaction::journal::Upcalls;
use lucos_transaction::{Engine, Store, SubjectError, VersionPlan};
use spin::{Mutex, MutexGuard};

use crate::late::{LATE_MAX, Late, LateKind, LatePairs};
use crate::lists::{Located, Sealed};
use crate::platform::Platform;
use crate::upcall::COPIES;

/// Most guarded pages, each counted once for every version that has it and every address by which it
/// has it.
pub const MAPPINGS_MAX: usize = 2 * PAGES_MAX;

/// The index of guarded pages.
pub type Index = Pages<MAPPINGS_MAX>;

/// The coherence lock, and what it protects.
#[derive(Debug)]
pub struct Coherence(Mutex<State>);

/// The lock while it is held.
pub type Held<'a> = MutexGuard<'a, State>;

/// What the lock protects.
#[derive(Debug, Default)]
pub struct State {
    /// How LUCOS calls the manager.
    pub upcalls: Option<Upcalls>,
    /// The guest-physical addresses of the pages for copies, [`COPIES`] for each processor.
    pub copies: Vec<u64>,
    /// The versions whose pages are guarded, or may be.
    pub versions: Vec<Live>,
    /// Their pages, but for those of versions that are not [located](Live::located).
    pub index: Index,
    /// Pairs that came or went, as they are retained; empty after a restart, until they are needed.
    pub late: Vec<Option<Late>>,
    /// Pairs of which an object is gone, and that are carried all the same: there was no place to
    /// retain that. Nobody needs them.
    pub left: Vec<(VersionId, Pair)>,
    /// Versions of which sides differ, for their patches to be withdrawn.
    pub torn: Vec<Torn>,
    /// How often the guest was asked to come again behind an interrupt, one after the other.
    pub asked_again: u8,
    /// Pages are guarded that nothing here asks for.
    pub is_unswept: bool,
}

/// A version whose pages are guarded.
#[derive(Debug)]
pub struct Live {
    /// Which.
    pub id: VersionId,
    /// What is known of it.
    pub plan: VersionPlan,
    /// Its lists and pages; `None` after a restart, until they are needed.
    pub located: Option<Sealed>,
    /// What its guards have cost.
    pub counts: Counts,
}

/// Writes that came to LUCOS because of a version, since the task started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub traps: u64,
    /// Those that changed a pair.
    pub carried: u64,
    /// Those that changed none.
    pub neighbours: u64,
    /// Pairs of which a write is missing on one side.
    pub torn: u32,
}

/// A version of which sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Which.
    pub id: VersionId,
    /// What its transfer function was ended for; `None` when the transfer was not tried.
    pub cause: Option<Cause>,
}

impl Coherence {
    /// With the versions that the journal says are guarded, or may be.
    pub fn new<S: Store>(engine: Option<&Engine<S>>) -> Self {
        let mut state = State::default();
        if let Some(engine) = engine {
            state.upcalls = engine.head().registration.upcalls;
            state.versions = guarded(engine);
        }
        Self(Mutex::new(state))
    }

    /// How LUCOS makes upcalls.
    #[cfg(feature = "fault-injection")]
    pub fn upcalls(&self) -> Option<Upcalls> {
        self.0.lock().upcalls
    }

    /// Takes the lock, which nobody gets while another processor has a note of a write: only that one
    /// can finish it.
    pub fn lock<P: Platform>(&self, platform: &P) -> Held<'_> {
        loop {
            let held = self.0.lock();
            if !platform.others_have_notes() {
                return held;
            }
            drop(held);
            core::hint::spin_loop();
        }
    }
}

/// What may be guarded after a restart: both sides live, or the task has ended while that was to begin
/// or to end.
fn guarded<S: Store>(engine: &Engine<S>) -> Vec<Live> {
    use lucos_data_versions::StateByte::{ArrivingBoth, LeavingBoth, SettledOld};
    let mut versions = Vec::new();
    for patch in engine.all_patches() {
        for (number, version) in (0..).zip(&patch.versions) {
            let changes = matches!(version.byte, ArrivingBoth | LeavingBoth | SettledOld);
            if changes || version.state(patch.state) == VersionState::Both {
                versions.push(Live {
                    id: VersionId { patch: patch.number, version: number },
                    plan: version.plan.clone(),
                    located: None,
                    counts: Counts::default(),
                });
            }
        }
    }
    versions
}

impl State {
    /// Finds the lists and pages of all versions, and the pages for copies, of which that was not done
    /// since the task started.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn locate<P: Platform>(
        &mut self,
        platform: &mut P,
        space: AddressSpace,
    ) -> Result<(), Failure> {
        if let Some(upcalls) = self.upcalls.filter(|_| self.copies.is_empty()) {
            (_, self.copies) = upcall_pages(platform, space, upcalls)?;
        }
        if self.late.is_empty() {
            self.late = (0..LATE_MAX).map(|place| platform.late(place)).collect();
        }
        for live in self.versions.iter_mut().filter(|live| live.located.is_none()) {
            let sealed = Sealed::find(platform, space, live.plan.lists)?;
            let data = sealed.find_data(platform, space).map_err(|(failure, _)| failure)?;
            for (gpa, address) in data {
                let mapping = Mapping { gpa: page_of(gpa), version: live.id, address };
                self.index.insert(mapping).map_err(|_| Failure::Protocol)?;
            }
            let noted = self.late.iter().flatten().filter(|late| late.id == live.id);
            let torn = noted.clone().filter(|late| late.kind == LateKind::Torn).count();
            if torn > 0 && self.torn.iter().all(|torn| torn.id != live.id) {
                live.counts.torn = u32::try_from(torn).unwrap_or(u32::MAX);
                self.torn.push(Torn { id: live.id, cause: None });
            }
            for late in noted.filter(|late| late.kind == LateKind::Came) {
                for side in Side::BOTH {
                    let range = live.plan.shape().range(side, &late.pair);
                    let mut address = page_of(range.start);
                    while address < range.end {
                        let gpa = page_of(platform.translate(space, address)?);
                        let mapping = Mapping { gpa, version: live.id, address };
                        self.index.insert(mapping).map_err(|_| Failure::Protocol)?;
                        address = address.saturating_add(PAGE);
                    }
                }
            }
            live.located = Some(sealed);
        }
        Ok(())
    }

    /// Forgets versions of patches that the engine does not know any more.
    pub fn keep<S: Store>(&mut self, engine: &Engine<S>) {
        let is_known =
            |live: &Live| engine.all_patches().iter().any(|patch| patch.number == live.id.patch);
        let gone: Vec<VersionId> =
            self.versions.iter().filter(|live| !is_known(live)).map(|live| live.id).collect();
        for id in gone {
            self.index.remove(id);
            self.versions.retain(|live| live.id != id);
            self.torn.retain(|torn| torn.id != id);
            self.left.retain(|(left, _)| *left != id);
        }
    }

    /// The version with this id, if it is guarded.
    pub fn live(&mut self, id: VersionId) -> Option<&mut Live> {
        self.versions.iter_mut().find(|live| live.id == id)
    }

    /// Whether a pair of the lists is there no more.
    pub fn is_gone(&self, id: VersionId, pair: Pair) -> bool {
        let gone = Late { id, pair, kind: LateKind::Gone };
        self.late.contains(&Some(gone))
    }

    /// Whether a pair of its version that somebody needs has a byte on this page.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn is_used<P: Platform>(
        &self,
        platform: &mut P,
        mapping: &Mapping,
    ) -> Result<bool, Failure> {
        let id = mapping.version;
        let live = self.versions.iter().find(|live| live.id == id);
        let Some((live, lists)) = live.and_then(|live| Some((live, live.located.as_ref()?))) else {
            return Ok(false);
        };
        let page = mapping.address..mapping.address.saturating_add(PAGE);
        let is_needed = |pair: Pair| !self.left.contains(&(id, pair));
        let late: Vec<Option<Late>> = self
            .late
            .iter()
            .copied()
            .filter(|late| late.is_some_and(|late| is_needed(late.pair)))
            .collect();
        let mut late = LatePairs::new(&late, id);
        let platform = RefCell::new(platform);
        let mut pairs = lists.pairs(&platform);
        for side in Side::BOTH {
            let came = touching(&mut late, &live.plan.shape(), side, page.clone());
            if came.is_ok_and(|found| !found.is_empty()) {
                return Ok(true);
            }
            for index in touching(&mut pairs, &live.plan.shape(), side, page.clone())? {
                let pair = pairs.read(side, index)?;
                if !self.is_gone(id, pair) && is_needed(pair) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Leaves these pages to the guest, but for those that other versions have, or this one by another
    /// address.
    ///
    /// # Errors
    /// [`Failure`]: some stay guarded, until somebody writes there.
    pub fn unguard<P: Platform>(
        &mut self,
        platform: &mut P,
        mappings: &[Mapping],
    ) -> Result<(), Failure> {
        mappings.iter().for_each(|mapping| self.index.take(mapping));
        let mut pages: Vec<u64> = mappings.iter().map(|mapping| mapping.gpa).collect();
        pages.retain(|page| !self.index.is_guarded(*page));
        platform.guard(GuardKind::Carried, false, &pages)
    }

    /// A free place for a late pair: one that no pair has, or one of a version that has settled.
    pub fn free_late(&self) -> Option<usize> {
        let is_over = |late: &Late| self.versions.iter().all(|live| live.id != late.id);
        self.late.iter().position(|late| late.as_ref().is_none_or(is_over))
    }

    /// How many pairs a version has more than its lists.
    pub fn late_pairs(&self, id: VersionId) -> i32 {
        let late = self.late.iter().flatten().filter(|late| late.id == id);
        late.map(|late| match late.kind {
            LateKind::Came => 1,
            LateKind::Gone => -1,
            LateKind::Torn => 0,
        })
        .sum()
    }

    /// Forgets the pairs that came or went when both sides of a version lived before.
    ///
    /// # Errors
    /// [`SubjectError::Failed`]
    pub fn forget_late<P: Platform>(
        &mut self,
        platform: &mut P,
        id: VersionId,
    ) -> Result<(), SubjectError> {
        for (place, late) in self.late.iter_mut().enumerate() {
            if late.is_some_and(|late| late.id == id) {
                platform.retain_late(place, None)?;
                *late = None;
            }
        }
        Ok(())
    }

    /// The pages for copies of a processor.
    pub fn copies_of(&self, processor: u32) -> &[u64] {
        let mut copies = self.copies.chunks_exact(COPIES);
        copies.nth(processor as usize).unwrap_or_default()
    }

    /// The pages on which lists of guarded versions lie.
    pub fn sealed_pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.versions.iter().filter_map(|live| live.located.as_ref()).flat_map(Sealed::own_pages)
    }

    /// Ends every guard of the guest that nothing here asks for: those that a task had set that ended.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn sweep<P: Platform>(
        &mut self,
        platform: &mut P,
        space: AddressSpace,
    ) -> Result<(), Failure> {
        self.locate(platform, space)?;
        let upcalls = self.upcalls.map(|upcalls| upcall_pages(platform, space, upcalls));
        let (provided, copies) = upcalls.transpose()?.unwrap_or_default();
        let sealed: Vec<u64> = self.sealed_pages().chain(copies).collect();
        for (kind, kept) in [(GuardKind::Provided, provided), (GuardKind::Sealed, sealed)] {
            sweep(platform, kind, |page| kept.contains(&page))?;
        }
        sweep(platform, GuardKind::Carried, |page| self.index.is_guarded(page))
    }
}

/// Ends the guards of a kind, but for pages that are kept.
fn sweep<P: Platform>(
    platform: &mut P,
    kind: GuardKind,
    is_kept: impl Fn(u64) -> bool,
) -> Result<(), Failure> {
    let mut from = 0;
    loop {
        let mut pages = platform.guards(kind, from)?;
        let Some(last) = pages.last() else { return Ok(()) };
        from = last + PAGE;
        pages.retain(|page| !is_kept(*page));
        platform.guard(kind, false, &pages)?;
    }
}

/// The guest-physical pages of upcalls: those that are written in them, and those for copies.
///
/// # Errors
/// [`Failure`]
pub fn upcall_pages<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    upcalls: Upcalls,
) -> Result<(Vec<u64>, Vec<u64>), Failure> {
    use lucos_guest_interface::registration::UPCALL_PAGES;
    const WRITTEN: usize = 2;
    let length = u64::from(upcalls.processors) * UPCALL_PAGES * PAGE;
    let all = Located::find(platform, space, upcalls.pages, length)?;
    let (mut written, mut copies) = (Vec::new(), Vec::new());
    for pages in all.pages().chunks_exact(UPCALL_PAGES as usize) {
        let (first, rest) = pages.split_at(WRITTEN.min(pages.len()));
        written.extend_from_slice(first);
        copies.extend_from_slice(rest);
    }
    Ok((written, copies))
}

/// The page with this address.
pub const fn page_of(gpa: u64) -> u64 {
    gpa & !(PAGE - 1)
}
