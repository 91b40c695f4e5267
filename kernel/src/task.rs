//! Tasks: ring-3 programs with their own address spaces and capability tables.

use crate::fatal::Fatal;
use crate::memory::direct::{Pages, SharedPages};
use crate::memory::task_space::TaskSpace;
use crate::memory::{PAGE, whole_pages};
use crate::stop;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
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
    /// How often it was restarted. Threads of an older generation are gone.
    pub generation: AtomicU32,
    /// Processors that run it in ring 3 at this moment.
    inside: AtomicU32,
    /// Somebody is restoring its memory.
    restarting: AtomicBool,
    /// The image as it was loaded, for restarts.
    image: Pages,
    image_length: usize,
    /// Writable segments.
    writable: Vec<(ProgramHeader, SharedPages)>,
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
    /// Makes a task from its entry in the system table and its ELF file.
    ///
    /// # Errors
    /// The image is not a static ELF within its area, or the region is full.
    pub fn new(
        entry: &TaskEntry,
        capabilities: CapabilityTable,
        image: Pages,
        image_length: usize,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, Fatal> {
        let space = TaskSpace::new()?;
        let bytes = image.bytes().get(..image_length).ok_or(Fatal::BadTaskImage)?;
        let (start, headers) = parse(bytes)?;
        let mut writable = Vec::new();
        for header in headers {
            let pages = load(&space, bytes, &header)?;
            if header.p_flags & PF_W != 0 {
                writable.push((header, pages));
            }
        }
        let heap = map_area(&space, layout::HEAP, entry.heap_pages)?;
        let journal = map_area(&space, layout::JOURNAL, entry.journal_pages)?;
        space.map(layout::SYSTEM_INFO, surroundings.system_info, PAGE, Rights::READ)?;
        if reads_guest_memory(entry) {
            map_window(&space, surroundings.memory)?;
        }
        Ok(Self {
            name: entry.name.clone(),
            capabilities,
            space,
            entry: start,
            generation: AtomicU32::new(0),
            inside: AtomicU32::new(0),
            restarting: AtomicBool::new(false),
            image,
            image_length,
            writable,
            heap,
            journal_length: journal.map_or(0, |pages| pages.length()),
        })
    }

    /// Bytes of heap.
    pub fn heap_length(&self) -> u64 {
        self.heap.as_ref().map_or(0, SharedPages::length)
    }

    /// Bytes of retained memory.
    pub fn journal_length(&self) -> u64 {
        self.journal_length
    }

    /// Notes that this processor is about to run a thread of `generation` in ring 3. False when
    /// that thread is gone.
    pub fn go_inside(&self, generation: u32) -> bool {
        while self.restarting.load(Ordering::SeqCst) {
            core::hint::spin_loop();
        }
        self.inside.fetch_add(1, Ordering::SeqCst);
        let current = self.generation.load(Ordering::SeqCst) == generation
            && !self.restarting.load(Ordering::SeqCst);
        if !current {
            self.go_outside();
        }
        current
    }

    /// Notes that this processor is back.
    pub fn go_outside(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    /// Ends all threads of the task and restores its memory. Called by the processor on which it
    /// faulted; when several do at once, one works and the others wait in `go_inside`.
    pub fn restart(&self, me: u32) {
        if self.restarting.swap(true, Ordering::SeqCst) {
            return;
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
        while self.inside.load(Ordering::SeqCst) != 0 {
            for other in stop::others(me) {
                other.leave_task.store(1, Ordering::SeqCst);
                if !other.in_guest.load(Ordering::SeqCst) {
                    stop::kick(other);
                }
            }
            crate::arch::wait(10_000);
        }
        self.restore();
        self.restarting.store(false, Ordering::SeqCst);
    }

    fn restore(&self) {
        for (header, pages) in &self.writable {
            pages.clear();
            let bytes = self.image.bytes().get(..self.image_length).unwrap_or(&[]);
            if let Some(data) = file_bytes(bytes, header) {
                let _ = pages.write(header.p_vaddr % PAGE, data);
            }
        }
        if let Some(heap) = &self.heap {
            heap.clear();
        }
    }
}

/// Entry point and loadable segments of a static ELF, all checked to lie in the image area, apart
/// from each other, and never writable and executable.
fn parse(bytes: &[u8]) -> Result<(u64, Vec<ProgramHeader>), Fatal> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| Fatal::BadTaskImage)?;
    if file.ehdr.e_machine != EM_X86_64 || file.ehdr.e_type != ET_EXEC {
        return Err(Fatal::BadTaskImage);
    }
    let segments = file.segments().ok_or(Fatal::BadTaskImage)?;
    let loads: Vec<_> =
        segments.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz != 0).collect();
    let mut free_from = layout::IMAGE;
    for header in &loads {
        let end = header.p_vaddr.checked_add(header.p_memsz);
        let end = end.ok_or(Fatal::BadTaskImage)?;
        let both = header.p_flags & PF_W != 0 && header.p_flags & PF_X != 0;
        let apart = header.p_vaddr & !(PAGE - 1) >= free_from && end <= layout::IMAGE_END;
        if both || !apart || header.p_filesz > header.p_memsz {
            return Err(Fatal::BadTaskImage);
        }
        free_from = end.next_multiple_of(PAGE);
    }
    Ok((file.ehdr.e_entry, loads))
}

fn file_bytes<'a>(bytes: &'a [u8], header: &ProgramHeader) -> Option<&'a [u8]> {
    let start = usize::try_from(header.p_offset).ok()?;
    let length = usize::try_from(header.p_filesz).ok()?;
    bytes.get(start..start.checked_add(length)?)
}

/// Loads and maps one segment.
fn load(space: &TaskSpace, bytes: &[u8], header: &ProgramHeader) -> Result<SharedPages, Fatal> {
    let first = header.p_vaddr & !(PAGE - 1);
    let count = whole_pages(header.p_vaddr + header.p_memsz - first);
    let pages = SharedPages::allocate(count).ok_or(Fatal::OutOfMemory)?;
    let data = file_bytes(bytes, header).ok_or(Fatal::BadTaskImage)?;
    pages.write(header.p_vaddr - first, data).ok_or(Fatal::BadTaskImage)?;
    let rights = Rights {
        write: header.p_flags & PF_W != 0,
        execute: header.p_flags & PF_X != 0,
        ..Rights::READ
    };
    space.map(first, pages.phys(), pages.length(), rights)?;
    Ok(pages)
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
