//! What lies at a guest-physical address.

use lucos_abi::boot::{MemoryKind, MemoryRange, SystemInfo};

use crate::PAGE;

/// The guest-physical address space of this machine.
#[derive(Clone, Copy, Debug)]
pub struct GuestMap<'a> {
    memory: &'a [MemoryRange],
    /// The largest range of RAM: what is asked for lies there nearly always.
    main: MemoryRange,
    region: MemoryRange,
    /// First address that the processor cannot form.
    end: u64,
}

impl<'a> GuestMap<'a> {
    /// The map that the kernel tells of.
    pub fn new(info: &'a SystemInfo) -> Self {
        let ram = info.memory.iter().filter(|range| range.kind == MemoryKind::Ram);
        let none = MemoryRange { start: 0, length: 0, kind: MemoryKind::Ram };
        let main = ram.max_by_key(|range| range.length).copied().unwrap_or(none);
        Self {
            memory: &info.memory,
            main,
            region: info.region,
            end: 1 << info.physical_bits.min(52),
        }
    }

    /// First address that the processor cannot form.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// First address behind all RAM.
    pub fn ram_end(&self) -> u64 {
        self.owned().map(|range| range.end()).max().unwrap_or(0)
    }

    /// The memory that the guest owns, in the order of addresses: RAM, and RAM that holds ACPI
    /// tables.
    pub fn owned(&self) -> impl Iterator<Item = MemoryRange> + '_ {
        let tables = [MemoryKind::AcpiReclaimable, MemoryKind::AcpiNvs];
        self.memory
            .iter()
            .copied()
            .filter(move |range| range.kind.is_guest_ram() || tables.contains(&range.kind))
    }

    /// Whether the page with this address belongs to LUCOS.
    pub fn is_hidden(&self, gpa: u64) -> bool {
        self.region.start <= gpa && gpa < self.region.end()
    }

    fn is_in_main(&self, gpa: u64, end: u64) -> bool {
        self.main.start <= gpa && end <= self.main.end()
    }

    /// Whether the kernel writes `length` bytes from `gpa` on for this task: all of them lie in one
    /// range of RAM or in the NVS area.
    pub fn is_writable(&self, gpa: u64, length: u64) -> bool {
        let Some(end) = gpa.checked_add(length) else {
            return false;
        };
        if self.is_in_main(gpa, end) {
            return true;
        }
        self.owned()
            .any(|range| range.kind.is_guest_ram() && range.start <= gpa && end <= range.end())
    }

    /// The first of `length` bytes from `gpa` on that is not the guest's memory; `None` when all
    /// are.
    pub fn first_foreign(&self, gpa: u64, length: u64) -> Option<u64> {
        let Some(end) = gpa.checked_add(length) else {
            return Some(gpa);
        };
        if self.is_in_main(gpa, end) {
            return None;
        }
        let mut next = gpa;
        for range in self.owned() {
            if next >= end {
                break;
            }
            if range.start <= next && next < range.end() {
                next = range.end();
            }
        }
        (next < end).then_some(next)
    }
}

/// The page with this address.
pub const fn page_of(gpa: u64) -> u64 {
    gpa & !(PAGE - 1)
}

#[cfg(test)]
mod tests {
    use crate::fake::{self, AREA, HIGH, REGION};

    #[test]
    fn only_the_guests_own_memory_is_not_foreign() {
        let info = fake::info();
        let map = fake::map(&info);
        assert_eq!(map.first_foreign(0, 0x9_f000), None);
        assert_eq!(map.first_foreign(0x9_efff, 2), Some(0x9_f000));
        assert_eq!(map.first_foreign(AREA - 1, 2), None);
        assert_eq!(map.first_foreign(REGION - 1, 2), Some(REGION));
        assert_eq!(map.first_foreign(HIGH, 1), None);
        assert_eq!(map.first_foreign(u64::MAX, 2), Some(u64::MAX));
    }

    #[test]
    fn writes_stay_in_one_range_that_the_kernel_takes() {
        let info = fake::info();
        let map = fake::map(&info);
        assert!(map.is_writable(AREA, 0x1_0000));
        assert!(!map.is_writable(AREA - 1, 2));
        assert!(!map.is_writable(REGION, 1));
        assert!(!map.is_writable(fake::TABLES, 1));
    }
}
