//! The heap of a task, shared by its threads.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use linked_list_allocator::Heap;
use lucos_abi::layout;
use spin::Mutex;

struct TaskHeap(Mutex<Heap>);

#[global_allocator]
static HEAP: TaskHeap = TaskHeap(Mutex::new(Heap::empty()));

/// Takes the memory of `size` bytes at [`layout::HEAP`] in use, unless another thread has done so.
///
/// # Safety
/// The kernel has mapped that memory for this task, readable and writable, and nothing but this
/// heap uses it.
pub(crate) unsafe fn initialise(size: u64) {
    let mut heap = HEAP.0.lock();
    if heap.size() == 0 && size > 0 {
        // SAFETY: the caller's promise; done once, under the lock.
        unsafe { heap.init(layout::HEAP as *mut u8, size as usize) };
    }
}

// SAFETY: memory comes from one `Heap` behind a lock, which keeps the contract of `GlobalAlloc`;
// null is returned when it has no room.
unsafe impl GlobalAlloc for TaskHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: the caller got `memory` from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(memory, layout) };
        }
    }
}
