//! Events in the VMCB (APM 15.20, EVENTINJ and EXITINTINFO).

use lucos_vcpu::event::{EXCEPTION, INTERRUPT, NMI, SOFTWARE, VALID, kind};

use crate::vmcb::Vmcb;

/// A virtual interrupt waits, whatever its priority (APM appendix B, offset 0x60).
const V_IRQ: u64 = 1 << 8;
const V_IGN_TPR: u64 = 1 << 20;

impl Vmcb {
    /// Delivers an encoded event at the next run, in the place of any other.
    pub fn inject(&mut self, event: u64) {
        self.control.event_injection = event;
    }

    /// Takes back the event that would be delivered at the next run when an exception is to come
    /// first, and it would not come by itself again. An interrupt comes as soon as the guest lets it
    /// (APM 15.21.4); true for an NMI, which somebody else has to remember.
    pub fn put_off(&mut self) -> bool {
        let event = core::mem::take(&mut self.control.event_injection);
        if event & VALID != 0 && kind(event) == INTERRUPT {
            self.control.virtual_interrupts = V_IRQ | V_IGN_TPR | (event & 0xff) << 32;
        }
        event & VALID != 0 && kind(event) == NMI
    }

    /// The event whose delivery the last exit interrupted, to be injected again, since nobody else
    /// remembers it.
    ///
    /// Software interrupts and breakpoints (INTn, INT3, INTO) are left out: their instruction runs
    /// again.
    pub fn interrupted_event(&self) -> Option<u64> {
        let event = self.control.exit_interrupt_info;
        let repeats =
            kind(event) == SOFTWARE || kind(event) == EXCEPTION && matches!(event & 0xff, 3 | 4);
        (event & VALID != 0 && !repeats).then_some(event)
    }
}
