//! The guest's memory, as the kernel reads and writes it for tasks: whatever the nested tables give
//! the guest, which is everything but LUCOS's own region. What was RAM when the machine booted is
//! mapped all the time, the rest page by page.

use super::{direct, slot};
use crate::arch::cpuid;
use alloc::vec::Vec;
use lucos_abi::boot::MemoryRange;
use spin::Once;

struct Guest {
    /// Its RAM, the largest range first: it is asked for most.
    ram: Vec<MemoryRange>,
    /// LUCOS's region.
    hidden: MemoryRange,
}

static GUEST: Once<Guest> = Once::new();

/// Takes note of the memory map.
pub fn start(memory: &[MemoryRange], hidden: MemoryRange) {
    GUEST.call_once(|| {
        let ram = memory.iter().filter(|range| range.kind.is_guest_ram());
        let mut ram: Vec<_> = ram.copied().collect();
        ram.sort_unstable_by_key(|range| !range.length);
        Guest { ram, hidden }
    });
}

/// The whole range is RAM that is mapped all the time.
pub fn contains(start: u64, length: u64) -> bool {
    let Some((guest, end)) = GUEST.get().zip(start.checked_add(length)) else {
        return false;
    };
    guest.ram.iter().any(|range| range.start <= start && end <= range.end())
}

/// The processor can form the addresses, and none is LUCOS's.
fn is_guests(start: u64, length: u64) -> bool {
    let Some((guest, end)) = GUEST.get().zip(start.checked_add(length)) else {
        return false;
    };
    let apart = end <= guest.hidden.start || guest.hidden.end() <= start;
    apart && end <= 1 << cpuid::physical_bits()
}

/// Writes bytes; `None` when they are not all the guest's.
pub fn write(gpa: u64, data: &[u8]) -> Option<()> {
    let length = data.len() as u64;
    if contains(gpa, length) {
        // SAFETY: this RAM is mapped and not LUCOS's.
        unsafe { direct::write_ram(gpa, data) };
        return Some(());
    }
    is_guests(gpa, length).then(|| slot::write(gpa, data))?
}

/// Copies within RAM that is mapped all the time; `None` when either range is not.
pub fn copy(from: u64, to: u64, length: u64) -> Option<()> {
    if !contains(from, length) || !contains(to, length) {
        return None;
    }
    // SAFETY: this RAM is mapped and not LUCOS's.
    unsafe { direct::copy_ram(from, to, usize::try_from(length).ok()?) };
    Some(())
}

/// Reads bytes; `None` when they are not all the guest's.
pub fn read(gpa: u64, buffer: &mut [u8]) -> Option<()> {
    let length = buffer.len() as u64;
    if contains(gpa, length) {
        // SAFETY: this RAM is mapped.
        unsafe { direct::read_mapped(gpa, buffer) };
        return Some(());
    }
    is_guests(gpa, length).then(|| slot::read(gpa, buffer))?
}
