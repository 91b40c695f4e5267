//! Where LUCOS goes.

use lucos_system_info::{MemoryKind, MemoryRange};

/// Bytes of the region for LUCOS itself, and for each processor: its threads' stacks and messages,
/// its own, its vCPU, and their page tables.
const REGION_BASE: u64 = 6 << 20;
const REGION_PER_CPU: u64 = 256 << 10;
/// The region's alignment, so that nested paging hides it with large pages.
const REGION_ALIGN: u64 = 2 << 20;
/// Bytes of the ACPI NVS area beside it.
pub const NVS_LENGTH: u64 = 64 << 10;
/// Both lie below this address, where 32-bit code and all page tables reach.
const LIMIT: u64 = 1 << 32;

/// The two ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// LUCOS's own region.
    pub region: MemoryRange,
    /// The ACPI NVS area, directly above or below it.
    pub nvs: MemoryRange,
}

/// Bytes of the region on a machine with so many processors.
pub const fn region_length(processors: usize) -> u64 {
    (REGION_BASE + processors as u64 * REGION_PER_CPU).next_multiple_of(REGION_ALIGN)
}

/// The highest place in RAM below 4 GiB where a region of this length and the NVS area touch nothing
/// that is `taken`: in the part of the RAM that is `preferred` if there is one, anywhere otherwise.
/// `None` when there is none.
pub fn choose(
    memory: &[MemoryRange],
    preferred: impl Iterator<Item = MemoryRange> + Clone,
    taken: &[MemoryRange],
    length: u64,
) -> Option<Placement> {
    let ram = memory.iter().filter(|range| range.kind == MemoryKind::Ram);
    let highest = |place: &Placement| place.region.start;
    let parts = ram.clone().flat_map(|ram| preferred.clone().filter_map(|part| both(ram, &part)));
    let best = parts.filter_map(|part| choose_in(&part, taken, length)).max_by_key(highest);
    best.or_else(|| ram.rev().find_map(|range| choose_in(range, taken, length)))
}

/// What two ranges have in common.
fn both(ram: &MemoryRange, part: &MemoryRange) -> Option<MemoryRange> {
    let start = ram.start.max(part.start);
    let length = ram.end().min(part.end()).checked_sub(start)?;
    Some(place(start, length, ram.kind))
}

fn choose_in(ram: &MemoryRange, taken: &[MemoryRange], length: u64) -> Option<Placement> {
    let end = ram.end().min(LIMIT);
    let mut base = end.checked_sub(length)? / REGION_ALIGN * REGION_ALIGN;
    while base >= ram.start {
        for nvs in [base + length, base.wrapping_sub(NVS_LENGTH)] {
            let low = base.min(nvs);
            let high = low + length + NVS_LENGTH;
            let is_ram = ram.start <= low && high <= end && low < base + length;
            let is_free = taken.iter().all(|used| used.end() <= low || high <= used.start);
            if is_ram && is_free {
                return Some(Placement {
                    region: place(base, length, MemoryKind::Region),
                    nvs: place(nvs, NVS_LENGTH, MemoryKind::NvsArea),
                });
            }
        }
        base = base.checked_sub(REGION_ALIGN)?;
    }
    None
}

const fn place(start: u64, length: u64, kind: MemoryKind) -> MemoryRange {
    MemoryRange { start, length, kind }
}

#[cfg(test)]
mod tests {
    use lucos_system_info::MemoryRange;
    use proptest::prelude::*;

    use super::{NVS_LENGTH, Placement, REGION_ALIGN, region_length};
    use crate::handover::in_use;

    const MIB: u64 = 1 << 20;
    /// The region of a small machine.
    const REGION_LENGTH: u64 = region_length(8);

    fn choose(memory: &[MemoryRange], taken: &[MemoryRange]) -> Option<Placement> {
        super::choose(memory, [].into_iter(), taken, REGION_LENGTH)
    }

    fn starts(placement: Option<Placement>) -> Option<(u64, u64)> {
        placement.map(|found| (found.region.start, found.nvs.start))
    }

    #[test]
    fn the_region_lies_as_high_as_it_fits() {
        // 256 MiB of QEMU, whose last 128 KiB belong to the firmware.
        let memory = [in_use(0, 0x9_fc00), in_use(MIB, 0xffe_0000 - MIB)];
        let found = starts(choose(&memory, &[]));
        assert_eq!(found, Some((0xf60_0000, 0xfe0_0000)), "NVS above");
        let aligned = [in_use(MIB, 255 * MIB)];
        let found = starts(choose(&aligned, &[]));
        assert_eq!(found, Some((0xf80_0000, 0xf7f_0000)), "NVS below");
    }

