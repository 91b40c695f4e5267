//! Taking updates back.

use alloc::vec::Vec;

use lucos_data_versions::state::Request;
use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{ErrorCode, Fault, Part};

use super::data::not_settling;
use super::{Engine, at_item, data_item, item, stopped, value_item, values};
use crate::journal::{GROUP_MAX, Store};
use crate::patch::{Code, Function, Patch, PatchState, SiteState};
use crate::subject::{Difference, Place, Subject};
use crate::version::Lists;

/// How a patch is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Whoever is inside new code: its data is guarded until it has drained.
    Guarded,
    /// Only when nobody is inside new code; nothing is guarded then.
    Clear,
    /// Whoever is inside, for a patch that does harm. Data of which both sides live is left to old code
    /// at once: what new code that is still inside writes is lost.
    Withdraw,
}

impl Way {
    const fn request(self) -> Request {
        match self {
            Self::Guarded => Request::Rollback { clear: false },
            Self::Clear => Request::Rollback { clear: true },
            Self::Withdraw => Request::Withdraw,
        }
    }
}

/// What is to be taken back, and how.
#[derive(Clone, Copy, Debug)]
pub struct Rollback<'a> {
    /// The number of the patch.
    pub number: u32,
    /// Who may be inside new code.
    pub way: Way,
    /// For every version of the patch its lists as they are now; only those of versions of which the
    /// twins alone live are looked at.
    pub lists: &'a [Lists],
}

impl Rollback<'_> {
    /// The rollback of a patch of which no data has to be moved, whoever is inside.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        Self { number, way: Way::Guarded, lists: &[] }
    }
}

