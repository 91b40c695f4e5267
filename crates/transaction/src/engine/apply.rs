//! Applying updates.

use alloc::vec::Vec;

use lucos_data_versions::state::Request;
use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{ErrorCode, Fault, Part};

use super::prepare::Prepared;
use super::{Engine, at_item, general, item, stopped, values, write_one};
use crate::journal::Store;
use crate::patch::{Function, FunctionPlan, Patch, PatchState, Plan, SiteState};
use crate::subject::{Difference, Place, Subject};

impl<S: Store> Engine<S> {
    /// Checks everything about updates of one step that does not need a stop.
    ///
    /// # Errors
    /// What [`Engine::apply`] would answer before it stops the guest.
    pub fn check<M: Subject>(&self, subject: &mut M, plans: &[Plan<'_>]) -> Result<(), Fault> {
        values::look_at(subject, &self.prepare(plans)?.patches)
    }

    /// Applies updates in one step, all or none: afterwards a call of each old function runs the new
    /// one, and each value is the new one. Each is applied as if those before it were in force.
    /// Returns the number of the first; those of the others follow.
    ///
    /// The first call after a restart may be the one that was served when the task ended: then the
    /// patches are in force, and their numbers are the answer.
    ///
    /// # Errors
    /// Any error leaves the guest's memory as it was. It names the number of the update in the step.
    /// * `AlreadyApplied`: a patch of this name is in force (detail: its number)
    /// * `DependencyMissing`: at the dependency
    /// * `SiteOwned`: another patch redirects the function at another place, or changes some of the
    ///   value's bits (detail: its number)
    /// * `ValueInText`: a value lies in code (detail: its address)
    /// * `ValueChanged`: something else than the old value is there (detail: its address)
    /// * `NotSettled`: the data of a patch that this one needs, or of one of its name that was rolled
    ///   back, has two live sides (detail: its number)
    /// * `JournalFull`
    /// * `Occupied`: somebody is inside old code, and the update is to be clear only
    /// * whatever a transfer function is ended for, at its version
    /// * `SiteForeign`: the bytes at a site are not those that were found when it was checked
    ///   (detail: the address of the first one)
    /// * `Deadline`, `Busy`, `Address`, `Internal`: the subject's
    pub fn apply<M: Subject>(&mut self, subject: &mut M, plans: &[Plan<'_>]) -> Result<u32, Fault> {
        let mended = self.recover(subject);
        if let Some(number) = self.done_before(plans).filter(|_| self.repeated) {
            // It is done, also when something else cannot be mended yet.
            self.repeated = false;
            return Ok(number);
        }
        mended?;
        self.repeated = false;
        let Prepared { evicted, mut patches } = self.prepare(plans)?;
        values::look_at(subject, &patches)?;
        for number in evicted {
            self.forget(number)?;
        }
        self.note_committed()?;
        for patch in &mut patches {
            patch.times.sequence = self.next_sequence();
            self.head.last_number = patch.number;
        }
        self.journal.write_head(&mut self.head)?;
        for patch in &patches {
            self.journal.write_patch(patch)?;
        }
        let first = self.patches.len();
        let number = patches.first().map_or(0, |patch| patch.number);
        // From here on a crash is mended by taking everything back.
        let clear = plans.iter().any(|plan| plan.clear_only);
        let result = self.intend(patches).and_then(|()| {
            let ((), ticks) = stopped(subject, |subject| self.commit(subject, first, clear))?;
            Ok(ticks)
        });
        let ticks = match result {
            Ok(ticks) => ticks,
            Err(fault) => {
                self.abandon(first);
                return Err(fault);
            }
        };
        for patch in self.patches.iter_mut().skip(first) {
            patch.times.apply = ticks;
            // Only a figure.
            let _ = self.journal.write_times(patch.slot, &patch.times);
        }
        Ok(number)
    }

    /// Whether [`Engine::apply`] would answer that this was done before a restart.
    pub fn is_repetition(&self, plans: &[Plan<'_>]) -> bool {
        self.repeated && self.done_before(plans).is_some()
    }

    /// The number of the first of the last patches, if they are in force and do what `plans` ask for.
    fn done_before(&self, plans: &[Plan<'_>]) -> Option<u32> {
        let first = self.patches.len().checked_sub(plans.len())?;
        let last = self.patches.get(first..)?;
        let is_done = |(patch, plan): (&Patch, &Plan<'_>)| {
            let places = |function: &FunctionPlan| (function.site, function.new_entry);
            let functions = patch.functions.iter().map(|function| places(&function.plan));
            let values = patch.values.iter().map(|value| (value.plan.address, &value.plan.new));
            patch.state == PatchState::Applied
                && patch.name == plan.name
                && functions.eq(plan.functions.iter().map(places))
                && values.eq(plan.values.iter().map(|value| (value.address, &value.new)))
        };
        let is_last = last.last().is_some_and(|patch| patch.number == self.head.last_number);
        let done = is_last && last.iter().zip(plans).all(is_done);
        last.first().filter(|_| done).map(|patch| patch.number)
    }

    /// Writes into each patch of the last step of several that it is in force, before the head names
    /// others.
    fn note_committed(&mut self) -> Result<(), Fault> {
        let (first, last) = self.head.committed;
        let applied = self.patches.iter().filter(|patch| patch.state == PatchState::Applied);
        for patch in applied.filter(|patch| (first..=last).contains(&patch.number)) {
            self.journal.set_patch(patch.slot, PatchState::Applied)?;
        }
        Ok(())
    }

    /// Notes that these patches are being applied.
    fn intend(&mut self, patches: Vec<Patch>) -> Result<(), Fault> {
        for mut patch in patches {
            self.journal.set_patch(patch.slot, PatchState::Applying)?;
            patch.state = PatchState::Applying;
            self.patches.push(patch);
        }
        Ok(())
    }

    /// Puts the patches from `first` on in force. In a stop.
    fn commit<M: Subject>(
        &mut self,
        subject: &mut M,
        first: usize,
        clear: bool,
    ) -> Result<(), Fault> {
        let request = Request::Apply { clear };
        for position in first..self.patches.len() {
            let begun = self.make_ready(subject, position, request);
            let begun = begun.map_err(|fault| (fault, position));
            let written = begun.and_then(|()| {
                self.write(subject, position).map_err(|fault| (fault, position + 1))
            });
            if let Err((fault, end)) = written {
                self.take_back(subject, first, end);
                return Err(fault.of_member(item(position - first)));
            }
        }
        if let Err(fault) = self.note_applied(first) {
            self.take_back(subject, first, self.patches.len());
            return Err(fault);
        }
        for patch in self.patches.iter_mut().skip(first) {
            patch.state = PatchState::Applied;
            for function in &mut patch.functions {
                function.state = SiteState::Trap;
            }
        }
        for position in first..self.patches.len() {
            self.settle_data(position);
        }
        self.publish_from(subject, first, true);
        Ok(())
    }

    /// Says in the journal that the patches from `first` on are in force, in one step.
    fn note_applied(&mut self, first: usize) -> Result<(), Fault> {
        let patches = self.patches.get(first..).unwrap_or_default();
        let (Some(one), Some(last)) = (patches.first(), patches.last()) else {
            return Err(Part::Liveupdate.fault(NO_ITEM));
        };
        if one.number == last.number {
            return self.journal.set_patch(one.slot, PatchState::Applied);
        }
        let mut head = self.head.clone();
        head.committed = (one.number, last.number);
        self.journal.write_head(&mut head)?;
        self.head = head;
        for patch in patches {
            // What the head says counts; `note_committed` tries again.
            let _ = self.journal.set_patch(patch.slot, PatchState::Applied);
        }
        Ok(())
    }

    /// Looks whether everything is as it should be for a patch, and notes what it will write. When that
    /// fails, it has changed nothing.
    fn make_ready<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
        request: Request,
    ) -> Result<(), Fault> {
        let broken = Part::Liveupdate.fault(NO_ITEM);
        verify(subject, &self.patches.get(position).ok_or(broken)?.functions)?;
        self.judge_values(subject, position)?;
        self.stage(subject, position, request)
    }

    /// Writes what one patch changes.
    fn write<M: Subject>(&mut self, subject: &mut M, position: usize) -> Result<(), Fault> {
        let broken = Part::Liveupdate.fault(NO_ITEM);
        self.move_data(subject, position)?;
        let patch = self.patches.get(position).ok_or(broken)?;
        for function in &patch.functions {
            // Matters only once the patch is applied.
            self.journal.set_function(function.slot, SiteState::Trap)?;
        }
        if !patch.functions.is_empty() {
            self.intercept(subject, true)?;
        }
        let patch = self.patches.get(position).ok_or(broken)?;
        values::write(subject, patch, values::NEW)?;
        if patch.functions.is_empty() {
            return Ok(());
        }
        let trap = [self.trap];
        let place = |function: &Function| Place { address: function.plan.site, bytes: &trap };
        let places: Vec<Place<'_>> = patch.functions.iter().map(place).collect();
        subject.write(&places).map_err(at_item)
    }

    /// Takes back what the patches from `first` up to, not including, `end` wrote, in the stop in which
    /// it was written: the later ones stand on the earlier ones.
    fn take_back<M: Subject>(&mut self, subject: &mut M, first: usize, end: usize) {
        let clean = (first..end).rev().all(|position| self.take_one_back(subject, position));
        if !clean || self.unfinished {
            // What is left stays in the journal, and traps lead where they say, until `recover` can
            // take it back.
            self.unfinished = true;
            self.publish_from(subject, first, false);
            return;
        }
        for patch in self.patches.iter_mut().skip(first) {
            patch.state = PatchState::Free;
        }
        self.intercept_if_needed(subject);
    }

    /// Whether everything that one patch wrote is taken back.
    fn take_one_back<M: Subject>(&mut self, subject: &mut M, position: usize) -> bool {
        let Some(patch) = self.patches.get(position) else {
            return true;
        };
        let clean = take_off(subject, patch, self.trap).is_ok()
            && self.move_data_back(subject, position).is_ok();
        if clean {
            self.forget_move(subject, position);
        }
        clean
    }

    /// Tells the subject where the traps of the patches from `first` on lead.
    fn publish_from(&self, subject: &mut impl Subject, first: usize, is_new: bool) {
        for function in self.patches.iter().skip(first).flat_map(|patch| &patch.functions) {
            self.publish(subject, function.plan.site, is_new);
        }
    }

    /// Forgets the patches from `first` on after a failed apply, unless some of it is left in memory.
    fn abandon(&mut self, first: usize) {
        while self.patches.len() > first {
            let Some(patch) = self.patches.last() else {
                return;
            };
            // An apply that failed only when the guest should go on is in force.
            if self.unfinished || patch.state == PatchState::Applied {
                return;
            }
            match self.journal.set_patch(patch.slot, PatchState::Free) {
                Ok(()) => {
                    self.patches.pop();
                }
                Err(_) => self.unfinished = true,
            }
        }
    }
}

/// Takes everything off that a patch that is being applied may have written.
pub(super) fn take_off<M: Subject>(subject: &mut M, patch: &Patch, trap: u8) -> Result<(), Fault> {
    for function in patch.functions.iter().rev() {
        remove_trap(subject, &function.plan, trap)?;
    }
    for (index, value) in patch.values.iter().enumerate() {
        values::restore(subject, value, index)?;
    }
    Ok(())
}

/// Checks that the bytes at all sites are still those that were found.
fn verify<M: Subject>(subject: &mut M, functions: &[Function]) -> Result<(), Fault> {
    if functions.is_empty() {
        return Ok(());
    }
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
