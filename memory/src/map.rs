//! What lies at a guest-physical address.

use lucos_service::MemoryError;
use lucos_system_info::{MemoryKind, MemoryRange, SystemInfo};

use crate::PAGE;

/// Devices have their registers below it.
const FOUR_GIB: u64 = 1 << 32;

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
        let ram = info.memory.iter().filter(|range| range.kind.is_guest_ram());
        let none = MemoryRange { length: 0, ..info.region };
        Self {
            memory: &info.memory,
            main: ram.max_by_key(|range| range.length).copied().unwrap_or(none),
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

    /// The memory that the guest owned when the machine booted, in the order of addresses: RAM, and
    /// RAM that holds ACPI tables.
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

    /// Checks that the guest can use all of `length` bytes from `gpa` on as memory.
    ///
    /// # Errors
    /// [`MemoryError::NotRam`] with the first address that it cannot use.
    pub fn check(&self, gpa: u64, length: u64) -> Result<(), MemoryError> {
        self.first_foreign(gpa, length).map_or(Ok(()), |gpa| Err(MemoryError::NotRam { gpa }))
    }

    /// The first of `length` bytes from `gpa` on that the guest cannot use as memory; `None` when it
    /// can use all. Below 4 GiB memory is what firmware reports: devices are at the other addresses,
    /// and reading a register may have effects. Above, memory may be added while the machine runs:
    /// it is what the nested tables give the guest, everything but LUCOS's region.
    pub fn first_foreign(&self, gpa: u64, length: u64) -> Option<u64> {
        let Some(end) = gpa.checked_add(length) else {
            return Some(gpa);
        };
        if self.main.start <= gpa && end <= self.main.end() {
            return None;
        }
        let mut next = gpa;
        while next < end.min(FOUR_GIB) {
            match self.memory.iter().find(|range| range.start <= next && next < range.end()) {
                Some(range) if range.kind.is_readable() => next = range.end(),
                _ => return Some(next),
            }
        }
        if next < self.region.end() && self.region.start < end {
            return Some(next.max(self.region.start));
        }
        (end > self.end).then(|| next.max(self.end))
    }
}

/// The page with this address.
pub const fn page_of(gpa: u64) -> u64 {
    gpa & !(PAGE - 1)
}

#[cfg(test)]
mod tests {
    use crate::fake::{self, AREA, HIGH, REGION, TABLES};

    #[test]
    fn memory_is_the_guests_but_for_lucos() {
        let info = fake::info();
        let map = fake::map(&info);
        let end = map.end();
        for (gpa, length) in [
            (0, 0x9_f000),
            (AREA, REGION - AREA),
            (TABLES, 0x1_0000),
            (HIGH, 2 << 30),
            (HIGH << 4, 1),
            (end - 1, 1),
            (0xfee0_0000, 0),
        ] {
            assert_eq!(map.first_foreign(gpa, length), None);
        }
        assert_eq!(map.first_foreign(REGION - 1, 2), Some(REGION));
        assert_eq!(map.first_foreign(REGION + 0x1234, 1), Some(REGION + 0x1234));
        assert_eq!(map.first_foreign(REGION + 0x7f_ffff, 2), Some(REGION + 0x7f_ffff));
        assert_eq!(map.first_foreign(end - 1, 2), Some(end));
        assert_eq!(map.first_foreign(end + 5, 1), Some(end + 5));
        assert_eq!(map.first_foreign(u64::MAX, 2), Some(u64::MAX));
    }

    #[test]
    fn below_4_gib_what_is_not_memory_is_devices() {
        let info = fake::info();
        let map = fake::map(&info);
        for gpa in [0x9_f000, 0xe_0000, TABLES + 0x1_0000, 0xe000_0000, 0xfee0_0000, HIGH - 1] {
            assert_eq!(map.first_foreign(gpa, 1), Some(gpa));
        }
        assert_eq!(map.first_foreign(0x9_e000, 0x2000), Some(0x9_f000));
        assert_eq!(map.first_foreign(TABLES, HIGH - TABLES), Some(TABLES + 0x1_0000));
        assert_eq!(map.first_foreign(HIGH - 8, 16), Some(HIGH - 8));
    }

    #[test]
    fn a_region_above_4_gib_is_lucos_as_well() {
        let mut info = fake::info();
        info.region.start = HIGH + 0x20_0000;
        let map = fake::map(&info);
        assert_eq!(map.first_foreign(HIGH, 0x20_0000), None);
        assert_eq!(map.first_foreign(HIGH, 1 << 30), Some(HIGH + 0x20_0000));
    }
}
