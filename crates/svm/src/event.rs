//! Events that are delivered to the guest (APM 15.20, EVENTINJ).

use lucos_abi::object::Event;

use crate::vmcb::Vmcb;

/// There is an event.
pub const VALID: u64 = 1 << 31;
/// The exception pushes an error code, which is in the upper half.
const HAS_ERROR_CODE: u64 = 1 << 11;
/// Type of external interrupts.
pub const INTERRUPT: u64 = 0;
/// Type of NMIs.
pub const NMI: u64 = 2;
/// Type of exceptions.
pub const EXCEPTION: u64 = 3;
/// Type of software interrupts (INTn).
pub const SOFTWARE: u64 = 4;

const NMI_VECTOR: u64 = 2;

/// A virtual interrupt waits, whatever its priority (APM appendix B, offset 0x60).
const V_IRQ: u64 = 1 << 8;
const V_IGN_TPR: u64 = 1 << 20;

/// Type of an encoded event.
pub const fn kind(event: u64) -> u64 {
    event >> 8 & 7
}

/// An encoded NMI.
pub const fn nmi() -> u64 {
    VALID | NMI << 8 | NMI_VECTOR
}

/// An encoded exception.
pub fn exception(event: Event) -> u64 {
    let error = event.error_code.map_or(0, |code| HAS_ERROR_CODE | u64::from(code) << 32);
    VALID | EXCEPTION << 8 | u64::from(event.vector) | error
}

/// What the processor makes of an exception that comes while `first`, an encoded event or 0, is
/// delivered (APM vol. 2, 8.2.9); `None`: a shutdown.
pub fn combined(first: u64, second: Event) -> Option<Event> {
    let first = match kind(first) {
        EXCEPTION if first & VALID != 0 => first as u8,
        _ => return Some(second),
    };
    let harms = |vector| contributes(vector) || vector == PAGE_FAULT;
    match first {
        DOUBLE_FAULT if harms(second.vector) => None,
        PAGE_FAULT if harms(second.vector) => Some(DOUBLE),
        _ if contributes(first) && contributes(second.vector) => Some(DOUBLE),
        _ => Some(second),
    }
}

/// Two of these become a double fault: #DE, #TS, #NP, #SS, #GP.
const fn contributes(vector: u8) -> bool {
    matches!(vector, 0 | 10..=13)
}

const DOUBLE_FAULT: u8 = 8;
const PAGE_FAULT: u8 = 14;
const DOUBLE: Event = Event { vector: DOUBLE_FAULT, error_code: Some(0) };

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
