//! The kernel's heap, for what is made once at start: processors, tasks, lists of ranges.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use linked_list_allocator::Heap;
use spin::{Mutex, Once};

const SIZE: usize = 512 * 1024;

#[repr(C, align(4096))]
struct Area(UnsafeCell<[u8; SIZE]>);

// SAFETY: only the heap below touches the area, behind its lock.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([0; SIZE]));

struct Kernel {
    heap: Mutex<Heap>,
    started: Once,
}

#[global_allocator]
static KERNEL: Kernel = Kernel { heap: Mutex::new(Heap::empty()), started: Once::new() };

// SAFETY: the memory comes from `linked_list_allocator`, which keeps the contract; the area is
// handed over exactly once.
unsafe impl GlobalAlloc for Kernel {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.started.call_once(|| {
            // SAFETY: the area is static and nobody else uses it.
            unsafe { self.heap.lock().init(AREA.0.get().cast(), SIZE) };
        });
        let block = self.heap.lock().allocate_first_fit(layout);
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller got the block from `alloc` with this layout.
            unsafe { self.heap.lock().deallocate(block, layout) };
        }
    }
}
