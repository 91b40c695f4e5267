//! One page at a time of the guest's memory.

use super::direct::Tables;
use super::{PAGE, kernel_space};
use crate::fatal::Fatal;
use core::ops::Range;
use lucos_paging::format::{ADDRESS, level_size};
use lucos_paging::{ENTRIES, Format, Mapping, Rights, TableMemory};
use spin::{Mutex, Once};

/// Where the page is mapped, in the half that all address spaces share.
const AT: u64 = 0xffff_f000_0000_0000;

/// The last table on the way to the place, which is its first page.
static TABLE: Once<u64> = Once::new();
/// Held by the processor that uses the place.
static SLOT: Mutex<()> = Mutex::new(());

/// Makes the tables for the place. Before there are tasks: they share the root's entries as they are
/// then.
///
/// # Errors
/// The region is full.
pub fn start() -> Result<(), Fatal> {
    kernel_space::set(Mapping { virt: AT, phys: 0, length: PAGE, rights: Rights::READ })?;
    let mut table = kernel_space::table().root;
    for level in (2..=4).rev() {
        let index = (AT / level_size(level)) as usize % ENTRIES;
        table = Tables::default().read(table, index) & ADDRESS;
    }
    TABLE.call_once(|| table);
    show(0, Rights::NONE).ok_or(Fatal::OutOfMemory)
}

/// Copies from there; `None` when it cannot be mapped.
pub fn read(gpa: u64, to: &mut [u8]) -> Option<()> {
    by_page(gpa, to.len(), Rights::READ, |place, part| {
        let Some(to) = to.get_mut(part) else { return };
        // SAFETY: the page is mapped at the place as long as the slot is held. The guest may write
        // it meanwhile; bytes are copied, whatever they are.
        unsafe { (place as *const u8).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
    })
}

/// Copies to there; `None` when it cannot be mapped.
pub fn write(gpa: u64, data: &[u8]) -> Option<()> {
    by_page(gpa, data.len(), Rights::READ_WRITE, |place, part| {
        let Some(data) = data.get(part) else { return };
        // SAFETY: as in `read`, and no Rust object lies there: it is outside of LUCOS's region.
        unsafe { store(place, data) };
    })
}

/// Writes bytes, and each aligned word of 2, 4 or 8 bytes among them at once: who reads it meanwhile
/// sees what it was or what it becomes. Many words take one instruction: the guest's image comes so.
///
/// # Safety
/// The bytes at `place` can be written, and no Rust object lies there.
unsafe fn store(mut place: u64, mut data: &[u8]) {
    while let Some(most) = data.len().checked_ilog2() {
        let size = 1 << place.trailing_zeros().min(most).min(3);
        let length = if size == 8 { data.len() & !7 } else { size };
        let from = data.as_ptr();
        // SAFETY: the caller vouches for the place, which is a multiple of the size; the data has as
        // many bytes. Each step of the string instruction stores one word (APM vol. 2, 7.3.2).
        unsafe {
            match size {
                1 => (place as *mut u8).write_volatile(from.read()),
                2 => (place as *mut u16).write_volatile(from.cast::<u16>().read_unaligned()),
                4 => (place as *mut u32).write_volatile(from.cast::<u32>().read_unaligned()),
                _ => core::arch::asm!("rep movsq", inout("rcx") length / 8 => _,
                    inout("rsi") from => _, inout("rdi") place => _, options(nostack, preserves_flags)),
            }
        }
        (place, data) = (place + length as u64, data.get(length..).unwrap_or_default());
    }
}

/// Calls `act` with the part of each page, and where it is mapped then.
fn by_page(
    gpa: u64,
    length: usize,
    rights: Rights,
    mut act: impl FnMut(u64, Range<usize>),
) -> Option<()> {
    let _slot = SLOT.lock();
    let mut done = 0;
    while done < length {
        let at = gpa + done as u64;
        let part = (length - done).min((PAGE - at % PAGE) as usize);
        show(at - at % PAGE, rights)?;
        act(AT + at % PAGE, done..done + part);
        done += part;
    }
    show(0, Rights::NONE)
}

/// Maps a page at the place, for this processor. Another one that used the place before looks anew
/// when it comes here.
fn show(phys: u64, rights: Rights) -> Option<()> {
    Tables::default().write(*TABLE.get()?, 0, Format::LongMode.leaf(phys, rights, 1));
    // SAFETY: forgetting a translation changes nothing but time.
    unsafe { x86::tlb::flush(AT as usize) };
    Some(())
}
