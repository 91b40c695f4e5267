//! Who may ask for updates, and what is forgotten when the guest kernel changes.

use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::registration::BOOT_IDENTITY;
use lucos_guest_interface::{ErrorCode, Fault, Part};

use super::rollback::Site;
use super::{Engine, stopped};
use crate::journal::{Presence, Registration, Store};
use crate::patch::{Patch, PatchState};
use crate::subject::Subject;

impl<S: Store> Engine<S> {
    /// Takes a registration. A manager of the same boot of the same kernel finds everything as the
    /// last one left it; another kernel starts empty. Returns how many patches are in force.
    ///
    /// # Errors
    /// `Registration` when another kernel is said to be there, and the one that is known still is;
    /// the subject's.
    pub fn register<M: Subject>(
        &mut self,
        subject: &mut M,
        registration: Registration,
    ) -> Result<usize, Fault> {
        let known = self.head.registration.boot_identity == registration.boot_identity;
        if known && self.head.presence != Presence::Nobody {
            self.recover(subject)?;
        } else if self.stands(subject) {
            return Err(Fault::new(ErrorCode::Registration, BOOT_IDENTITY as u64));
        } else {
            self.forget_kernel(subject)?;
        }
        let mut head = self.head.clone();
        head.registration = registration;
        head.presence = Presence::Manager;
        self.journal.write_head(&mut head)?;
        self.head = head;
        let in_force = self.patches.iter().filter(|patch| patch.is_in_memory());
        Ok(in_force.count())
    }

    /// Whether a redirection of ours is in the guest's memory: then the kernel to which it was applied
    /// is still there, whatever anybody says.
    pub fn stands<M: Subject>(&self, subject: &mut M) -> bool {
        let in_memory = self.patches.iter().filter(|patch| patch.is_in_memory());
        let mut functions = in_memory.flat_map(|patch| &patch.functions);
        functions.any(|function| Site::of(function, self.trap).stands(subject))
    }

    /// Ends a registration: the manager goes, or the whole kernel.
    ///
    /// # Errors
    /// `Internal` when the journal cannot be written.
    pub fn unregister(&mut self, kernel_goes_down: bool) -> Result<(), Fault> {
        let mut head = self.head.clone();
        head.presence = match kernel_goes_down {
            true => Presence::GoingDown,
            false => Presence::Kernel,
        };
        self.journal.write_head(&mut head)?;
        self.head = head;
        Ok(())
    }

    /// Forgets a kernel that is gone with everything that was applied to it. Its memory is another
    /// kernel's now, and is left alone.
    ///
    /// # Errors
    /// The subject's.
    pub fn forget_kernel<M: Subject>(&mut self, subject: &mut M) -> Result<(), Fault> {
        if self.patches.iter().any(Patch::is_settling) {
            stopped(subject, |subject| self.leave_guards(subject))?;
        }
        while let Some(patch) = self.patches.last() {
            self.journal.set_patch(patch.slot, PatchState::Free)?;
            for function in &patch.functions {
                subject.redirect(function.plan.site, None);
            }
            self.patches.pop();
        }
        self.unfinished = false;
        if self.intercepting != Some(false) {
            stopped(subject, |subject| self.intercept(subject, false))?;
        }
        self.head.presence = Presence::Nobody;
        Ok(())
    }

    /// Forgets a patch that is not in force.
    pub(super) fn forget(&mut self, number: u32) -> Result<(), Fault> {
        let position = self.patches.iter().position(|patch| patch.number == number);
        let patch = position.and_then(|position| self.patches.get(position));
        let (Some(position), Some(patch)) = (position, patch) else {
            return Ok(());
        };
        if patch.is_in_memory() || patch.is_settling() {
            return Err(Part::Liveupdate.fault(NO_ITEM));
        }
        self.journal.set_patch(patch.slot, PatchState::Free)?;
        self.patches.remove(position);
        Ok(())
    }

    /// Stops and resumes all processors `count` times. Returns how often that worked and the
    /// longest stop in time-stamp ticks.
    ///
    /// # Errors
    /// The subject's, when not even the first stop worked.
    pub fn measure<M: Subject>(
        &mut self,
        subject: &mut M,
        count: u64,
    ) -> Result<(u64, u64), Fault> {
        let mut longest = 0;
        for done in 0..count {
            match stopped(subject, |_| Ok(())) {
                Ok(((), ticks)) => longest = ticks.max(longest),
                Err(fault) if done == 0 => return Err(fault),
                Err(_) => return Ok((done, longest)),
            }
        }
        Ok((count, longest))
    }
}
