//! The data of an update: coherent before code changes, one-sided behind it.
//!
//! A version's byte in the journal says where it is to go before anything is moved, and the patch's
//! own byte when that counts (`lucos_data_versions::state`). So everything here follows from the two
//! bytes, also after a crash.

use alloc::vec::Vec;

use lucos_data_versions::state::{Code, Refusal, Request, transition};
use lucos_data_versions::{Side, StateByte, VersionId, VersionState};
use lucos_guest_interface::{ErrorCode, Fault};

use super::{Engine, data_item, general, item, stopped};
use crate::journal::Store;
use crate::patch::{Function, Patch, PatchState};
use crate::subject::Subject;
use crate::version::{Half, Lists, Version};

impl<S: Store> Engine<S> {
    /// In which version the data of a patch is: of its version number `version`.
    ///
    /// # Errors
    /// `UnknownPatch`, also for a version that it has not
    pub fn version_state(&self, number: u32, version: u32) -> Result<VersionState, Fault> {
        let patch = self.patches.get(self.position(number)?);
        let unknown = Fault::new(ErrorCode::UnknownPatch, number.into());
        let patch = patch.ok_or(unknown)?;
        let version = patch.versions.get(version as usize).ok_or(unknown)?;
        Ok(version.state(patch.state))
    }

    /// Nobody is inside this code of a patch any more, and nobody can enter it: its data becomes
    /// one-sided, and what is guarded for it no longer is. What was so before stays.
    ///
    /// # Errors
    /// Any error leaves states and guards as they were.
    /// * `UnknownPatch`
    /// * `NotApplied`: old code of a patch that is not in force; its calls enter it
    /// * `AlreadyApplied`: new code of one that is
    /// * `Deadline`, `Busy`, `Internal`: the subject's
    pub fn drained<M: Subject>(
        &mut self,
        subject: &mut M,
        number: u32,
        code: Code,
    ) -> Result<(), Fault> {
        self.recover(subject)?;
        let position = self.position(number)?;
        let steps = self.steps(position, Request::Drained(code))?;
        if steps.is_empty() {
            return Ok(());
        }
        let work = |subject: &mut M| {
            let left = steps.iter().try_for_each(|step| {
                // A crash in between leaves both sides alike, and the guard is set again.
                self.guard(subject, position, step.index, false)?;
                self.set_byte(position, step.index, step.byte)
            });
            if left.is_err() {
                let back = steps.iter().try_for_each(|step| {
                    self.guard(subject, position, step.index, true)?;
                    self.set_byte(position, step.index, StateByte::Both)
                });
                self.unfinished |= back.is_err();
            }
            left
        };
        stopped(subject, work).map(|_| ())
    }

    /// What `request` does to each version of a patch; versions to which it does nothing are left out.
    fn steps(&self, position: usize, request: Request) -> Result<Vec<Step>, Fault> {
        let Some(patch) = self.patches.get(position) else { return Ok(Vec::new()) };
        let Some(phase) = patch.state.phase() else { return Ok(Vec::new()) };
        let mut steps = Vec::new();
        for (index, version) in patch.versions.iter().enumerate() {
            let refused = |refusal| {
                let code = match refusal {
                    Refusal::Applied => ErrorCode::AlreadyApplied,
                    Refusal::NotApplied | Refusal::Settled => ErrorCode::NotApplied,
                };
                Fault::at(code, data_item(index), patch.number.into())
            };
            let made = transition(request, phase, version.state(patch.state)).map_err(refused)?;
            let Some(made) = made else { continue };
            steps.push(Step { index, byte: made.byte, transfer: made.transfer });
        }
        Ok(steps)
    }

