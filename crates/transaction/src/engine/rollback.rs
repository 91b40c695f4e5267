//! Taking an update back.

use alloc::vec::Vec;

use lucos_data_versions::state::Request;
use lucos_guest_interface::{ErrorCode, Fault};

use super::data::not_settling;
use super::{Engine, at_item, item, stopped};
use crate::journal::Store;
use crate::patch::{Code, Function, Patch, PatchState, SiteState};
use crate::subject::{Difference, Place, Subject};
use crate::version::Lists;

/// What is to be taken back, and how.
#[derive(Clone, Copy, Debug)]
pub struct Rollback<'a> {
    /// The number of the patch.
    pub number: u32,
    /// Only when nobody is inside new code; nothing is guarded then.
    pub clear_only: bool,
    /// For every version of the patch its lists as they are now; only those of versions of which the
    /// twins alone live are looked at.
    pub lists: &'a [Lists],
}

impl Rollback<'_> {
    /// The rollback of a patch of which no data has to be moved, whoever is inside.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        Self { number, clear_only: false, lists: &[] }
    }
}

impl<S: Store> Engine<S> {
    /// Takes an update back: afterwards a call of each old function runs the old one again, or what
    /// the update below made of it.
    ///
    /// The first call after a restart may be the one that was served when the task ended: then a
    /// patch that is rolled back is the answer to it.
    ///
    /// # Errors
    /// Any error leaves the guest's memory as it was.
    /// * `UnknownPatch`, `NotApplied`
    /// * `DependencyInUse`: a patch that needs this one is in force (detail: its number)
    /// * `NotSettled`: both sides of the data of a patch that needed this one still live (detail: its
    ///   number)
    /// * `Occupied`: somebody is inside new code, and the rollback is to be clear only
    /// * `RollbackRecord`: the lists of a version are missing
    /// * whatever a transfer function is ended for, at its version
    /// * `Stacked`: a later patch stands on a function (detail: its number)
    /// * `SiteChanged`: somebody overwrote a redirection (detail: the address)
    /// * `Deadline`, `Busy`, `Address`, `Internal`: the subject's
    pub fn rollback<M: Subject>(
        &mut self,
        subject: &mut M,
        rollback: &Rollback<'_>,
    ) -> Result<(), Fault> {
        let Rollback { number, clear_only, lists } = *rollback;
        self.recover(subject)?;
        let repeated = core::mem::take(&mut self.repeated);
        let known = self.position(number).ok().and_then(|position| self.patches.get(position));
        if repeated && known.is_some_and(|patch| patch.state == PatchState::RolledBack) {
            return Ok(());
        }
        let position = self.applied_position(number)?;
        self.check_rollback(position)?;
        self.take_lists(position, lists)?;
        let request = Request::Rollback { clear: clear_only };
        let sequence = self.next_sequence();
        // A number that is skipped does no harm.
        self.journal.write_head(&mut self.head)?;
        let ((), ticks) = stopped(subject, |subject| self.restore(subject, position, request))?;
        if let Some(patch) = self.patches.get_mut(position) {
            patch.times.rollback = ticks;
            patch.times.sequence = sequence;
            // Only figures.
            let _ = self.journal.write_times(patch.slot, &patch.times);
        }
        Ok(())
    }

    fn check_rollback(&self, position: usize) -> Result<(), Fault> {
        let Some(patch) = self.patches.get(position) else {
            return Err(Fault::new(ErrorCode::UnknownPatch, 0));
        };
        let needs =
            |other: &&Patch| other.is_in_memory() && other.dependencies.contains(&patch.number);
        if let Some(other) = self.patches.iter().find(needs) {
            let number = other.number.into();
            return Err(Fault::new(ErrorCode::DependencyInUse, number));
        }
        let mut needed =
            self.patches.iter().filter(|other| other.dependencies.contains(&patch.number));
        needed.try_for_each(not_settling)?;
        for (index, function) in patch.functions.iter().enumerate() {
            if let Some(top) = self.covered_by(patch.number, function.plan.site) {
                return Err(Fault::at(ErrorCode::Stacked, item(index), top.into()));
            }
        }
        Ok(())
    }

