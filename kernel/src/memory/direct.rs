//! The direct map: physical address `p` of LUCOS's region is at `DIRECT + p`.
//!
//! The kernel image lies in it too, and there is no second mapping of any page of LUCOS, so a
//! page's rights in this map are all the rights there are. The guest's memory is not in it.

use super::{PAGE, frames};
use core::ptr::{copy, copy_nonoverlapping, write_bytes};
use core::sync::atomic::{AtomicU64, Ordering};
use lucos_abi::layout::DIRECT;
use lucos_paging::{ENTRIES, TableMemory};

/// Pages of LUCOS's own memory, owned by whoever holds this. Never given back.
#[derive(Debug)]
pub struct Pages {
    phys: u64,
    length: usize,
}

impl Pages {
    /// Takes `count` pages in a row from LUCOS's region, all zero.
    pub fn allocate(count: u64) -> Option<Self> {
        let phys = frames::allocate_run(count)?;
        let length = usize::try_from(count * PAGE).ok()?;
        let pages = Self { phys, length };
        // SAFETY: the frames are RAM of LUCOS's region, mapped, and just became ours.
        unsafe { write_bytes((DIRECT + phys) as *mut u8, 0, length) };
        Some(pages)
    }

    /// Physical address of the first byte.
    pub fn phys(&self) -> u64 {
        self.phys
    }

    /// The bytes, for ever.
    pub fn leak(self) -> &'static mut [u8] {
        // SAFETY: the pages are ours, mapped and initialised; nobody gives them back, and `self` is
        // gone.
        unsafe { core::slice::from_raw_parts_mut((DIRECT + self.phys) as *mut u8, self.length) }
    }

    /// Gives the pages to a structure of the processor for ever.
    ///
    /// # Safety
    /// `T` must be valid for all-zero bytes and fit in the pages.
    pub unsafe fn leak_as<T>(self) -> &'static mut T {
        debug_assert!(size_of::<T>() <= self.length && align_of::<T>() <= PAGE as usize);
        // SAFETY: the caller vouches for `T`; the pages are zeroed, aligned and never freed.
        unsafe { &mut *((DIRECT + self.phys) as *mut T) }
    }
}

/// Pages that tasks have mapped too. They change under the kernel's eyes, so there are no references
/// to them: bytes are copied in and out, and judged after the copy.
#[derive(Debug)]
pub struct SharedPages(Pages);

impl SharedPages {
    /// Takes `count` pages in a row from LUCOS's region, all zero.
    pub fn allocate(count: u64) -> Option<Self> {
        Pages::allocate(count).map(Self)
    }

    /// Pages of the region that the boot stub has filled, and that the kernel's own table shows
    /// read-only.
    pub fn loaded(phys: u64, length: u64) -> Self {
        Self(Pages { phys, length: length as usize })
    }

    /// Physical address of the first byte.
    pub fn phys(&self) -> u64 {
        self.0.phys
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.0.length as u64
    }

    /// Where the first bytes are; `None` when there are less.
    fn first(&self, length: usize) -> Option<*mut u8> {
        (length <= self.0.length).then_some((DIRECT + self.0.phys) as *mut u8)
    }

    /// Copies the first bytes out; `None` when the pages are shorter.
    pub fn read(&self, buffer: &mut [u8]) -> Option<()> {
        let from = self.first(buffer.len())?;
        // SAFETY: the pages are mapped RAM of LUCOS, never freed, and as long as the buffer.
        unsafe { copy_nonoverlapping(from, buffer.as_mut_ptr(), buffer.len()) };
        Some(())
    }

    /// Copies bytes to the start; `None` when they do not fit.
    pub fn write(&self, data: &[u8]) -> Option<()> {
        let to = self.first(data.len())?;
        // SAFETY: the target is mapped RAM of LUCOS that no Rust object occupies.
        unsafe { copy_nonoverlapping(data.as_ptr(), to, data.len()) };
        Some(())
    }

    /// Copies bytes from the start of other pages to the start of these; `None` when they do not fit.
    pub fn copy_from(&self, from: &Self, length: usize) -> Option<()> {
        let (from, to) = from.first(length).zip(self.first(length))?;
        // SAFETY: both are mapped RAM of LUCOS that no Rust object occupies.
        unsafe { copy(from, to, length) };
        Some(())
    }

    /// Zeroes all.
    pub fn clear(&self) {
        // SAFETY: as for `write`.
        unsafe { write_bytes((DIRECT + self.0.phys) as *mut u8, 0, self.0.length) };
    }
}

/// Page tables in LUCOS's region, as the editor in `lucos_paging` sees them.
///
/// Tables that an edit drops are kept until [`Tables::release`], because other processors may walk
/// them until they have flushed. They are chained by their last entries, which nobody can reach any
/// more: whoever still walks the table came by an address, and a chained entry maps nothing (its
/// lowest bit is 0).
#[derive(Debug, Default)]
pub struct Tables {
    /// The table that was dropped last, 0 for none.
    dropped: u64,
    /// So many frames are not for these tables.
    reserve: u64,
}

impl Tables {
    /// From now on so many frames are left to others.
    pub fn leave(&mut self, reserve: u64) {
        self.reserve = reserve;
    }

    /// Gives the dropped tables back; no processor may use them any more.
    pub fn release(&mut self) {
        while self.dropped != 0 {
            let table = self.dropped;
            self.dropped = self.read(table, ENTRIES - 1);
            frames::free(table);
        }
    }
}

/// Entry `index` of the table at `table`.
fn entry(table: u64, index: usize) -> &'static AtomicU64 {
    debug_assert!(index < ENTRIES && table.is_multiple_of(PAGE));
    // SAFETY: tables are frames of LUCOS's region, mapped for ever; the processor's own accesses
    // are atomic as well.
    unsafe { &*((DIRECT + table + index as u64 * 8) as *const AtomicU64) }
}

impl TableMemory for Tables {
    fn read(&self, table: u64, index: usize) -> u64 {
        entry(table, index).load(Ordering::Relaxed)
    }

    fn write(&mut self, table: u64, index: usize, value: u64) {
        entry(table, index).store(value, Ordering::Release);
    }

    fn available(&self) -> u64 {
        frames::available().saturating_sub(self.reserve)
    }

    fn allocate(&mut self) -> Option<u64> {
        Pages::allocate(1).map(|page| page.phys())
    }

    fn free(&mut self, table: u64) {
        self.write(table, ENTRIES - 1, self.dropped);
        self.dropped = table;
    }
}
