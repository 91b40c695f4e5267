//! Non-maskable interrupts of the guest.
//!
//! Every NMI leaves the guest, so the processor's own rule that no second one comes before IRET
//! holds only for LUCOS. For the guest it is kept here: after an NMI was delivered the next waits
//! until the guest has executed IRET. The intercept of IRET tells when it is about to; one single
//! step takes it past. A processor with virtual NMIs does all that itself.

use lucos_svm::{Assists, Clean, Intercepts, Vmcb};

const TRAP_FLAG: u64 = 1 << 8;
const SINGLE_STEP: u64 = 1 << 14;

/// What the guest's NMIs wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestNmi {
    /// One has come and was not delivered.
    pending: bool,
    /// One is being handled: IRET has not been reached.
    masked: bool,
    /// Address of an IRET that ends the handling and has not been executed yet.
    iret: Option<u64>,
    /// The guest single-steps over that IRET.
    stepping: bool,
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

    /// Before an entry: delivers what can be delivered.
    pub fn before_entry(&mut self, vmcb: &mut Vmcb, assists: Assists) {
        if !self.pending || self.masked || self.stepping || vmcb.control().event_injection != 0 {
            return;
        }
        if assists.contains(Assists::VIRTUAL_NMI) {
            self.pending = false;
            vmcb.deliver_nmi(assists);
            return;
        }
        if self.iret == Some(vmcb.save().rip) {
            self.stepping = true;
            vmcb.save_mut(Clean::empty()).rflags |= TRAP_FLAG;
            return;
        }
        self.pending = false;
        self.masked = true;
        self.iret = None;
        vmcb.deliver_nmi(assists);
        vmcb.set_intercepts(Intercepts::IRET, true);
    }

    /// The guest is about to execute IRET.
    pub fn at_iret(&mut self, vmcb: &mut Vmcb) {
        self.masked = false;
        self.iret = Some(vmcb.save().rip);
        vmcb.set_intercepts(Intercepts::IRET, false);
    }

    /// A debug exception left the guest. True when it ended the step over IRET, and is none of the
    /// guest's.
    pub fn at_debug_exception(&mut self, vmcb: &mut Vmcb) -> bool {
        if !self.stepping {
            return false;
        }
        self.end_step(vmcb);
        true
    }

    /// Another exit than the debug exception while stepping: the step ended if IRET was executed
    /// or faulted.
    pub fn at_other_exit(&mut self, vmcb: &mut Vmcb) {
        if self.stepping && self.iret != Some(vmcb.save().rip) {
            self.end_step(vmcb);
        }
    }

    fn end_step(&mut self, vmcb: &mut Vmcb) {
        self.stepping = false;
        self.iret = None;
        vmcb.save_mut(Clean::DEBUG_REGISTERS).dr6 &= !SINGLE_STEP;
    }
}
