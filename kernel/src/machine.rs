//! Settings that hold for all vCPUs.

use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::object::{FaultRecord, Intercept};
use spin::Mutex;

static INTERCEPTS: AtomicU32 = AtomicU32::new(0);
static LAST_FAULT: Mutex<Option<FaultRecord>> = Mutex::new(None);

/// Remembers a task's fault.
pub fn record_fault(record: FaultRecord) {
    *LAST_FAULT.lock() = Some(record);
}

/// The last fault of a task.
pub fn last_fault() -> Option<FaultRecord> {
    *LAST_FAULT.lock()
}

/// Vector of the exception behind an intercept class.
const fn vector(class: Intercept) -> u32 {
    match class {
        Intercept::InvalidOpcode => 6,
        Intercept::Debug => 1,
    }
}

/// Switches a class of exits on or off.
pub fn intercept(class: Intercept, on: bool) {
    let bit = 1 << vector(class);
    if on {
        INTERCEPTS.fetch_or(bit, Ordering::SeqCst);
    } else {
        INTERCEPTS.fetch_and(!bit, Ordering::SeqCst);
    }
}

/// The exceptions to intercept, one bit each.
pub fn intercepted_exceptions() -> u32 {
    INTERCEPTS.load(Ordering::SeqCst)
}
