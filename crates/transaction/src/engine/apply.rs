//! Applying an update.

use alloc::vec::Vec;

use lucos_data_versions::StateByte;
use lucos_data_versions::state::Request;
use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{ErrorCode, Fault, Part};

use super::data::not_settling;
use super::{Engine, at_item, general, item, stopped, write_one};
use crate::journal::Store;
use crate::patch::{
    DEPENDENCIES_MAX, FUNCTIONS_MAX, Function, FunctionPlan, Name, Patch, PatchState, Plan,
    SiteState, Times,
};
use crate::subject::{Difference, Place, Subject};
use crate::version::{VERSIONS_MAX, Version, VersionPlan};

impl<S: Store> Engine<S> {
    /// Checks everything about `plan` that does not need the guest.
    ///
    /// # Errors
    /// What [`Engine::apply`] would answer: `AlreadyApplied`, `DependencyMissing`, `SiteOwned`,
    /// `JournalFull`.
    pub fn check(&self, plan: &Plan<'_>) -> Result<(), Fault> {
        self.prepare(plan).map(|_| ())
    }

    /// Applies an update: afterwards a call of each old function runs the new one. Returns the
    /// number of the patch.
    ///
    /// The first call after a restart may be the one that was served when the task ended: then the
    /// patch is in force, and its number is the answer.
    ///
    /// # Errors
    /// Any error leaves the guest's memory as it was.
    /// * `AlreadyApplied`: a patch of this name is in force (detail: its number)
    /// * `DependencyMissing`: at the dependency
    /// * `SiteOwned`: another patch redirects the function at another place (detail: its number)
    /// * `NotSettled`: the data of a patch that this one needs, or of one of its name that was rolled
    ///   back, has two live sides (detail: its number)
    /// * `JournalFull`
    /// * `Occupied`: somebody is inside old code, and the update is to be clear only
    /// * whatever a transfer function is ended for, at its version
    /// * `SiteForeign`: the bytes at a site are not those that were found when it was checked
    ///   (detail: the address of the first one)
    /// * `Deadline`, `Busy`, `Address`, `Internal`: the subject's
    pub fn apply<M: Subject>(&mut self, subject: &mut M, plan: &Plan<'_>) -> Result<u32, Fault> {
        self.recover(subject)?;
        let repeated = core::mem::take(&mut self.repeated);
        if let Some(number) = self.done_before(plan).filter(|_| repeated) {
            return Ok(number);
        }
        let (evicted, mut patch) = self.prepare(plan)?;
        for number in evicted {
            self.forget(number)?;
        }
        patch.times.sequence = self.next_sequence();
        self.head.last_number = patch.number;
        self.journal.write_head(&mut self.head)?;
        self.journal.write_patch(&patch)?;
        // From here on a crash is mended by taking the traps back.
        self.journal.set_patch(patch.slot, PatchState::Applying)?;
        patch.state = PatchState::Applying;
        let number = patch.number;
        self.patches.push(patch);

        let request = Request::Apply { clear: plan.clear_only };
        let result = stopped(subject, |subject| self.commit(subject, request));
        let ticks = match result {
            Ok(((), ticks)) => ticks,
            Err(fault) => {
                self.abandon_last();
                return Err(fault);
            }
        };
        if let Some(patch) = self.patches.last_mut() {
            patch.times.apply = ticks;
            // Only a figure.
            let _ = self.journal.write_times(patch.slot, &patch.times);
        }
        Ok(number)
    }

    /// The number of the last patch, if it is in force and does what `plan` asks for.
    fn done_before(&self, plan: &Plan<'_>) -> Option<u32> {
        let last = self.patches.last()?;
        let places = |function: &FunctionPlan| (function.site, function.new_entry);
        let done = last.functions.iter().map(|function| places(&function.plan));
        let same = last.state == PatchState::Applied
            && last.number == self.head.last_number
            && last.name == plan.name
            && done.eq(plan.functions.iter().map(places));
        same.then_some(last.number)
    }

