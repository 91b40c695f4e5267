//! The kernel's heap, for what is made once at start: processors, tasks, lists of ranges.

use super::direct::Pages;
use crate::fatal::Fatal;
use linked_list_allocator::LockedHeap;

/// Pages for what there is once, and for each processor.
const PAGES: u64 = 32;
const PAGES_PER_CPU: u64 = 8;

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: LockedHeap = LockedHeap::empty();

/// Makes room for what so many processors need. Nothing is allocated before; once.
///
/// # Errors
/// The region is full.
pub fn start(processors: usize) -> Result<(), Fatal> {
    let count = PAGES + processors as u64 * PAGES_PER_CPU;
    let pages = Pages::allocate(count).ok_or(Fatal::OutOfMemory)?;
    let area = pages.leak();
    // SAFETY: the pages are the heap's alone from now on, for ever, and it was empty before.
    unsafe { HEAP.lock().init(area.as_mut_ptr(), area.len()) };
    Ok(())
}