    /// Puts the old bytes back. In a stop.
    fn restore<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
        request: Request,
    ) -> Result<(), Fault> {
        let unknown = Fault::new(ErrorCode::UnknownPatch, 0);
        let patch = self.patches.get(position).ok_or(unknown)?;
        let slot = patch.slot;
        let sites: Vec<Site> =
            patch.functions.iter().map(|function| Site::of(function, self.trap)).collect();
        let uncovers_trap =
            patch.functions.iter().any(|function| function.plan.found.first() == Some(&self.trap));
        verify_ours(subject, &sites)?;
        self.stage(subject, position, request)?;
        // From here on a crash is mended by completing the rollback.
        let begun = self.journal.set_patch(slot, PatchState::RollingBack);
        if let Err(fault) = begun {
            self.forget_move(subject, position);
            return Err(fault);
        }
        let intercepted = match uncovers_trap {
            true => self.intercept(subject, true),
            false => Ok(()),
        };
        let done = intercepted
            .and_then(|()| self.move_data(subject, position))
            .and_then(|()| subject.write(&places(&sites, |site| &site.original)).map_err(at_item))
            .and_then(|()| self.journal.set_patch(slot, PatchState::RolledBack));
        if let Err(fault) = done {
            self.put_back(subject, position, &sites);
            return Err(fault);
        }
        self.note_rolled_back(subject, position);
        Ok(())
    }

    /// Everything that follows once the old bytes are back and the journal says so.
    pub(super) fn note_rolled_back<M: Subject>(&mut self, subject: &mut M, position: usize) {
        let mut sites = Vec::new();
        if let Some(patch) = self.patches.get_mut(position) {
            patch.state = PatchState::RolledBack;
            for function in &mut patch.functions {
                function.state = SiteState::Original;
                sites.push(function.plan.site);
            }
        }
        for site in sites {
            self.publish(subject, site, false);
        }
        self.settle_data(subject, position);
        self.intercept_if_needed(subject);
    }

    /// Undoes a rollback that failed, in the stop in which it was tried.
    fn put_back<M: Subject>(&mut self, subject: &mut M, position: usize, sites: &[Site]) {
        let Some(slot) = self.patches.get(position).map(|patch| patch.slot) else {
            return;
        };
        let clean = subject.write(&places(sites, |site| &site.ours)).is_ok()
            && self.move_data_back(subject, position).is_ok()
            && self.journal.set_patch(slot, PatchState::Applied).is_ok();
        if clean {
            self.forget_move(subject, position);
        } else {
            // The journal says that it is being rolled back; `recover` completes that.
            self.unfinished = true;
            if let Some(patch) = self.patches.get_mut(position) {
                patch.state = PatchState::RollingBack;
            }
        }
        self.intercept_if_needed(subject);
    }
}

/// What a rollback does at a site.
pub(super) struct Site {
    address: u64,
    /// The bytes that it writes.
    original: Code,
    /// Those that are ours there.
    ours: Code,
}

impl Site {
    /// The site of a function, with this byte as the trap.
    pub(super) fn of(function: &Function, trap: u8) -> Self {
        let address = function.plan.site;
        let mut original = function.plan.found.clone();
        let ours = match function.state {
            SiteState::Jump => function.plan.jump.clone(),
            // Behind the trap's one byte the code is the guest's own business.
            SiteState::Original | SiteState::Trap | SiteState::Jumping => {
                original.truncate(1);
                [trap].into_iter().collect()
            }
        };
        Self { address, original, ours }
    }

    /// Whether what is ours is in memory.
    pub(super) fn stands<M: Subject>(&self, subject: &mut M) -> bool {
        subject.compare(&[Place { address: self.address, bytes: &self.ours }]) == Ok(None)
    }
}

fn places(sites: &[Site], bytes: impl Fn(&Site) -> &Code) -> Vec<Place<'_>> {
    sites.iter().map(|site| Place { address: site.address, bytes: bytes(site) }).collect()
}

fn verify_ours<M: Subject>(subject: &mut M, sites: &[Site]) -> Result<(), Fault> {
    let ours = places(sites, |site| &site.ours);
    let Some(Difference { place, offset }) = subject.compare(&ours).map_err(at_item)? else {
        return Ok(());
    };
    let address = sites.get(place).map_or(0, |site| site.address);
    Err(Fault::at(ErrorCode::SiteChanged, item(place), address.saturating_add(offset as u64)))
}