    /// The patch for a plan, and the rolled back patches that have to make room for it.
    fn prepare(&self, plan: &Plan<'_>) -> Result<(Vec<u32>, Patch), Fault> {
        let applied = |name: &str| {
            self.patches.iter().find(|patch| patch.is_in_memory() && patch.name == name)
        };
        if let Some(patch) = applied(plan.name) {
            let number = patch.number.into();
            return Err(Fault::new(ErrorCode::AlreadyApplied, number));
        }
        let mut dependencies = heapless::Vec::<u32, DEPENDENCIES_MAX>::new();
        for (index, name) in plan.dependencies.iter().enumerate() {
            let missing = Fault::at(ErrorCode::DependencyMissing, item(index), 0);
            let patch = applied(name).ok_or(missing)?;
            not_settling(patch)?;
            let number = patch.number;
            dependencies.push(number).map_err(|_| missing)?;
        }
        let broken = Part::Liveupdate.fault(NO_ITEM);
        if plan.functions.is_empty() || plan.functions.len() > FUNCTIONS_MAX {
            return Err(broken);
        }
        let mut functions = Vec::with_capacity(plan.functions.len());
        for (index, function) in plan.functions.iter().enumerate() {
            if !function.is_sound() {
                return Err(broken);
            }
            let below = self
                .below(function)
                .map_err(|owner| Fault::at(ErrorCode::SiteOwned, item(index), owner.into()))?;
            let mut plan = function.clone();
            plan.below = below;
            functions.push(Function { slot: index, plan, state: SiteState::Original });
        }
        let mut of_this_name = self.patches.iter().filter(|patch| patch.name == plan.name);
        of_this_name.try_for_each(not_settling)?;
        if plan.versions.len() > VERSIONS_MAX || !plan.versions.iter().all(VersionPlan::is_sound) {
            return Err(broken);
        }
        let version = |(slot, plan): (usize, &VersionPlan)| Version {
            slot,
            plan: plan.clone(),
            byte: StateByte::Old,
        };
        let versions = plan.versions.iter().enumerate().map(version).collect();
        let number = self.head.last_number.checked_add(1);
        let mut patch = Patch {
            slot: 0,
            number: number.ok_or(Fault::new(ErrorCode::JournalFull, 0))?,
            name: Name::try_from(plan.name).map_err(|_| broken)?,
            dependencies,
            state: PatchState::Free,
            functions,
            versions,
            times: Times::default(),
        };
        let evicted = self.place(&mut patch)?;
        Ok((evicted, patch))
    }

    /// The patch on which `function` would stand, 0 for none; the number of a patch that redirects
    /// the same code at another place as an error.
    fn below(&self, function: &FunctionPlan) -> Result<u32, u32> {
        if let Some((number, _)) = self.at_site(function.site) {
            return Ok(number);
        }
        let overlaps = |other: &Function| {
            function.old_start < other.plan.old_end() && other.plan.old_start < function.old_end()
        };
        let owner = self
            .patches
            .iter()
            .rev()
            .filter(|patch| patch.is_in_memory())
            .find(|patch| patch.functions.iter().any(overlaps));
        owner.map_or(Ok(0), |patch| Err(patch.number))
    }

    /// Gives the patch its places in the journal. Returns the rolled back patches that have to go:
    /// those of the same name, and of the others the oldest, as many as it takes.
    fn place(&self, patch: &mut Patch) -> Result<Vec<u32>, Fault> {
        let rolled_back =
            |other: &&Patch| other.state == PatchState::RolledBack && !other.is_settling();
        let old = self.patches.iter().filter(rolled_back);
        let same_name = old.clone().filter(|other| other.name == patch.name);
        let mut evicted: Vec<u32> = same_name.map(|other| other.number).collect();
        loop {
            let is_kept = |other: &&Patch| !evicted.contains(&other.number);
            let kept = self.patches.iter().filter(is_kept);
            let slot = self.journal.free_slot(kept.clone());
            let first = self.journal.room_for(kept.clone(), patch.functions.len());
            let version = self.journal.room_for_versions(kept, patch.versions.len());
            if let (Some(slot), Some(first), Some(first_version)) = (slot, first, version) {
                patch.slot = slot;
                for (index, version) in patch.versions.iter_mut().enumerate() {
                    version.slot = first_version + index;
                }
                for (index, function) in patch.functions.iter_mut().enumerate() {
                    function.slot = first + index;
                }
                return Ok(evicted);
            }
            let oldest = old
                .clone()
                .filter(is_kept)
                .min_by_key(|other| other.times.sequence)
                .ok_or(Fault::new(ErrorCode::JournalFull, 0))?;
            evicted.push(oldest.number);
        }
    }