    #[test]
    fn what_is_taken_is_avoided() {
        let memory = [in_use(MIB, 255 * MIB)];
        let bundle = in_use(0xd00_0000, 0x2f0_0000);
        let found = starts(choose(&memory, &[in_use(MIB, MIB), bundle]));
        assert_eq!(found, Some((0xc80_0000, 0xc7f_0000)));
        let one_byte = in_use(0xf90_0000, 1);
        let found = starts(choose(&memory, &[one_byte]));
        assert_eq!(found, Some((0xf00_0000, 0xf80_0000)));
    }

    #[test]
    fn memory_above_4_gib_is_not_used() {
        let memory = [in_use(MIB, 20 * MIB), in_use(4096 * MIB, 4096 * MIB)];
        assert_eq!(starts(choose(&memory, &[])), Some((0xc0_0000, 0x140_0000)));
        let across = [in_use(4000 * MIB, 1000 * MIB)];
        let found = choose(&across, &[]).unwrap();
        assert_eq!(found.region.end(), 1 << 32);
        assert_eq!(found.nvs.end(), found.region.start);
    }

    #[test]
    fn there_may_be_no_room() {
        assert_eq!(choose(&[], &[]), None);
        assert_eq!(choose(&[in_use(0, 8 * MIB)], &[]), None);
        let room = [in_use(0, 8 * MIB + NVS_LENGTH)];
        assert_eq!(starts(choose(&room, &[])), Some((0, 8 * MIB)));
        assert_eq!(choose(&room, &[in_use(4 * MIB, 1)]), None);
    }

    #[test]
    fn the_region_grows_with_the_machine() {
        let lengths = [1, 8, 9, 32, 64].map(|count| region_length(count) / MIB);
        assert_eq!(lengths, [8, 8, 10, 14, 22]);
        let memory = [in_use(MIB, 255 * MIB)];
        let found = super::choose(&memory, [].into_iter(), &[], region_length(64)).unwrap();
        assert_eq!((found.region.start, found.region.end()), (234 * MIB, 256 * MIB));
    }

    #[test]
    fn the_preferred_part_of_the_ram_comes_first() {
        let memory = [in_use(MIB, 255 * MIB), in_use(4096 * MIB, 4096 * MIB)];
        let place = |preferred: &[MemoryRange]| {
            let preferred = preferred.iter().copied();
            starts(super::choose(&memory, preferred, &[], REGION_LENGTH))
        };
        let low = in_use(20 * MIB, 20 * MIB + NVS_LENGTH);
        let middle = in_use(100 * MIB, 20 * MIB + NVS_LENGTH);
        let expected = Some((112 * MIB, 120 * MIB));
        assert_eq!(place(&[low, middle]), expected);
        assert_eq!(place(&[middle, low]), expected);
        // Where nothing can be: too small, no RAM, above 4 GiB.
        let useless = [in_use(40 * MIB, 8 * MIB), in_use(300 * MIB, 99 * MIB), memory[1]];
        assert_eq!(place(&useless), place(&[]));
    }

    fn ranges() -> impl Strategy<Value = Vec<MemoryRange>> {
        let range =
            (0..64u64, 1..200u64).prop_map(|(gap, length)| (gap * MIB / 4, length * MIB / 4));
        prop::collection::vec(range, 1..6).prop_map(|parts| {
            let mut next = 0;
            let mut ranges = Vec::new();
            for (gap, length) in parts {
                ranges.push(in_use(next + gap, length));
                next += gap + length;
            }
            ranges
        })
    }

    proptest! {
        #[test]
        fn a_place_is_ram_free_aligned_and_the_highest(memory in ranges(), taken in ranges()) {
            let fits = |base: u64, nvs: u64| {
                let (low, length) = (base.min(nvs), REGION_LENGTH + NVS_LENGTH);
                memory.iter().any(|ram| ram.start <= low && low + length <= ram.end())
                    && !taken.iter().any(|used| used.start < low + length && low < used.end())
            };
            let beside = |base: u64| [base.wrapping_sub(NVS_LENGTH), base + REGION_LENGTH];
            let possible = (0..400u64)
                .map(|number| number * REGION_ALIGN)
                .rfind(|&base| beside(base).iter().any(|&nvs| nvs < 1 << 40 && fits(base, nvs)));
            let found = choose(&memory, &taken);
            prop_assert_eq!(found.map(|found| found.region.start), possible);
            if let Some(found) = found {
                prop_assert!(beside(found.region.start).contains(&found.nvs.start));
                prop_assert!(fits(found.region.start, found.nvs.start));
            }
        }
    }
}
