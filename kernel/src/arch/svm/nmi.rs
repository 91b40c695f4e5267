//! Non-maskable interrupts of the guest.
//!
//! Every NMI leaves the guest, so the processor's own rule that no second one comes before IRET
//! holds only for LUCOS. For the guest it is kept here: after an NMI was delivered the next waits
//! until the guest has executed IRET. The intercept of IRET tells when it is about to (APM vol. 2,
//! 15.9); one single step takes it past.

use crate::arch::step::{Step, Stepped};
use lucos_svm::event::nmi;
use lucos_svm::{Intercepts, Vmcb};

/// What the guest's NMIs wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestNmi {
    /// One has come and was not delivered.
    pending: bool,
    /// One is being handled: IRET has not been reached.
    masked: bool,
    /// Address of an IRET that ends the handling and has not been executed yet.
    iret: Option<u64>,
    /// The step over that IRET.
    step: Step,
}

impl GuestNmi {
    /// An NMI has come. A second one before the first is delivered merges with it, as in hardware.
    pub fn pend(&mut self) {
        self.pending = true;
    }

    /// Nothing is under way: the vCPU starts anew.
    pub fn reset(&mut self, vmcb: &mut Vmcb) {
        *self = Self::default();
        vmcb.set_intercepts(Intercepts::IRET, false);
    }

    /// Before an entry: delivers what can be delivered. False when one could be if no other event
    /// was to be delivered first: then the guest must leave again soon.
    #[must_use]
    pub fn before_entry(&mut self, vmcb: &mut Vmcb) -> bool {
        if !self.pending || self.masked || self.step.is_on() {
            return true;
        }
        if vmcb.control.event_injection != 0 {
            return false;
        }
        let save = &mut vmcb.save;
        if self.iret == Some(save.rip) {
            self.step.begin(save.rip, &mut save.rflags);
            return true;
        }
        self.pending = false;
        self.masked = true;
        self.iret = None;
        vmcb.inject(nmi());
        vmcb.set_intercepts(Intercepts::IRET, true);
        true
    }

    /// The guest is about to execute IRET.
    pub fn at_iret(&mut self, vmcb: &mut Vmcb) {
        self.masked = false;
        self.iret = Some(vmcb.save.rip);
        vmcb.set_intercepts(Intercepts::IRET, false);
    }

    /// The guest has left. True when it left only because the step over IRET is done.
    pub fn at_exit(&mut self, vmcb: &mut Vmcb, is_debug_exception: bool) -> bool {
        let save = &mut vmcb.save;
        let stepped = self.step.look(save.rip, &mut save.dr6, is_debug_exception);
        if stepped != Stepped::Not {
            self.iret = None;
        }
        stepped == Stepped::Exactly
    }
}
