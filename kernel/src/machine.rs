//! Settings that hold for all vCPUs.

use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::object::{FaultRecord, Intercept};
use spin::Mutex;

static INTERCEPTS: AtomicU32 = AtomicU32::new(0);
static FORWARD_KICKS: Mutex<Option<u64>> = Mutex::new(None);
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

/// Sets whether kicks are passed on to the guest as NMIs: to vCPUs that use the interrupt table at
/// `table`, or to none.
///
/// A kick and an NMI of the guest that arrive together are one NMI for the processor, and nothing
/// tells that it was two. A guest that can sort out NMIs that were not meant for it asks for each
/// kick to be passed on; then none of its own is ever lost. A vCPU that has only just been started
/// has another table, or none, and an NMI would end the guest.
pub fn forward_kicks(table: Option<u64>) {
    *FORWARD_KICKS.lock() = table;
}

/// Kicks are passed on to a vCPU that uses this interrupt table.
pub fn kicks_are_forwarded(table: u64) -> bool {
    *FORWARD_KICKS.lock() == Some(table)
}
