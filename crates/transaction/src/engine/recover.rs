//! Mending what a crash, or an error while an error was undone, left half done.

use lucos_guest_interface::Fault;

use super::apply::{remove_trap, take_off};
use super::{Engine, general, stopped, values, write_one};
use crate::journal::Store;
use crate::patch::{Code, Function, PatchState, SiteState};
use crate::subject::Subject;

impl<S: Store> Engine<S> {
    /// Completes or undoes what was left half done, and tells the subject every redirection.
    /// Nothing happens when there is nothing to do.
    ///
    /// An apply is undone, a rollback is completed, a jump is completed when all of it was written
    /// and else undone.
    ///
    /// # Errors
    /// The subject's; the next call tries again.
    pub fn recover<M: Subject>(&mut self, subject: &mut M) -> Result<(), Fault> {
        if !self.unfinished {
            return Ok(());
        }
        let ((), _) = stopped(subject, |subject| self.mend(subject))?;
        self.unfinished = false;
        Ok(())
    }

    fn mend<M: Subject>(&mut self, subject: &mut M) -> Result<(), Fault> {
        // What the kernel does is not known after a restart. While bytes change, traps come to us.
        self.intercepting = None;
        if !self.patches.is_empty() {
            self.intercept(subject, true)?;
        }
        // Later patches stand on earlier ones. One that is being applied goes away.
        for position in (0..self.patches.len()).rev() {
            self.mend_patch(subject, position)?;
        }
        self.patches.retain(|patch| patch.state != PatchState::Free);
        let traps = self.has_traps();
        self.intercept(subject, traps)?;
        for patch in &self.patches {
            for function in &patch.functions {
                self.publish(subject, function.plan.site, false);
            }
        }
        Ok(())
    }

    fn mend_patch<M: Subject>(&mut self, subject: &mut M, position: usize) -> Result<(), Fault> {
        let Some(patch) = self.patches.get(position).cloned() else {
            return Ok(());
        };
        match patch.state {
            PatchState::Free => Ok(()),
            PatchState::RolledBack => self.mend_data(subject, position),
            PatchState::Applying => {
                take_off(subject, &patch, self.trap)?;
                self.mend_data(subject, position)?;
                self.journal.set_patch(patch.slot, PatchState::Free)?;
                if let Some(patch) = self.patches.get_mut(position) {
                    patch.state = PatchState::Free;
                }
                for function in &patch.functions {
                    self.publish(subject, function.plan.site, false);
                }
                Ok(())
            }
            PatchState::Applied => {
                for (index, function) in patch.functions.iter().enumerate() {
                    if function.state == SiteState::Jumping {
                        let state = self.mend_jump(subject, function)?;
                        self.set_state(position, index, state);
                    }
                }
                self.mend_data(subject, position)
            }
            PatchState::RollingBack => {
                self.mend_data(subject, position)?;
                for function in &patch.functions {
                    self.complete_rollback(subject, function)?;
                }
                for (index, value) in patch.values.iter().enumerate() {
                    values::restore(subject, value, index)?;
                }
                self.journal.set_patch(patch.slot, PatchState::RolledBack)?;
                self.note_rolled_back(subject, position);
                Ok(())
            }
        }
    }

    fn set_state(&mut self, position: usize, index: usize, state: SiteState) {
        let patch = self.patches.get_mut(position);
        if let Some(function) = patch.and_then(|patch| patch.functions.get_mut(index)) {
            function.state = state;
        }
    }

    /// A jump of which some bytes may be written: complete, or back to the trap.
    fn mend_jump<M: Subject>(
        &mut self,
        subject: &mut M,
        function: &Function,
    ) -> Result<SiteState, Fault> {
        let plan = &function.plan;
        let trapped = plan.trapped(self.trap);
        let now = bytes_at(subject, plan.site, plan.jump.len())?;
        let state = match now == plan.jump {
            true => SiteState::Jump,
            false => SiteState::Trap,
        };
        if state == SiteState::Trap && now != trapped && is_mixed(&now, &plan.jump, &trapped) {
            write_one(subject, plan.site, &trapped)?;
        }
        self.journal.set_function(function.slot, state)?;
        Ok(state)
    }

    /// Puts the old bytes back where ours still stand. What somebody else wrote stays.
    fn complete_rollback<M: Subject>(
        &mut self,
        subject: &mut M,
        function: &Function,
    ) -> Result<(), Fault> {
        let plan = &function.plan;
        match function.state {
            SiteState::Original => Ok(()),
            SiteState::Trap => remove_trap(subject, plan, self.trap),
            SiteState::Jumping | SiteState::Jump => {
                let now = bytes_at(subject, plan.site, plan.jump.len())?;
                if now != plan.found && is_mixed(&now, &plan.jump, &plan.found) {
                    write_one(subject, plan.site, &plan.found)?;
                }
                Ok(())
            }
        }
    }
}

fn bytes_at<M: Subject>(subject: &mut M, site: u64, length: usize) -> Result<Code, Fault> {
    let mut bytes: Code = core::iter::repeat_n(0, length).collect();
    subject.read(site, &mut bytes).map_err(general)?;
    Ok(bytes)
}

/// Whether every byte is that of one of two versions.
fn is_mixed(now: &[u8], one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    now.iter().zip(pairs).all(|(now, (one, other))| now == one || now == other)
}
