//! Tasks: ring-3 programs with their own address spaces and capability tables.

use crate::arch::kick::kick_while;
use crate::arch::processor::PerProcessor;
use crate::fatal::Fatal;
use crate::memory::PAGE;
use crate::memory::direct::SharedPages;
use crate::memory::task_space::TaskSpace;
use crate::object::log;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use lucos_abi::boot::{BootRecord, LoadedTask, Span};
use lucos_abi::layout;
use lucos_abi::manifest::{Object, Rights as CapabilityRights};
use lucos_capability::CapabilityTable;
use lucos_paging::Rights;
use spin::Once;

/// A task. Its threads belong to the processors (see `chain`).
#[derive(Debug)]
pub struct Task {
    /// Its name in the system table.
    pub name: heapless::String<16>,
    /// What it may use.
    pub capabilities: CapabilityTable,
    /// Its address space.
    pub space: TaskSpace,
    /// First instruction of a thread.
    pub entry: u64,
    /// Pages of a thread's stack.
    pub stack_pages: u16,
    /// How often it was restarted. Threads of an older generation are gone.
    pub generation: AtomicU32,
    /// Processors that run it in ring 3 at this moment.
    inside: AtomicU32,
    /// Somebody is restoring its memory.
    restarting: AtomicBool,
    /// The data as it is at first, in the image that the boot stub has loaded.
    first_data: SharedPages,
    data: SharedPages,
    /// Its heap.
    pub heap: SharedPages,
    /// Bytes of retained memory.
    pub journal_length: u64,
}

static TASKS: Once<Vec<Task>> = Once::new();

/// Makes all tasks.
///
/// # Errors
/// The region is full.
pub fn start(record: &BootRecord) -> Result<(), Fatal> {
    let all = || record.tasks.iter().map(|loaded| Task::new(loaded, record)).collect();
    TASKS.try_call_once(all).map(|_| ())
}

/// All tasks, in the order of the system table.
pub fn all() -> &'static [Task] {
    TASKS.get().map_or(&[], Vec::as_slice)
}

impl Task {
    fn new(LoadedTask { entry, image }: &LoadedTask, record: &BootRecord) -> Result<Self, Fatal> {
        let capabilities = CapabilityTable::new(entry);
        let space = TaskSpace::new()?;
        let [constants, code, data_start, end] = entry.image.borders();
        let loaded_at = |virt| image + (virt - constants);
        space.map(constants, *image, code - constants, Rights::READ)?;
        space.map(code, loaded_at(code), data_start - code, Rights::READ_EXECUTE)?;
        let data = map_area(&space, data_start, entry.image.data)?;
        let heap = map_area(&space, layout::HEAP, entry.heap_pages)?;
        let journal_length = map_area(&space, layout::JOURNAL, entry.journal_pages)?.length();
        space.map(layout::SYSTEM_INFO, record.system_info, PAGE, Rights::READ)?;
        let reads = |object: Object| {
            let held = capabilities.get(object.slot());
            held.is_ok_and(|(_, rights)| rights.contains(CapabilityRights::READ))
        };
        if reads(Object::GuestMemory) {
            map_window(&space, &record.readable)?;
        }
        if reads(Object::Log) {
            space.map(layout::LOG, log::ring_phys(), layout::LOG_SIZE, Rights::READ)?;
        }
        let task = Self {
            name: entry.name.clone(),
            capabilities,
            space,
            entry: entry.image.entry,
            stack_pages: entry.stack_pages,
            generation: AtomicU32::new(0),
            inside: AtomicU32::new(0),
            restarting: AtomicBool::new(false),
            first_data: SharedPages::loaded(loaded_at(data_start), end - data_start),
            data,
            heap,
            journal_length,
        };
        task.restore();
        Ok(task)
    }

    /// This processor is about to run a thread of `generation` in ring 3, and to do what it asks the
    /// kernel for; `None` when that thread is gone. While the value lives nobody restores the task's
    /// memory.
    pub fn go_inside(&self, generation: u32) -> Option<Inside<'_>> {
        loop {
            while self.restarting.load(Ordering::SeqCst) {
                core::hint::spin_loop();
            }
            self.inside.fetch_add(1, Ordering::SeqCst);
            let inside = Inside { task: self, generation };
            if !inside.is_current() {
                return None;
            }
            // A restart for a thread that was gone already ends no other one.
            if !self.restarting.load(Ordering::SeqCst) {
                return Some(inside);
            }
        }
    }

    /// Ends all threads of `generation` and restores the task's memory. Called by the processor on
    /// which one of them faulted; false when another processor has ended them already.
    pub fn restart(&self, me: u32, generation: u32) -> bool {
        let next = generation.wrapping_add(1);
        let order = Ordering::SeqCst;
        // In this order: `go_inside` waits while the memory is not restored, and whoever gets past
        // that sees the new generation or is waited for.
        if self.restarting.compare_exchange(false, true, order, order).is_err() {
            return false;
        }
        let first = self.generation.compare_exchange(generation, next, order, order).is_ok();
        if first {
            // A processor in the guest runs no thread. The others come out of ring 3 by the NMI.
            let inside =
                |other: &PerProcessor| self.inside.load(order) != 0 && !other.is_in_guest();
            kick_while(me, u64::MAX, inside);
            self.restore();
        }
        self.restarting.store(false, order);
        first
    }

    fn restore(&self) {
        // They are of the same length.
        let _ = self.data.copy_from(&self.first_data, self.data.length() as usize);
        self.heap.clear();
    }
}

/// A processor runs a thread of the task, or does what that thread asked for.
#[derive(Debug)]
pub struct Inside<'a> {
    task: &'a Task,
    generation: u32,
}

impl Inside<'_> {
    /// The thread has not been ended meanwhile.
    pub fn is_current(&self) -> bool {
        self.task.generation.load(Ordering::SeqCst) == self.generation
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.task.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Maps `count` fresh pages.
fn map_area(space: &TaskSpace, virt: u64, count: u16) -> Result<SharedPages, Fatal> {
    let pages = SharedPages::allocate(count.into()).ok_or(Fatal::OutOfMemory)?;
    space.map(virt, pages.phys(), pages.length(), Rights::READ_WRITE)?;
    Ok(pages)
}

/// Maps what may be read of the guest's memory, read-only.
fn map_window(space: &TaskSpace, readable: &[Span]) -> Result<(), Fatal> {
    for Span { start, end } in readable {
        let end = *end.min(&layout::GUEST_WINDOW_SIZE);
        if let Some(length) = end.checked_sub(*start) {
            space.map(layout::GUEST_WINDOW + start, *start, length, Rights::READ)?;
        }
    }
    Ok(())
}
