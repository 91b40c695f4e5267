//! Tasks: ring-3 programs with their own address spaces and capability tables.

use crate::arch::nmi;
use crate::arch::processor::PerProcessor;
use crate::fatal::Fatal;
use crate::memory::PAGE;
use crate::memory::direct::{Pages, SharedPages};
use crate::memory::task_space::TaskSpace;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use lucos_abi::boot::MemoryRange;
use lucos_abi::layout;
use lucos_abi::manifest::{Object, Rights as CapabilityRights, TaskEntry};
use lucos_capability::CapabilityTable;
use lucos_paging::Rights;

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
    /// The image. Constants and code are mapped from here, data starts as it is here.
    image: Pages,
    /// Offset of the data in the image.
    data_at: usize,
    data: Option<SharedPages>,
    heap: Option<SharedPages>,
    journal_length: u64,
}

/// What every task sees besides its own memory.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Physical address of the page with the system information.
    pub system_info: u64,
    /// The memory map.
    pub memory: &'a [MemoryRange],
}

impl Task {
    /// Makes a task from its checked entry in the system table and its image.
    ///
    /// # Errors
    /// The image is not as long as the table says, or the region is full.
    pub fn new(
        entry: &TaskEntry,
        capabilities: CapabilityTable,
        image: Pages,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, Fatal> {
        let space = TaskSpace::new()?;
        let [constants, code, data_start, end] = entry.image.borders();
        if image.bytes().len() as u64 != end - constants {
            return Err(Fatal::BadTaskImage);
        }
        space.map(constants, image.phys(), code - constants, Rights::READ)?;
        let code_at = image.phys() + (code - constants);
        space.map(code, code_at, data_start - code, Rights::READ_EXECUTE)?;
        let data = map_area(&space, data_start, entry.image.data)?;
        let heap = map_area(&space, layout::HEAP, entry.heap_pages)?;
        let journal = map_area(&space, layout::JOURNAL, entry.journal_pages)?;
        space.map(layout::SYSTEM_INFO, surroundings.system_info, PAGE, Rights::READ)?;
        if reads_guest_memory(entry) {
            map_window(&space, surroundings.memory)?;
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
            image,
            data_at: (data_start - constants) as usize,
            data,
            heap,
            journal_length: journal.map_or(0, |pages| pages.length()),
        };
        task.restore();
        Ok(task)
    }

    /// Bytes of heap.
    pub fn heap_length(&self) -> u64 {
        self.heap.as_ref().map_or(0, SharedPages::length)
    }

    /// Bytes of retained memory.
    pub fn journal_length(&self) -> u64 {
        self.journal_length
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
                |other: &PerProcessor| self.inside.load(order) != 0 && !other.in_guest.load(order);
            nmi::kick_while(me, u64::MAX, inside);
            self.restore();
        }
        self.restarting.store(false, order);
        first
    }

    fn restore(&self) {
        if let Some(data) = &self.data {
            let _ = data.write(0, self.image.bytes().get(self.data_at..).unwrap_or(&[]));
        }
        if let Some(heap) = &self.heap {
            heap.clear();
        }
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

/// Maps `count` fresh pages, or nothing when `count` is 0.
fn map_area(space: &TaskSpace, virt: u64, count: u16) -> Result<Option<SharedPages>, Fatal> {
    if count == 0 {
        return Ok(None);
    }
    let pages = SharedPages::allocate(count.into()).ok_or(Fatal::OutOfMemory)?;
    space.map(virt, pages.phys(), pages.length(), Rights::READ_WRITE)?;
    Ok(Some(pages))
}

fn reads_guest_memory(entry: &TaskEntry) -> bool {
    entry.capabilities.iter().any(|capability| {
        capability.object == Object::GuestMemory
            && capability.rights.contains(CapabilityRights::READ)
    })
}

/// Maps what may be read of the guest's memory, read-only.
fn map_window(space: &TaskSpace, memory: &[MemoryRange]) -> Result<(), Fatal> {
    for range in memory.iter().filter(|range| range.kind.is_readable()) {
        let end = range.end().min(layout::GUEST_WINDOW_SIZE);
        if let Some(length) = end.checked_sub(range.start) {
            space.map(layout::GUEST_WINDOW + range.start, range.start, length, Rights::READ)?;
        }
    }
    Ok(())
}
