//! The memory map: what firmware reports, brought into order, with LUCOS's own parts in it.
//!
//! It is made once, here, in whole pages; everybody after the stub goes by the kinds in it.

use heapless::Vec;
use lucos_abi::boot::{MAX_RANGES, Span};
use lucos_abi::layout::PAGE;
use lucos_system_info::{MemoryKind, MemoryRange};

use crate::error::BootError;
use crate::placement::Placement;

/// Most ranges that a firmware may report.
const MAX_REPORTED: usize = 4 * MAX_RANGES;

/// A memory map.
pub type MemoryMap = Vec<MemoryRange, MAX_RANGES>;

/// Sorts ranges, lets the more reserved kind win where they overlap, joins neighbours of the same
/// kind, and brings them to whole pages. A page that is RAM in part only is none.
///
/// # Errors
/// [`BootError::BadMemoryMap`] when there are no ranges, or too many before or after.
pub fn normalize(reported: impl Iterator<Item = MemoryRange>) -> Result<MemoryMap, BootError> {
    // To pages only when neighbours are joined: a page may be RAM by two ranges that meet in it.
    let exact: Vec<MemoryRange, MAX_REPORTED> = in_order(reported.filter_map(ending))?;
    let map: MemoryMap = in_order(exact.into_iter().filter_map(in_whole_pages))?;
    if map.is_empty() {
        return Err(BootError::BadMemoryMap);
    }
    Ok(map)
}

/// Each address in one range at most, neighbours of different kinds.
fn in_order<const MOST: usize>(
    unordered: impl Iterator<Item = MemoryRange>,
) -> Result<Vec<MemoryRange, MOST>, BootError> {
    let mut ranges: Vec<MemoryRange, MAX_REPORTED> = Vec::new();
    for range in unordered {
        ranges.push(range).map_err(|_| BootError::BadMemoryMap)?;
    }
    let starts = ranges.iter().map(|range| range.start);
    let ends = ranges.iter().map(MemoryRange::end);
    let mut borders: Vec<u64, { 2 * MAX_REPORTED }> = starts.chain(ends).collect();
    borders.sort_unstable();

    let mut ordered: Vec<MemoryRange, MOST> = Vec::new();
    for (&start, &end) in borders.iter().zip(borders.iter().skip(1)) {
        let covering =
            ranges.iter().filter(|range| range.start <= start && end <= range.end() && start < end);
        let Some(kind) = covering.map(|range| range.kind).max() else {
            continue;
        };
        match ordered.last_mut() {
            Some(last) if last.end() == start && last.kind == kind => last.length += end - start,
            _ => {
                let length = end - start;
                let range = MemoryRange { start, length, kind };
                ordered.push(range).map_err(|_| BootError::BadMemoryMap)?;
            }
        }
    }
    Ok(ordered)
}

/// A range whose end is a number: the very last byte of the address space is left out.
fn ending(range: MemoryRange) -> Option<MemoryRange> {
    let length = range.end() - range.start;
    (length != 0).then_some(MemoryRange { length, ..range })
}

/// The whole pages of RAM, or every page that something else touches.
fn in_whole_pages(range: MemoryRange) -> Option<MemoryRange> {
    // The very last page of the address space is left out, so that every end is a number.
    let down = |address: u64| address & !(PAGE - 1);
    let up = |address: u64| down(address.saturating_add(PAGE - 1));
    let (start, end) = match range.kind {
        MemoryKind::Ram => (up(range.start), down(range.end())),
        _ => (down(range.start), up(range.end())),
    };
    (start < end).then(|| MemoryRange { start, length: end - start, kind: range.kind })
}

/// The map that everybody goes by: with LUCOS's region and NVS area, and with reserved ranges told
/// apart by whether they can be read without effects.
///
/// # Errors
/// [`BootError::BadMemoryMap`] when it has too many ranges.
pub fn complete(reported: &MemoryMap, place: &Placement) -> Result<MemoryMap, BootError> {
    let own = [place.region, place.nvs];
    let mut map = normalize(reported.iter().copied().chain(own))?;
    let below = |range: &&MemoryRange| range.kind < MemoryKind::Firmware && range.end() <= 1 << 32;
    let memory_end = map.iter().filter(below).map(MemoryRange::end).max().unwrap_or(0);
    for range in &mut map {
        if range.kind == MemoryKind::Reserved && range.start <= memory_end {
            range.kind = MemoryKind::Firmware;
        }
    }
    Ok(map)
}

/// What tasks with the guest-memory window may read of it.
pub fn readable(map: &MemoryMap) -> Vec<Span, MAX_RANGES> {
    let readable = map.iter().filter(|range| range.kind.is_readable());
    readable.map(|range| Span { start: range.start, end: range.end() }).collect()
}

#[cfg(test)]
mod tests {
    use lucos_abi::boot::MAX_RANGES;
    use lucos_abi::layout::PAGE;
    use lucos_system_info::{MemoryKind, MemoryRange};
    use proptest::prelude::*;

    use super::{complete, normalize};
    use crate::error::BootError;
    use crate::placement::{choose, region_length};

    fn range(start: u64, end: u64, kind: MemoryKind) -> MemoryRange {
        MemoryRange { start, length: end - start, kind }
    }

    #[test]
    fn a_hole_in_ram_stays_reserved_and_neighbours_join() {
        let reported = [
            range(0x10_0000, 0x800_0000, MemoryKind::Ram),
            range(0, 0x9_fc00, MemoryKind::Ram),
            range(0x200_0000, 0x200_2000, MemoryKind::AcpiNvs),
            range(0x200_1000, 0x200_3000, MemoryKind::Reserved),
            range(0x800_0000, 0x900_0000, MemoryKind::Ram),
        ];
        let map = normalize(reported.into_iter()).unwrap();
        let expected = [
            range(0, 0x9_f000, MemoryKind::Ram),
            range(0x10_0000, 0x200_0000, MemoryKind::Ram),
            range(0x200_0000, 0x200_1000, MemoryKind::AcpiNvs),
            range(0x200_1000, 0x200_3000, MemoryKind::Reserved),
            range(0x200_3000, 0x900_0000, MemoryKind::Ram),
        ];
        assert_eq!(map, expected);
    }

