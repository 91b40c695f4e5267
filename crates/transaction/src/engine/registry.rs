//! Who may ask for updates, and what is forgotten when the guest kernel changes.

use lucos_guest_interface::{ErrorCode, Fault};

use super::{Engine, stopped};
use crate::journal::{Presence, Registration, Store};
use crate::machine::Machine;
use crate::patch::PatchState;

impl<S: Store> Engine<S> {
    /// Takes a registration. A manager of the same boot of the same kernel finds everything as the
    /// last one left it; another kernel starts empty. Returns how many patches are in force.
    ///
    /// # Errors
    /// The machine's.
    pub fn register<M: Machine>(
        &mut self,
        machine: &mut M,
        registration: Registration,
    ) -> Result<usize, Fault> {
        let known = self.head.registration.boot_identity == registration.boot_identity;
        if known && self.head.presence != Presence::Nobody {
            self.recover(machine)?;
        } else {
            self.forget_kernel(machine)?;
        }
        let mut head = self.head.clone();
        head.registration = registration;
        head.presence = Presence::Manager;
        self.journal.write_head(&mut head)?;
        self.head = head;
        let in_force = self.patches.iter().filter(|patch| patch.is_in_memory());
        Ok(in_force.count())
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
    /// The machine's.
    pub fn forget_kernel<M: Machine>(&mut self, machine: &mut M) -> Result<(), Fault> {
        while let Some(patch) = self.patches.last() {
            self.journal.set_patch(patch.slot, PatchState::Free)?;
            for function in &patch.functions {
                machine.redirect(function.plan.site, None);
            }
            self.patches.pop();
        }
        self.unfinished = false;
        if self.intercepting != Some(false) {
            stopped(machine, |machine| self.intercept(machine, false))?;
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
        if patch.is_in_memory() {
            return Err(Fault::new(ErrorCode::Internal, 0));
        }
        self.journal.set_patch(patch.slot, PatchState::Free)?;
        self.patches.remove(position);
        Ok(())
    }

    /// Stops and resumes all processors `count` times. Returns how often that worked and the
    /// longest stop in time-stamp ticks.
    ///
    /// # Errors
    /// The machine's, when not even the first stop worked.
    pub fn measure<M: Machine>(
        &mut self,
        machine: &mut M,
        count: u64,
    ) -> Result<(u64, u64), Fault> {
        let mut longest = 0;
        for done in 0..count {
            match stopped(machine, |_| Ok(())) {
                Ok(((), ticks)) => longest = ticks.max(longest),
                Err(fault) if done == 0 => return Err(fault),
                Err(_) => return Ok((done, longest)),
            }
        }
        Ok((count, longest))
    }
}
