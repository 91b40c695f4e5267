//! The end of the task, ordered by a test.

use core::sync::atomic::{AtomicBool, Ordering};

use lucos_service::MemoryRequest;

static ENDS: AtomicBool = AtomicBool::new(false);

/// Looks at a request before it is served. True for the order itself.
///
/// # Panics
/// At the request that follows on the order.
pub fn is_order(request: &MemoryRequest<'_>) -> bool {
    if matches!(request, MemoryRequest::EndAtNextRequest) {
        ENDS.store(true, Ordering::SeqCst);
        return true;
    }
    let ends = ENDS.load(Ordering::SeqCst);
    assert!(!ends, "a test has ordered the end of this task");
    false
}
