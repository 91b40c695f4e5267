//! The end of the task, ordered by a test.

use core::sync::atomic::{AtomicU32, Ordering};

use lucos_service::MemoryRequest;

/// No order.
const NEVER: u32 = u32::MAX;

/// Writes to the guest's memory after which the task ends.
static WRITES_LEFT: AtomicU32 = AtomicU32::new(NEVER);

/// Looks at a request before it is served. True for the order itself.
///
/// # Panics
/// At the request that follows on an order to end at once.
pub fn is_order(request: &MemoryRequest<'_>) -> bool {
    if let MemoryRequest::EndAfterWrites { writes } = *request {
        WRITES_LEFT.store(writes, Ordering::SeqCst);
        return true;
    }
    end_if_ordered();
    false
}

/// The guest's memory was written.
///
/// # Panics
/// When this was the last write that an order allows.
pub fn count_write() {
    let one_less = |left: u32| (left != NEVER).then(|| left.saturating_sub(1));
    let _ = WRITES_LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    end_if_ordered();
}

fn end_if_ordered() {
    let left = WRITES_LEFT.load(Ordering::SeqCst);
    assert!(left != 0, "a test has ordered the end of this task");
}