impl<S: Store> Engine<S> {
    /// Takes updates back in one step, all or none, in this order: afterwards a call of each old
    /// function runs the old one again, or what the update below made of it, and so for each value.
    /// Returns the number of values that are not the new ones any more: they stay as they are.
    ///
    /// The first call after a restart may be the one that was served when the task ended: then
    /// patches that are rolled back are the answer to it.
    ///
    /// # Errors
    /// Any error leaves the guest's memory as it was.
    /// * `UnknownPatch`, `NotApplied` (detail: the number)
    /// * `DependencyInUse`: a patch that needs one of these is in force (detail: its number)
    /// * `NotSettled`: both sides of the data of a patch that needed one of these still live (detail:
    ///   its number)
    /// * `Occupied`: somebody is inside new code, and the rollback is to be clear only
    /// * `Unsupported`: one of several patches has data versions: what stands on its data would have
    ///   to go first, and all of it be known before
    /// * `RollbackRecord`: the lists of a version are missing
    /// * whatever a transfer function is ended for, at its version
    /// * `Stacked`: a later patch stands on a function or value (detail: its number)
    /// * `SiteChanged`: somebody overwrote a redirection (detail: the address)
    /// * `Deadline`, `Busy`, `Address`, `Internal`: the subject's
    pub fn rollback<M: Subject>(
        &mut self,
        subject: &mut M,
        rollbacks: &[Rollback<'_>],
    ) -> Result<usize, Fault> {
        let numbers: Vec<u32> = rollbacks.iter().map(|rollback| rollback.number).collect();
        let mended = self.recover(subject);
        let is_back = |number: &u32| {
            let position = self.position(*number).ok();
            let known = position.and_then(|position| self.patches.get(position));
            known.is_some_and(|patch| patch.state == PatchState::RolledBack)
        };
        if self.repeated && numbers.iter().all(is_back) {
            // It is done, also when something else cannot be mended yet.
            self.repeated = false;
            return Ok(self.left_over(&numbers));
        }
        mended?;
        self.repeated = false;
        let positions = self.leaving(&numbers)?;
        for (&position, rollback) in positions.iter().zip(rollbacks) {
            self.take_lists(position, rollback.lists)?;
        }
        let ways: Vec<Way> = rollbacks.iter().map(|rollback| rollback.way).collect();
        let sequences: Vec<u64> = positions.iter().map(|_| self.next_sequence()).collect();
        self.head.leaving.clear();
        // Numbers that are skipped do no harm.
        self.journal.write_head(&mut self.head)?;
        let ((), ticks) = stopped(subject, |subject| self.take_out(subject, &positions, &ways))?;
        for (&position, sequence) in positions.iter().zip(sequences) {
            if let Some(patch) = self.patches.get_mut(position) {
                patch.times.rollback = ticks;
                patch.times.sequence = sequence;
                // Only figures.
                let _ = self.journal.write_times(patch.slot, &patch.times);
            }
        }
        Ok(self.left_over(&numbers))
    }

    /// Checks everything about a rollback that does not need the guest.
    ///
    /// # Errors
    /// What [`Engine::rollback`] would answer before it stops the guest.
    pub fn check_rollback(&self, numbers: &[u32]) -> Result<(), Fault> {
        self.leaving(numbers).map(|_| ())
    }

    /// Values that stay as somebody else has changed them.
    fn left_over(&self, numbers: &[u32]) -> usize {
        let gone = self.patches.iter().filter(|patch| numbers.contains(&patch.number));
        gone.map(|patch| values::left_over(patch).count()).sum()
    }

    /// The positions of patches that can be rolled back in this order.
    fn leaving(&self, numbers: &[u32]) -> Result<Vec<usize>, Fault> {
        if numbers.is_empty() || numbers.len() > GROUP_MAX {
            return Err(Part::Liveupdate.fault(NO_ITEM));
        }
        let mut positions = Vec::with_capacity(numbers.len());
        for (index, &number) in numbers.iter().enumerate() {
            let of_member = |fault: Fault| fault.of_member(item(index));
            let gone = numbers.get(..index).unwrap_or_default();
            let position = self.leave(number, gone).map_err(of_member)?;
            let patch = self.patches.get(position);
            if numbers.len() > 1 && patch.is_some_and(|patch| !patch.versions.is_empty()) {
                return Err(of_member(Fault::at(ErrorCode::Unsupported, data_item(0), 0)));
            }
            positions.push(position);
        }
        Ok(positions)
    }

    /// The position of a patch that can be rolled back when `gone` are.
    fn leave(&self, number: u32, gone: &[u32]) -> Result<usize, Fault> {
        let position = self.applied_position(number)?;
        let unknown = Fault::new(ErrorCode::UnknownPatch, number.into());
        let patch = self.patches.get(position).ok_or(unknown)?;
        let stays = |other: u32| !gone.contains(&other);
        let needs = |other: &&Patch| {
            other.is_in_memory() && stays(other.number) && other.dependencies.contains(&number)
        };
        if let Some(other) = self.patches.iter().find(needs) {
            return Err(Fault::new(ErrorCode::DependencyInUse, other.number.into()));
        }
        let mut needed = self.patches.iter().filter(|other| other.dependencies.contains(&number));
        needed.try_for_each(not_settling)?;
        let functions =
            patch.functions.iter().enumerate().map(|(index, function)| {
                (item(index), self.covered_by(number, function.plan.site))
            });
        let values =
            patch.values.iter().enumerate().map(|(index, value)| {
                (value_item(index), self.value_covered_by(number, &value.plan))
            });
        for (item, top) in functions.chain(values) {
            if let Some(top) = top.filter(|&top| stays(top)) {
                return Err(Fault::at(ErrorCode::Stacked, item, top.into()));
            }
        }
        Ok(position)
    }

    /// Puts everything back that these patches changed. In a stop.
    fn take_out<M: Subject>(
        &mut self,
        subject: &mut M,
        positions: &[usize],
        ways: &[Way],
    ) -> Result<(), Fault> {
        let steps = self.leaving_steps(positions);
        for step in &steps {
            verify_ours(subject, step)?;
        }
        self.judge_leaving_values(subject, positions)?;
        // With data there is one patch only.
        for (&position, way) in positions.iter().zip(ways) {
            self.stage(subject, position, way.request())?;
        }
        // From here on a crash is mended by completing the rollback.
        if let Err(fault) = self.note_leaving(positions) {
            positions.iter().for_each(|&position| self.forget_move(subject, position));
            return Err(fault);
        }
        let uncovers_trap = steps.iter().flat_map(|step| &step.sites);
        let mut originals = uncovers_trap.map(|site| site.original.first());
        let intercepted = match originals.any(|first| first == Some(&self.trap)) {
            true => self.intercept(subject, true),
            false => Ok(()),
        };
        let done = intercepted
            .and_then(|()| positions.iter().try_for_each(|&at| self.move_data(subject, at)))
            .and_then(|()| steps.iter().try_for_each(|step| self.put(subject, step, Back::Old)))
            .and_then(|()| positions.iter().try_for_each(|&at| self.leave_settled(subject, at)))
            .and_then(|()| {
                steps
                    .iter()
                    .try_for_each(|step| self.journal.set_patch(step.slot, PatchState::RolledBack))
            });
        if let Err(fault) = done {
            self.put_back(subject, &steps);
            return Err(fault);
        }
        for &position in positions {
            self.note_rolled_back(subject, position);
        }
        Ok(())
    }

    fn leaving_steps(&self, positions: &[usize]) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::with_capacity(positions.len());
        for &position in positions {
            let Some(patch) = self.patches.get(position) else {
                continue;
            };
            let sites = patch.functions.iter().map(|function| Site::of(function, self.trap));
            let sites: Vec<Site> = sites.collect();
            // What stands on a site of the same step had found what it will find again.
            let is_top = |site: &Site| {
                let mut earlier = steps.iter().flat_map(|step| &step.sites);
                earlier.all(|other| other.address != site.address)
            };
            let top = sites.iter().map(is_top).collect();
            steps.push(Step { position, slot: patch.slot, sites, top });
        }
        steps
    }