    /// Puts the last patch in force. In a stop.
    fn commit<M: Subject>(&mut self, subject: &mut M, request: Request) -> Result<(), Fault> {
        let Some(patch) = self.patches.last() else {
            return Err(Part::Liveupdate.fault(NO_ITEM));
        };
        let slot = patch.slot;
        let position = self.patches.len() - 1;
        verify(subject, &patch.functions)?;
        self.stage(subject, position, request)?;
        let result = self
            .move_data(subject, position)
            .and_then(|()| self.intercept(subject, true))
            .and_then(|()| self.write_traps(subject))
            .and_then(|()| self.journal.set_patch(slot, PatchState::Applied));
        if let Err(fault) = result {
            self.take_back(subject);
            return Err(fault);
        }
        if let Some(patch) = self.patches.last_mut() {
            patch.state = PatchState::Applied;
            for function in &mut patch.functions {
                function.state = SiteState::Trap;
            }
        }
        self.settle_data(subject, position);
        self.publish_last(subject, true);
        Ok(())
    }

    fn write_traps<M: Subject>(&mut self, subject: &mut M) -> Result<(), Fault> {
        let functions = self.patches.last().map_or(&[][..], |patch| &patch.functions);
        for function in functions {
            // Matters only once the patch is applied.
            self.journal.set_function(function.slot, SiteState::Trap)?;
        }
        let trap = [self.trap];
        let place = |function: &Function| Place { address: function.plan.site, bytes: &trap };
        let places: Vec<Place<'_>> = functions.iter().map(place).collect();
        subject.write(&places).map_err(at_item)
    }

    /// Takes back what the last patch wrote, in the stop in which it was written.
    fn take_back<M: Subject>(&mut self, subject: &mut M) {
        let functions = self.patches.last().map_or(&[][..], |patch| &patch.functions);
        let clean = functions
            .iter()
            .rev()
            .all(|function| remove_trap(subject, &function.plan, self.trap).is_ok());
        let position = self.patches.len().saturating_sub(1);
        let clean = clean && self.move_data_back(subject, position).is_ok();
        if clean {
            self.forget_move(subject, position);
        }
        if !clean || self.unfinished {
            // The traps that are left stay in the journal, and lead where they say, until
            // `recover` can take them back.
            self.unfinished = true;
            self.publish_last(subject, false);
            return;
        }
        if let Some(patch) = self.patches.last_mut() {
            patch.state = PatchState::Free;
        }
        self.intercept_if_needed(subject);
    }

    /// Tells the subject where the traps of the last patch lead.
    fn publish_last(&self, subject: &mut impl Subject, is_new: bool) {
        let functions = self.patches.last().map_or(&[][..], |patch| &patch.functions);
        for function in functions {
            self.publish(subject, function.plan.site, is_new);
        }
    }

    /// Forgets the last patch after a failed apply, unless some of it is left in memory.
    fn abandon_last(&mut self) {
        let Some(patch) = self.patches.last() else {
            return;
        };
        // An apply that failed only when the guest should go on is in force.
        if self.unfinished || patch.state == PatchState::Applied {
            return;
        }
        let slot = patch.slot;
        match self.journal.set_patch(slot, PatchState::Free) {
            Ok(()) => {
                self.patches.pop();
            }
            Err(_) => self.unfinished = true,
        }
    }
}

/// Checks that the bytes at all sites are still those that were found.
fn verify<M: Subject>(subject: &mut M, functions: &[Function]) -> Result<(), Fault> {
    let places: Vec<Place<'_>> = functions.iter().map(found).collect();
    let Some(Difference { place, offset }) = subject.compare(&places).map_err(at_item)? else {
        return Ok(());
    };
    let site = functions.get(place).map_or(0, |function| function.plan.site);
    let address = site.saturating_add(offset as u64);
    Err(Fault::at(ErrorCode::SiteForeign, item(place), address))
}

/// The bytes that were found at a site.
fn found(function: &Function) -> Place<'_> {
    Place { address: function.plan.site, bytes: &function.plan.found }
}

/// Puts the first byte back where the trap stands.
pub(super) fn remove_trap<M: Subject>(
    subject: &mut M,
    plan: &FunctionPlan,
    trap: u8,
) -> Result<(), Fault> {
    let Some(&original) = plan.found.first() else {
        return Ok(());
    };
    let mut now = [0];
    subject.read(plan.site, &mut now).map_err(general)?;
    if now == [trap] && original != trap {
        write_one(subject, plan.site, &[original])?;
    }
    Ok(())
}
