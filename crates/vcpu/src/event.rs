//! Events that are delivered to the guest, as EVENTINJ has them: bits 0 to 7 are the vector, 8 to 10 the
//! type, 11 says that there is an error code, in the upper half, and 31 that there is an event. VT-x keeps
//! the error code in a field of its own and has further types; the rest is the same.

use lucos_abi::object::Event;

/// There is an event.
pub const VALID: u64 = 1 << 31;
/// The exception pushes an error code, which is in the upper half.
pub const HAS_ERROR_CODE: u64 = 1 << 11;
/// Type of external interrupts.
pub const INTERRUPT: u64 = 0;
/// Type of NMIs.
pub const NMI: u64 = 2;
/// Type of exceptions.
pub const EXCEPTION: u64 = 3;
/// Type of software interrupts (INTn).
pub const SOFTWARE: u64 = 4;

const NMI_VECTOR: u64 = 2;

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