    #[test]
    fn an_empty_map_and_one_that_is_too_long_are_refused() {
        let empty = [range(5, 5, MemoryKind::Ram)];
        assert_eq!(normalize(empty.into_iter()), Err(BootError::BadMemoryMap));
        let apart = |count: u64| {
            (0..count).map(|n| range(2 * n * PAGE, (2 * n + 1) * PAGE, MemoryKind::Ram))
        };
        let limit = MAX_RANGES as u64;
        assert_eq!(normalize(apart(limit)).map(|map| map.len()), Ok(MAX_RANGES));
        assert_eq!(normalize(apart(limit + 1)), Err(BootError::BadMemoryMap));
        assert_eq!(normalize(apart(limit * 5)), Err(BootError::BadMemoryMap));
    }

    #[test]
    fn a_range_that_wraps_ends_at_the_top() {
        let start = u64::MAX - 0x5fff;
        let wraps = MemoryRange { start, length: u64::MAX, kind: MemoryKind::Reserved };
        let map = normalize([wraps].into_iter()).unwrap();
        assert_eq!(map, [range(start, u64::MAX - 0xfff, MemoryKind::Reserved)]);
    }

    #[test]
    fn a_page_of_two_kinds_is_of_the_more_reserved_one() {
        let reported = [
            range(0x1800, 0x3400, MemoryKind::Ram),
            range(0x3400, 0x3800, MemoryKind::AcpiReclaimable),
            range(0x3800, 0x3801, MemoryKind::AcpiNvs),
            range(0x5001, 0x5fff, MemoryKind::Ram),
        ];
        let map = normalize(reported.into_iter()).unwrap();
        let expected =
            [range(0x2000, 0x3000, MemoryKind::Ram), range(0x3000, 0x4000, MemoryKind::AcpiNvs)];
        assert_eq!(map, expected);
    }

    #[test]
    fn a_page_of_two_ranges_that_meet_in_it_is_ram() {
        let reported =
            [range(0x1000, 0x2400, MemoryKind::Ram), range(0x2400, 0x3000, MemoryKind::Ram)];
        let map = normalize(reported.into_iter()).unwrap();
        assert_eq!(map, [range(0x1000, 0x3000, MemoryKind::Ram)]);
    }

    #[test]
    fn region_and_area_are_named_beside_kinds_of_the_firmware() {
        const END: u64 = 0x1fe0_0000;
        let reported = [
            range(0, 0x9_fc00, MemoryKind::Ram),
            range(0xf_0000, 0x10_0000, MemoryKind::Reserved),
            range(0x10_0000, END, MemoryKind::Ram),
            // Directly behind the area, of the kind that the guest sees there.
            range(END, END + 0x2_0000, MemoryKind::AcpiNvs),
            range(END + 0x2_0000, 0x2000_0000, MemoryKind::Reserved),
            range(0xfec0_0000, 1 << 32, MemoryKind::Reserved),
        ];
        let first = normalize(reported.into_iter()).unwrap();
        let place = choose(&first, [].into_iter(), &[], region_length(1)).unwrap();
        let map = complete(&first, &place).unwrap();
        let kinds: Vec<_> = map.iter().map(|range| range.kind).collect();
        use MemoryKind::{AcpiNvs, Firmware, NvsArea, Ram, Region, Reserved};
        assert_eq!(kinds, [Ram, Firmware, Ram, NvsArea, Region, AcpiNvs, Firmware, Reserved]);
        assert!(map.contains(&place.region) && map.contains(&place.nvs));
    }

    fn kinds() -> impl Strategy<Value = MemoryKind> {
        prop_oneof![
            Just(MemoryKind::Ram),
            Just(MemoryKind::Reserved),
            Just(MemoryKind::AcpiReclaimable),
            Just(MemoryKind::AcpiNvs),
            Just(MemoryKind::Bad),
        ]
    }

    proptest! {
        #[test]
        fn every_address_is_what_the_most_reserved_range_says(
            reported in prop::collection::vec((0..40u64, 0..20u64, kinds()), 1..20),
        ) {
            let ranges: Vec<_> = reported
                .iter()
                .map(|&(start, length, kind)| {
                    range(start * PAGE / 4, (start + length) * PAGE / 4, kind)
                })
                .collect();
            let Ok(map) = normalize(ranges.iter().copied()) else { return Ok(()) };
            for pair in map.windows(2) {
                prop_assert!(pair[0].end() <= pair[1].start);
            }
            for page in 0..12 {
                let quarters = (page * 4..page * 4 + 4).map(|quarter| {
                    let at = quarter * PAGE / 4;
                    let holds = |range: &&MemoryRange| range.start <= at && at < range.end();
                    ranges.iter().filter(holds).map(|range| range.kind).max()
                });
                // Nothing at all counts as less than RAM: such a page is none.
                let least = quarters.clone().min().flatten();
                let most = quarters.max().flatten();
                let holds = |range: &&MemoryRange| range.start <= page * PAGE
                    && page * PAGE < range.end();
                let found = map.iter().find(holds).map(|range| range.kind);
                match most {
                    Some(MemoryKind::Ram) => prop_assert_eq!(found, least),
                    most => prop_assert_eq!(found, most),
                }
            }
        }
    }
}