    /// Makes the other side of all data that `request` moves, in the stage, and says in the journal
    /// what is to become of it. In a stop.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(super) fn stage<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
        request: Request,
    ) -> Result<(), Fault> {
        let steps = self.steps(position, request)?;
        self.nobody_at_traps(subject, position, request)?;
        let left = match request {
            Request::Apply { clear: true } => Some(Code::Old),
            Request::Rollback { clear: true } => Some(Code::New),
            _ => None,
        };
        if let (Some(code), Some(patch)) = (left, self.patches.get(position))
            && !subject.is_clear(patch.number, code)?
        {
            return Err(Fault::new(ErrorCode::Occupied, 0));
        }
        let staged = steps.iter().try_for_each(|step| self.stage_version(subject, position, step));
        // From here on a stage is what undoes the move of its version, or repeats it.
        let set = |step: &Step| self.set_byte(position, step.index, step.byte);
        let said = staged.and_then(|()| steps.iter().try_for_each(set));
        if said.is_err() {
            self.forget_move(subject, position);
            for step in steps.iter().filter(|step| step.transfer.is_some()) {
                let wiped = self.wipe_stage(subject, position, step.index);
                self.unfinished |= wiped.is_err();
            }
        }
        said
    }

    /// Whether no processor is held at a trap that leads to code that is to be clear: it may have been
    /// told to go on there, whatever its instruction pointer says.
    fn nobody_at_traps<M: Subject>(
        &self,
        subject: &mut M,
        position: usize,
        request: Request,
    ) -> Result<(), Fault> {
        let leads_there: fn(&Function) -> bool = match request {
            // To the patch below.
            Request::Apply { clear: true } => |function| function.plan.below != 0,
            Request::Rollback { clear: true } => |_| true,
            _ => return Ok(()),
        };
        let Some(patch) = self.patches.get(position) else { return Ok(()) };
        let mut sites = patch.functions.iter().filter(|&function| leads_there(function));
        let held = subject.stopped_at().map_err(general)?;
        match sites.find(|function| held.contains(&function.plan.site)) {
            Some(function) => Err(Fault::new(ErrorCode::Occupied, function.plan.site)),
            None => Ok(()),
        }
    }

    fn stage_version<M: Subject>(
        &self,
        subject: &mut M,
        position: usize,
        step: &Step,
    ) -> Result<(), Fault> {
        let (Some(patch), Some(from)) = (self.patches.get(position), step.transfer) else {
            return Ok(());
        };
        let Some(version) = patch.versions.get(step.index) else { return Ok(()) };
        let named = |fault: Fault| Fault { item: data_item(step.index), ..fault };
        subject.stage(id(patch, step.index), &version.plan, from).map_err(named)
    }

    /// Moves the data that was staged: the other side of every pair is written, and guarded where both
    /// live from now on. In a stop.
    pub(super) fn move_data<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
    ) -> Result<(), Fault> {
        for index in self.versions(position) {
            self.copy(subject, position, index, Half::After)?;
            let byte = self.byte(position, index);
            if matches!(byte, Some(StateByte::ArrivingBoth | StateByte::LeavingBoth)) {
                self.guard(subject, position, index, true)?;
            }
        }
        Ok(())
    }

    /// Leaves to the guest the pages of data that a rollback leaves to old code alone, without moving it.
    /// In the same stop, before the patch's byte says that it is rolled back.
    pub(super) fn leave_settled<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
    ) -> Result<(), Fault> {
        for index in self.versions(position) {
            if self.byte(position, index) == Some(StateByte::SettledOld) {
                self.guard(subject, position, index, false)?;
            }
        }
        Ok(())
    }

    /// Takes back what [`Engine::move_data`] and [`Engine::leave_settled`] did. In the same stop. The stage stays as it is: while
    /// the patch's own byte says that it moves, a crash needs it.
    pub(super) fn move_data_back<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
    ) -> Result<(), Fault> {
        for index in self.versions(position).rev() {
            match self.byte(position, index) {
                Some(StateByte::ArrivingBoth | StateByte::LeavingBoth) => {
                    self.guard(subject, position, index, false)?;
                }
                Some(StateByte::SettledOld) => self.guard(subject, position, index, true)?,
                _ => {}
            }
            self.copy(subject, position, index, Half::Before)?;
        }
        Ok(())
    }

    /// Takes back what [`Engine::stage`] did, when no data is moved, or none any more.
    pub(super) fn forget_move<M: Subject>(&mut self, subject: &mut M, position: usize) {
        for index in self.versions(position).rev() {
            let forgotten = self.forget_move_of(subject, position, index);
            self.unfinished |= forgotten.is_err();
        }
    }

    fn forget_move_of<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
        index: usize,
    ) -> Result<(), Fault> {
        let Some(byte) = self.byte(position, index) else {
            return Ok(());
        };
        match byte {
            // The byte first: a crash would fill twins from a stage that is wiped.
            StateByte::ArrivingBoth | StateByte::ArrivingNew => {
                self.set_byte(position, index, StateByte::Old)?;
                self.wipe_stage(subject, position, index)
            }
            // The byte last: without it nobody knows any more that there is something to wipe.
            StateByte::LeavingBoth | StateByte::LeavingOld => {
                self.wipe_stage(subject, position, index)?;
                self.set_byte(position, index, StateByte::New)
            }
            StateByte::SettledOld => self.set_byte(position, index, StateByte::Both),
            StateByte::Old | StateByte::Both | StateByte::New => Ok(()),
        }
    }

    /// What follows once code and data are as they are to be, and the patch's byte says so: the bytes of
    /// its versions no longer need it.
    pub(super) fn settle_data(&mut self, position: usize) {
        for index in self.versions(position) {
            let settled = self.settle_version(position, index);
            self.unfinished |= settled.is_err();
        }
    }

    fn settle_version(&mut self, position: usize, index: usize) -> Result<(), Fault> {
        let Some(state) = self.state_of(position, index) else { return Ok(()) };
        let settled = StateByte::settled(state);
        match self.byte(position, index) == Some(settled) {
            true => Ok(()),
            false => self.set_byte(position, index, settled),
        }
    }

    /// Undoes, completes or repeats what a crash cut off of the data of a patch. In a stop.
    pub(super) fn mend_data<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
    ) -> Result<(), Fault> {
        let Some(state) = self.patches.get(position).map(|patch| patch.state) else {
            return Ok(());
        };
        match state {
            PatchState::Free => return Ok(()),
            PatchState::Applying => {
                self.move_data_back(subject, position)?;
                for index in self.versions(position) {
                    self.set_byte(position, index, StateByte::Old)?;
                    // Nothing tells whether the crash came while it was filled.
                    self.wipe_stage(subject, position, index)?;
                }
            }
            PatchState::Applied => {
                for index in self.versions(position) {
                    match self.byte(position, index) {
                        Some(StateByte::ArrivingBoth | StateByte::ArrivingNew) => {
                            self.settle_version(position, index)?;
                        }
                        _ => self.forget_move_of(subject, position, index)?,
                    }
                }
            }
            PatchState::RollingBack => self.move_data(subject, position)?,
            PatchState::RolledBack => {
                for index in self.versions(position) {
                    self.settle_version(position, index)?;
                }
            }
        }
        for index in self.versions(position) {
            let both = self.state_of(position, index) == Some(VersionState::Both);
            self.guard(subject, position, index, both)?;
        }
        Ok(())
    }

    /// Takes the lists that a rollback brings for data that it moves. Until now nothing looked at those
    /// of a version of which one side lives.
    pub(super) fn take_lists(&mut self, position: usize, lists: &[Lists]) -> Result<(), Fault> {
        for index in self.versions(position) {
            if self.state_of(position, index) != Some(VersionState::New) {
                continue;
            }
            let missing = Fault::at(ErrorCode::RollbackRecord, data_item(index), 0);
            let lists = *lists.get(index).ok_or(missing)?;
            let Some(version) = self.version(position, index) else { continue };
            self.journal.write_lists(version.slot, lists)?;
            if let Some(version) = self.version_mut(position, index) {
                version.plan.lists = lists;
            }
        }
        Ok(())
    }

    /// Leaves every guarded page to the guest. In a stop.
    pub(super) fn leave_guards<M: Subject>(&mut self, subject: &mut M) -> Result<(), Fault> {
        for position in 0..self.patches.len() {
            for index in self.versions(position) {
                if self.state_of(position, index) == Some(VersionState::Both) {
                    self.guard(subject, position, index, false)?;
                }
            }
        }
        Ok(())
    }

    /// Copies a half of the stage, if the byte says that the data of a version moves.
    fn copy<M: Subject>(
        &self,
        subject: &mut M,
        position: usize,
        index: usize,
        half: Half,
    ) -> Result<(), Fault> {
        let Some(version) = self.version(position, index) else { return Ok(()) };
        let to = match version.byte {
            StateByte::ArrivingBoth | StateByte::ArrivingNew => Side::Twin,
            StateByte::LeavingBoth | StateByte::LeavingOld => Side::Object,
            _ => return Ok(()),
        };
        subject.copy_pairs(&version.plan, to, half).map_err(general)
    }

    fn wipe_stage<M: Subject>(
        &self,
        subject: &mut M,
        position: usize,
        index: usize,
    ) -> Result<(), Fault> {
        let Some(version) = self.version(position, index) else { return Ok(()) };
        subject.wipe_stage(&version.plan).map_err(general)
    }

    fn guard<M: Subject>(
        &self,
        subject: &mut M,
        position: usize,
        index: usize,
        on: bool,
    ) -> Result<(), Fault> {
        let Some(patch) = self.patches.get(position) else { return Ok(()) };
        let Some(version) = patch.versions.get(index) else { return Ok(()) };
        subject.guard(id(patch, index), &version.plan, on).map_err(general)
    }

    fn set_byte(&mut self, position: usize, index: usize, byte: StateByte) -> Result<(), Fault> {
        let Some(version) = self.version(position, index) else { return Ok(()) };
        self.journal.set_version(version.slot, byte)?;
        if let Some(version) = self.version_mut(position, index) {
            version.byte = byte;
        }
        Ok(())
    }

    fn versions(&self, position: usize) -> core::ops::Range<usize> {
        0..self.patches.get(position).map_or(0, |patch| patch.versions.len())
    }

    fn version(&self, position: usize, index: usize) -> Option<&Version> {
        self.patches.get(position)?.versions.get(index)
    }

    fn byte(&self, position: usize, index: usize) -> Option<StateByte> {
        self.version(position, index).map(|version| version.byte)
    }

    fn version_mut(&mut self, position: usize, index: usize) -> Option<&mut Version> {
        self.patches.get_mut(position)?.versions.get_mut(index)
    }

    fn state_of(&self, position: usize, index: usize) -> Option<VersionState> {
        let patch = self.patches.get(position)?;
        Some(patch.versions.get(index)?.state(patch.state))
    }
}

/// What a request does to one version.
struct Step {
    index: usize,
    byte: StateByte,
    transfer: Option<Side>,
}

fn id(patch: &Patch, index: usize) -> VersionId {
    VersionId { patch: patch.number, version: item(index) }
}

/// Nothing is done to the data of a patch while both sides of it live.
pub(super) fn not_settling(patch: &Patch) -> Result<(), Fault> {
    match patch.is_settling() {
        true => Err(Fault::new(ErrorCode::NotSettled, patch.number.into())),
        false => Ok(()),
    }
}
