//! The end of the task, ordered by a test.

use core::sync::atomic::{AtomicU32, Ordering};

use lucos_service::LiveupdateRequest;
use lucos_service::injection::{GUARDED_WRITE, Injection};

const NONE: u32 = u32::MAX;

/// Number of the call after whose answer the task ends.
static CALL: AtomicU32 = AtomicU32::new(NONE);

/// Takes an order, if it is for this task.
///
/// # Panics
/// When that is the order.
pub fn order(arguments: [u64; 4]) -> bool {
    match Injection::from_arguments(arguments) {
        Some(Injection::VmxEnds { call }) => CALL.store(call.into(), Ordering::SeqCst),
        Some(Injection::VmxAlwaysEnds) => panic!("a test has ordered the end of this task"),
        _ => return false,
    }
    true
}

/// `liveupdate` has answered a request.
///
/// # Panics
/// When a test has ordered that.
pub fn answered(request: &LiveupdateRequest) {
    let number = match *request {
        LiveupdateRequest::Hypercall { number, .. } => number,
        LiveupdateRequest::GuardedWrite { .. } => GUARDED_WRITE,
        LiveupdateRequest::InvalidOpcode { .. } | LiveupdateRequest::Finish => return,
    };
    let ordered = CALL.load(Ordering::SeqCst);
    assert_ne!(ordered, u32::from(number), "a test has ordered the end of this task");
}
