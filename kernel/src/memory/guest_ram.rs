//! The guest's RAM, as the kernel writes it for tasks: checked, never LUCOS's own region.

use super::direct;
use alloc::vec::Vec;
use lucos_abi::boot::MemoryRange;
use spin::Once;

static RANGES: Once<Vec<MemoryRange>> = Once::new();

/// Takes note of the guest's RAM: what the kernel has mapped of the memory map but its own region.
pub fn start(memory: &[MemoryRange]) {
    RANGES.call_once(|| {
        let ram = memory.iter().filter(|range| range.kind.is_guest_ram());
        let mut ranges: Vec<_> = ram.copied().collect();
        // The largest one first: it is asked for most.
        ranges.sort_unstable_by_key(|range| !range.length);
        ranges
    });
}

/// The whole range is guest RAM.
pub fn contains(start: u64, length: u64) -> bool {
    let Some((ranges, end)) = RANGES.get().zip(start.checked_add(length)) else {
        return false;
    };
    ranges.iter().any(|range| range.start <= start && end <= range.end())
}

/// Writes bytes; `None` when they are not all guest RAM.
pub fn write(gpa: u64, data: &[u8]) -> Option<()> {
    if !contains(gpa, data.len() as u64) {
        return None;
    }
    // SAFETY: guest RAM is mapped and not LUCOS's.
    unsafe { direct::write_ram(gpa, data) };
    Some(())
}

/// Reads bytes; `None` when they are not all guest RAM.
pub fn read(gpa: u64, buffer: &mut [u8]) -> Option<()> {
    if !contains(gpa, buffer.len() as u64) {
        return None;
    }
    // SAFETY: guest RAM is mapped.
    unsafe { direct::read_mapped(gpa, buffer) };
    Some(())
}

/// Copies within guest RAM; `None` when either range is not all guest RAM.
pub fn copy(from: u64, to: u64, length: u64) -> Option<()> {
    if !contains(from, length) || !contains(to, length) {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    // SAFETY: guest RAM is mapped and not LUCOS's.
    unsafe { direct::copy_ram(from, to, length) };
    Some(())
}
