//! What lies at a guest-physical address.

use lucos_abi::boot::{MemoryKind, MemoryRange, SystemInfo};

use crate::PAGE;

/// The guest-physical address space of this machine.
#[derive(Clone, Copy, Debug)]
pub struct GuestMap<'a> {
    memory: &'a [MemoryRange],
    region: MemoryRange,
    /// First address that the processor cannot form.
    end: u64,
}

impl<'a> GuestMap<'a> {
    /// The map that the kernel tells of.
    pub fn new(info: &'a SystemInfo) -> Self {
        Self { memory: &info.memory, region: info.region, end: 1 << info.physical_bits.min(52) }
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

    /// The first of `length` bytes from `gpa` on that the guest cannot use as memory; `None` when it
    /// can use all. What it can use is what the nested tables give it, everything but LUCOS's
    /// region: memory may be added while the machine runs.
    pub fn first_foreign(&self, gpa: u64, length: u64) -> Option<u64> {
        let Some(end) = gpa.checked_add(length) else {
            return Some(gpa);
        };
        if gpa < self.region.end() && self.region.start < end {
            return Some(gpa.max(self.region.start));
        }
        (end > self.end).then(|| gpa.max(self.end))
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
    fn everything_but_lucos_is_the_guests() {
        let info = fake::info();
        let map = fake::map(&info);
        let end = map.end();
        for (gpa, length) in [(0, REGION), (AREA, 0x1_0000), (0xfee0_0000, 0x1000), (HIGH << 4, 1)]
        {
            assert_eq!(map.first_foreign(gpa, length), None);
        }
        assert_eq!(map.first_foreign(REGION - 1, 2), Some(REGION));
        assert_eq!(map.first_foreign(REGION + 0x1234, 1), Some(REGION + 0x1234));
        assert_eq!(map.first_foreign(REGION + 0x7f_ffff, 2), Some(REGION + 0x7f_ffff));
        assert_eq!(map.first_foreign(REGION + 0x80_0000, 1), None);
        assert_eq!(map.first_foreign(end - 1, 2), Some(end));
        assert_eq!(map.first_foreign(end + 5, 1), Some(end + 5));
        assert_eq!(map.first_foreign(u64::MAX, 2), Some(u64::MAX));
    }
}
