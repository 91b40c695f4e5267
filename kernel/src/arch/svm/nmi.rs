//! Non-maskable interrupts of the guest.
//!
//! Every NMI leaves the guest, so the processor's own rule that no second one comes before IRET
//! holds only for LUCOS. For the guest it is kept here: after an NMI was delivered the next waits
//! until the guest has executed IRET. The intercept of IRET tells when it is about to (APM vol. 2,
//! 15.9); one confined step takes it past.

use crate::arch::backend::Entry;
use lucos_svm::{Intercepts, Vmcb};
use lucos_vcpu::event::nmi;

/// What the guest's NMIs wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestNmi {
    /// One has come and was not delivered.
    pending: bool,
    /// One is being handled: IRET has not been reached.
    masked: bool,
    /// Address of an IRET that ends the handling and has not been executed yet.
    iret: Option<u64>,
}

impl GuestNmi {
    /// An NMI has come. A second one before the first is delivered merges with it, as in hardware.
    pub fn pend(&mut self) {
        self.pending = true;
    }

    /// The one that was to be delivered waits once more.
    pub fn put_off(&mut self, vmcb: &mut Vmcb) {
        self.pending = true;
        self.unmask(vmcb);
    }

    /// Nothing is under way: the vCPU starts anew.
    pub fn reset(&mut self, vmcb: &mut Vmcb) {
        *self = Self::default();
        self.unmask(vmcb);
    }

    /// Delivers what can be delivered at an ordinary entry, and tells how to enter.
    pub fn before_entry(&mut self, vmcb: &mut Vmcb, wanted: Entry) -> Entry {
        if wanted != Entry::Ordinary || !self.pending || self.masked {
            return wanted;
        }
        if vmcb.control.event_injection != 0 {
            return Entry::Brief;
        }
        if self.iret == Some(vmcb.save.rip) {
            return Entry::OverIret;
        }
        self.pending = false;
        self.masked = true;
        self.iret = None;
        vmcb.inject(nmi());
        vmcb.set_intercepts(Intercepts::IRET, true);
        Entry::Ordinary
    }

    /// The guest is about to execute IRET.
    pub fn at_iret(&mut self, vmcb: &mut Vmcb) {
        self.iret = Some(vmcb.save.rip);
        self.unmask(vmcb);
    }

    fn unmask(&mut self, vmcb: &mut Vmcb) {
        self.masked = false;
        vmcb.set_intercepts(Intercepts::IRET, false);
    }
}
