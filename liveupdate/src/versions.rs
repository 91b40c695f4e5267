//! What is made ready for data that a transaction moves, before the guest is stopped, and what is put
//! away behind it.
//!
//! The lists are sealed and checked, and every page that they name is looked at: what is found wrong in
//! the stop could not be undone with the same lists. The stage becomes writable for upcalls alone.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cell::RefCell;

use lucos_data_versions::pages::{PAGES_MAX, REGION, REGIONS_MAX, TooManyPages};
use lucos_data_versions::pairs::find_overlap;
use lucos_data_versions::write::TRIES_MAX;
use lucos_data_versions::{Shape, SharedField, Side};
use lucos_guest_interface::call::DATA_ITEMS;
use lucos_guest_interface::descriptor::{DATA_CLEAR_ONLY, DATA_LOSSY, DataVersion, Descriptor};
use lucos_guest_interface::registration::UPCALL_PAGES;
use lucos_guest_interface::rollback::RollbackVersion;
use lucos_guest_interface::{ErrorCode, Fault, Part};
use lucos_service::GuardKind;
use lucos_service::client::Failure;
use lucos_transaction::patch::Name;
use lucos_transaction::version::{Kind, Lists, SHARED_MAX};
use lucos_transaction::{Engine, Store, VersionPlan};

use crate::coherence::{MAPPINGS_MAX, page_of};
use crate::guest::Guest;
use crate::lists::{Located, Sealed, list_fault};
use crate::platform::Platform;
use crate::update::UPDATES;

/// What was made ready for one version.
#[derive(Debug)]
pub struct Prepared {
    plan: VersionPlan,
    /// Its lists.
    pub sealed: Option<Sealed>,
    /// The guest-physical and the guest-virtual addresses of the pages that are to be guarded.
    data: Vec<(u64, u64)>,
    /// The guest-physical addresses of the stage.
    stage: Vec<u64>,
}

/// The plan of a version, of which the descriptor says everything.
///
/// # Errors
/// `SectionCount`: more shared fields than LUCOS remembers of one version.
pub fn plan(
    descriptor: &Descriptor<'_>,
    version: &DataVersion,
    item: u32,
) -> Result<VersionPlan, Fault> {
    let record = version.record();
    let too_many = Fault::at(ErrorCode::SectionCount, item, SHARED_MAX as u64);
    let mut shared = heapless::Vec::new();
    for field in descriptor.shared_fields(version) {
        let field = SharedField {
            object_offset: field.old_offset,
            twin_offset: field.new_offset,
            size: field.size,
        };
        shared.push(field).map_err(|_| too_many)?;
    }
    Ok(VersionPlan {
        kind: Kind {
            name: Name::try_from(version.name()).map_err(|_| Part::Liveupdate.fault(item))?,
            object_size: record.object_size,
            twin_size: record.twin_size,
            to_new: record.to_new,
            to_old: record.to_old,
            flags: record.flags,
            shared,
        },
        lists: Lists {
            by_object: record.pairs_by_object,
            by_twin: record.pairs_by_twin,
            pairs: record.pair_count,
            pages: record.pages,
            page_count: record.page_count,
            stage: record.stage,
            stage_step: record.stage_step,
        },
    })
}

/// The lists that a rollback record names for a version.
pub const fn lists_of(version: &RollbackVersion) -> Lists {
    Lists {
        by_object: version.pairs_by_object,
        by_twin: version.pairs_by_twin,
        pairs: version.pair_count,
        pages: version.pages,
        page_count: version.page_count,
        stage: version.stage,
        stage_step: version.stage_step,
    }
}

/// Whether a version is only ever moved when nobody is inside.
pub const fn is_clear_only(plan: &VersionPlan) -> bool {
    plan.kind.flags & (DATA_CLEAR_ONLY | DATA_LOSSY) != 0
}

