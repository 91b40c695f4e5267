//! The heap of a task, shared by its threads.
//!
//! Free pieces are kept by size, so that an allocation does not walk through all of them: the
//! instruction decoder alone makes thousands at the start of a task.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use lucos_abi::layout;
use spin::Mutex;
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

struct TaskHeap(Mutex<Talc<Manual, DefaultBinning>>);

#[global_allocator]
static HEAP: TaskHeap = TaskHeap(Mutex::new(Talc::new(Manual)));

/// Takes the memory of `size` bytes at [`layout::HEAP`] in use, unless another thread has done so.
///
/// # Safety
/// The kernel has mapped that memory for this task, readable and writable, and nothing but this
/// heap uses it.
pub(crate) unsafe fn initialise(size: u64) {
    let mut heap = HEAP.0.lock();
    if !heap.is_metadata_established() && size > 0 {
        // A heap that is too small for its own lists stays empty.
        // SAFETY: the caller's promise; done once, under the lock.
        let _ = unsafe { heap.claim(layout::HEAP as *mut u8, size as usize) };
    }
}

// SAFETY: memory comes from one `Talc` behind a lock, which keeps the contract of `GlobalAlloc`;
// null is returned when it has no room.
unsafe impl GlobalAlloc for TaskHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises that the layout is not empty.
        unsafe { self.0.lock().allocate(layout) }.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller got `memory` from `alloc` with this layout.
        unsafe { self.0.lock().deallocate(memory, layout) };
    }
}