    /// Says in the journal that these patches are being rolled back, in one step.
    fn note_leaving(&mut self, positions: &[usize]) -> Result<(), Fault> {
        let patches = positions.iter().filter_map(|&position| self.patches.get(position));
        if let ([_], Some(patch)) = (positions, patches.clone().next()) {
            return self.journal.set_patch(patch.slot, PatchState::RollingBack);
        }
        let mut head = self.head.clone();
        head.leaving = patches.map(|patch| patch.number).collect();
        self.journal.write_head(&mut head)?;
        self.head = head;
        Ok(())
    }

    /// Writes what was there before, or what is the patch's.
    fn put<M: Subject>(&self, subject: &mut M, step: &Step, back: Back) -> Result<(), Fault> {
        let patch = self.patches.get(step.position).ok_or(Part::Liveupdate.fault(NO_ITEM))?;
        let (side, bytes): (_, fn(&Site) -> &Code) = match back {
            Back::Old => (values::OLD, |site| &site.original),
            Back::New => (values::NEW, |site| &site.ours),
        };
        if !step.sites.is_empty() {
            subject.write(&places(step.sites.iter(), bytes)).map_err(at_item)?;
        }
        values::write(subject, patch, side)
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
        self.settle_data(position);
        self.intercept_if_needed(subject);
    }

    /// Undoes a rollback that failed, in the stop in which it was tried.
    fn put_back<M: Subject>(&mut self, subject: &mut M, steps: &[Step]) {
        let mut later_first = steps.iter().rev();
        let written = later_first.try_for_each(|step| {
            self.put(subject, step, Back::New)?;
            self.move_data_back(subject, step.position)
        });
        let noted = written.and_then(|()| self.note_staying(steps));
        if noted.is_ok() {
            steps.iter().for_each(|step| self.forget_move(subject, step.position));
        } else {
            // The journal says that they are being rolled back; `recover` completes that.
            self.unfinished = true;
            for step in steps {
                if let Some(patch) = self.patches.get_mut(step.position) {
                    patch.state = PatchState::RollingBack;
                }
            }
        }
        self.intercept_if_needed(subject);
    }

    /// Says in the journal that these patches are in force after all.
    fn note_staying(&mut self, steps: &[Step]) -> Result<(), Fault> {
        for step in steps {
            self.journal.set_patch(step.slot, PatchState::Applied)?;
        }
        if self.head.leaving.is_empty() {
            return Ok(());
        }
        let mut head = self.head.clone();
        head.leaving.clear();
        self.journal.write_head(&mut head)?;
        self.head = head;
        Ok(())
    }
}

/// Which bytes are written.
#[derive(Clone, Copy)]
enum Back {
    Old,
    New,
}

/// What a rollback does for one of its patches.
struct Step {
    position: usize,
    slot: usize,
    sites: Vec<Site>,
    /// Which sites nothing of the same rollback stands on.
    top: Vec<bool>,
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

fn places<'a>(
    sites: impl Iterator<Item = &'a Site>,
    bytes: impl Fn(&Site) -> &Code,
) -> Vec<Place<'a>> {
    sites.map(|site| Place { address: site.address, bytes: bytes(site) }).collect()
}

/// Checks that a patch's redirections stand where nothing else of the same rollback covers them.
fn verify_ours<M: Subject>(subject: &mut M, step: &Step) -> Result<(), Fault> {
    let sites = step.sites.iter().zip(&step.top).enumerate();
    let top: Vec<(usize, &Site)> =
        sites.filter(|(_, (_, is_top))| **is_top).map(|(index, (site, _))| (index, site)).collect();
    if top.is_empty() {
        return Ok(());
    }
    let ours = places(top.iter().map(|(_, site)| *site), |site| &site.ours);
    let Some(Difference { place, offset }) = subject.compare(&ours).map_err(at_item)? else {
        return Ok(());
    };
    let (index, address) =
        top.get(place).map_or((place, 0), |(index, site)| (*index, site.address));
    Err(Fault::at(ErrorCode::SiteChanged, item(index), address.saturating_add(offset as u64)))
}