impl<P: Platform> Guest<'_, P> {
    /// Makes everything ready to move the data of versions of one patch, so that both sides live
    /// afterwards, or, when `clear`, one.
    ///
    /// # Errors
    /// `UpcallMissing`, `TooManyPages`, `Address`; `DataOverlap` for a stage that is used otherwise;
    /// what is wrong with the lists; `DataOwned` and `NotSettled` where other data lies.
    pub fn prepare(&mut self, plans: &[VersionPlan], clear: bool) -> Result<(), Fault> {
        for (item, plan) in (DATA_ITEMS..).zip(plans).filter(|(_, plan)| plan.lists.pairs > 0) {
            let processor = self.platform.processor();
            let upcalls = self.coherence.lock(self.platform).upcalls;
            if upcalls.is_none_or(|upcalls| processor >= upcalls.processors) {
                return Err(Fault::at(ErrorCode::UpcallMissing, item, processor.into()));
            }
            let (data, stage) = (Vec::new(), Vec::new());
            let mut prepared = Prepared { plan: plan.clone(), sealed: None, data, stage };
            let ready = self.make_ready(&mut prepared, clear, item);
            // Also what is half ready has to be put away.
            self.prepared.push(prepared);
            ready?;
            self.has_room(item)?;
        }
        Ok(())
    }

    fn make_ready(&mut self, prepared: &mut Prepared, clear: bool, item: u32) -> Result<(), Fault> {
        let Lists { stage, stage_step, pairs, .. } = prepared.plan.lists;
        let length = u64::from(pairs) * u64::from(stage_step);
        let at_stage = |failure| list_fault(failure, stage, item);
        let located = Located::find(self.platform, self.space, stage, length).map_err(at_stage)?;
        let data = self.seal(prepared, item)?;
        if data.iter().any(|(gpa, _)| located.pages().contains(&page_of(*gpa))) {
            return Err(Fault::at(ErrorCode::DataOverlap, item, stage));
        }
        if !clear {
            prepared.data = data;
        }
        self.platform.guard(GuardKind::Provided, true, located.pages()).map_err(|failure| {
            // Some may be.
            let _ = self.platform.guard(GuardKind::Provided, false, located.pages());
            at_stage(failure)
        })?;
        prepared.stage = located.pages().to_vec();
        Ok(())
    }

    /// Seals the lists and checks them. Returns the pages that they name.
    fn seal(&mut self, prepared: &mut Prepared, item: u32) -> Result<Vec<(u64, u64)>, Fault> {
        let lists = prepared.plan.lists;
        let found = Sealed::find(self.platform, self.space, lists);
        let found = found.map_err(|failure| list_fault(failure, lists.by_object, item))?;
        let pages: Vec<u64> = found.own_pages().collect();
        let sealed = prepared.sealed.insert(found);
        let guarded = self.platform.guard(GuardKind::Sealed, true, &pages);
        guarded.map_err(|failure| list_fault(failure, lists.by_object, item))?;
        sealed.check(self.platform, &prepared.plan.shape(), item)?;
        let data = sealed.find_data(self.platform, self.space);
        let data = data.map_err(|(failure, address)| list_fault(failure, address, item))?;
        let mut state = self.coherence.lock(self.platform);
        let located = state.locate(self.platform, self.space);
        located.map_err(|failure| list_fault(failure, 0, item))?;
        let platform = RefCell::new(&mut *self.platform);
        let one = (&*sealed, prepared.plan.shape());
        for live in &state.versions {
            let Some(other) = &live.located else { continue };
            apart(&platform, one, (other, live.plan.shape()), item)?;
        }
        for earlier in &self.prepared {
            let Some(other) = &earlier.sealed else { continue };
            apart(&platform, one, (other, earlier.plan.shape()), item)?;
        }
        Ok(data)
    }

    /// Whether everything that was made ready can be guarded, besides what is.
    fn has_room(&mut self, item: u32) -> Result<(), Fault> {
        let state = self.coherence.lock(self.platform);
        let upcalls = state.upcalls.map_or(0, |upcalls| upcalls.processors as usize);
        let mut mappings = state.index.count();
        let mut pages: BTreeSet<u64> = state.index.guarded().chain(state.sealed_pages()).collect();
        for prepared in &self.prepared {
            mappings += prepared.data.len();
            pages.extend(prepared.data.iter().map(|(gpa, _)| page_of(*gpa)));
            pages.extend(prepared.sealed.iter().flat_map(Sealed::own_pages));
            pages.extend(&prepared.stage);
        }
        let regions: BTreeSet<u64> = pages.iter().map(|page| page / REGION).collect();
        // Upcalls have pages too, and the mailbox has one.
        let others = upcalls * UPCALL_PAGES as usize + 1;
        let fits = pages.len() + others <= PAGES_MAX
            && regions.len() <= REGIONS_MAX
            && mappings <= MAPPINGS_MAX;
        if !fits {
            return Err(Fault { item, ..TooManyPages.fault() });
        }
        Ok(())
    }

    /// Gives back to the guest what was made ready for this call: the stages, and the lists of versions
    /// of which not both sides live. What is left half done still needs them. `result` is what came of
    /// the call.
    pub fn put_away<S: Store, T>(&mut self, engine: &mut Engine<S>, result: &Result<T, Fault>) {
        if result.as_ref().err().is_none_or(|fault| fault.code != ErrorCode::Busy) {
            self.coherence.lock(self.platform).asked_again = 0;
        }
        if self.prepared.is_empty() {
            return;
        }
        // Behind a call that is done only bytes of the journal are left to be written, for which nobody
        // looks at lists. What a call that failed has left half done needs them, and the guest uses their
        // pages for something else as soon as it has the answer: so it is mended before that.
        let is_needed = engine.is_unfinished() && result.is_err();
        if is_needed && !(0..TRIES_MAX).any(|_| engine.recover(self).is_ok()) {
            return;
        }
        let prepared = core::mem::take(&mut self.prepared);
        let mut state = self.coherence.lock(self.platform);
        let mut released = Ok(());
        for Prepared { sealed, stage, .. } in &prepared {
            let used: Vec<u64> = state.sealed_pages().collect();
            let lists = sealed.iter().flat_map(Sealed::own_pages);
            let lists: Vec<u64> = lists.filter(|page| !used.contains(page)).collect();
            for (kind, pages) in [(GuardKind::Provided, stage), (GuardKind::Sealed, &lists)] {
                released = released.and(give_back(self.platform, kind, pages));
            }
        }
        state.is_unswept |= released.is_err();
        drop(state);
        if let Err(failure) = released {
            self.report(&UPDATES, format_args!("lists stay sealed: {failure}"));
        }
    }

    /// Mends what is left half done, and ends every guard that nothing asks for any more, if there may
    /// be one.
    ///
    /// # Errors
    /// Those of [`Engine::recover`].
    pub fn recover<S: Store>(&mut self, engine: &mut Engine<S>) -> Result<(), Fault> {
        if engine.is_unfinished() {
            engine.recover(self)?;
        } else if !self.coherence.lock(self.platform).is_unswept {
            return Ok(());
        }
        let mut state = self.coherence.lock(self.platform);
        let swept = state.sweep(self.platform, self.space);
        state.is_unswept = swept.is_err();
        drop(state);
        if let Err(failure) = swept {
            self.report(&UPDATES, format_args!("pages stay guarded: {failure}"));
        }
        Ok(())
    }
}

/// Gives pages back, which the guest is going to use for something else: it is tried more than once.
fn give_back<P: Platform>(platform: &mut P, kind: GuardKind, pages: &[u64]) -> Result<(), Failure> {
    for _ in 1..TRIES_MAX {
        if platform.guard(kind, false, pages).is_ok() {
            return Ok(());
        }
    }
    platform.guard(kind, false, pages)
}

/// Checks that the pairs of a version have no byte in common with those of one that is guarded, or is
/// to be.
fn apart<P: Platform>(
    platform: &RefCell<&mut P>,
    (one, shape): (&Sealed, Shape<'_>),
    (other, other_shape): (&Sealed, Shape<'_>),
    item: u32,
) -> Result<(), Fault> {
    for (side, other_side, code) in [
        (Side::Object, Side::Object, ErrorCode::DataOwned),
        (Side::Object, Side::Twin, ErrorCode::NotSettled),
        (Side::Twin, Side::Object, ErrorCode::PairsOverlap),
        (Side::Twin, Side::Twin, ErrorCode::PairsOverlap),
    ] {
        let mut pairs = one.pairs(platform);
        let mut others = other.pairs(platform);
        let found =
            find_overlap((&mut pairs, &shape, side), (&mut others, &other_shape, other_side));
        let found: Option<[u32; 2]> =
            found.map_err(|failure: Failure| list_fault(failure, 0, item))?;
        if let Some([index, _]) = found {
            let list = side as u64;
            return Err(Fault::at(code, item, list << 32 | u64::from(index)));
        }
    }
    Ok(())
}
