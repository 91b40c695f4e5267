//! Bringing a firmware's memory map into order.

use heapless::Vec;
use lucos_abi::boot::{MAX_RANGES, MemoryKind, MemoryRange};

use crate::error::BootError;

/// Most ranges that a firmware may report.
const MAX_REPORTED: usize = 4 * MAX_RANGES;

/// Sorts ranges, joins neighbours of the same kind, and lets the more reserved kind win where
/// ranges overlap.
///
/// # Errors
/// [`BootError::BadMemoryMap`] when there are no ranges, or too many before or after.
pub fn normalize(
    reported: impl Iterator<Item = MemoryRange>,
) -> Result<Vec<MemoryRange, MAX_RANGES>, BootError> {
    let mut ranges: Vec<MemoryRange, MAX_REPORTED> = Vec::new();
    for range in reported.filter(|range| range.length > 0) {
        ranges.push(range).map_err(|_| BootError::BadMemoryMap)?;
    }
    let starts = ranges.iter().map(|range| range.start);
    let ends = ranges.iter().map(MemoryRange::end);
    let mut borders: Vec<u64, { 2 * MAX_REPORTED }> = starts.chain(ends).collect();
    borders.sort_unstable();

    let mut map: Vec<MemoryRange, MAX_RANGES> = Vec::new();
    for (&start, &end) in borders.iter().zip(borders.iter().skip(1)) {
        let covering =
            ranges.iter().filter(|range| range.start <= start && end <= range.end() && start < end);
        let Some(kind) = covering.map(|range| range.kind).max_by_key(reservedness) else {
            continue;
        };
        match map.last_mut() {
            Some(last) if last.end() == start && last.kind == kind => last.length += end - start,
            _ => {
                let length = end - start;
                let range = MemoryRange { start, length, kind };
                map.push(range).map_err(|_| BootError::BadMemoryMap)?;
            }
        }
    }
    if map.is_empty() {
        return Err(BootError::BadMemoryMap);
    }
    Ok(map)
}

fn reservedness(kind: &MemoryKind) -> u8 {
    match kind {
        MemoryKind::Ram => 0,
        MemoryKind::AcpiReclaimable => 1,
        MemoryKind::AcpiNvs => 2,
        MemoryKind::Reserved => 3,
        MemoryKind::Bad => 4,
    }
}

#[cfg(test)]
mod tests {
    use lucos_abi::boot::{MAX_RANGES, MemoryKind, MemoryRange};
    use proptest::prelude::*;

    use super::{normalize, reservedness};
    use crate::error::BootError;

    fn range(start: u64, end: u64, kind: MemoryKind) -> MemoryRange {
        MemoryRange { start, length: end - start, kind }
    }

    #[test]
    fn a_hole_in_ram_stays_reserved_and_neighbours_join() {
        let reported = [
            range(0x10_0000, 0x800_0000, MemoryKind::Ram),
            range(0, 0x9_fc00, MemoryKind::Ram),
            range(0x200_0000, 0x200_1000, MemoryKind::AcpiNvs),
            range(0x200_0800, 0x200_2000, MemoryKind::Reserved),
            range(0x800_0000, 0x900_0000, MemoryKind::Ram),
        ];
        let map = normalize(reported.into_iter()).unwrap();
        let expected = [
            range(0, 0x9_fc00, MemoryKind::Ram),
            range(0x10_0000, 0x200_0000, MemoryKind::Ram),
            range(0x200_0000, 0x200_0800, MemoryKind::AcpiNvs),
            range(0x200_0800, 0x200_2000, MemoryKind::Reserved),
            range(0x200_2000, 0x900_0000, MemoryKind::Ram),
        ];
        assert_eq!(map, expected);
    }

    #[test]
    fn an_empty_map_and_one_that_is_too_long_are_refused() {
        let empty = [range(5, 5, MemoryKind::Ram)];
        assert_eq!(normalize(empty.into_iter()), Err(BootError::BadMemoryMap));
        let apart = |count: u64| (0..count).map(|n| range(n * 16, n * 16 + 8, MemoryKind::Ram));
        let limit = MAX_RANGES as u64;
        assert_eq!(normalize(apart(limit)).map(|map| map.len()), Ok(MAX_RANGES));
        assert_eq!(normalize(apart(limit + 1)), Err(BootError::BadMemoryMap));
        assert_eq!(normalize(apart(limit * 5)), Err(BootError::BadMemoryMap));
    }

    #[test]
    fn a_range_that_wraps_ends_at_the_top() {
        let wraps = MemoryRange { start: u64::MAX - 10, length: 100, kind: MemoryKind::Reserved };
        let map = normalize([wraps].into_iter()).unwrap();
        assert_eq!(map, [range(u64::MAX - 10, u64::MAX, MemoryKind::Reserved)]);
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
            reported in prop::collection::vec((0..60u64, 0..20u64, kinds()), 1..20),
        ) {
            let ranges: Vec<_> = reported
                .iter()
                .map(|&(start, length, kind)| range(start, start + length, kind))
                .collect();
            let Ok(map) = normalize(ranges.iter().copied()) else { return Ok(()) };
            for pair in map.windows(2) {
                prop_assert!(pair[0].end() <= pair[1].start);
            }
            for address in 0..100 {
                let holds = |range: &&MemoryRange| range.start <= address && address < range.end();
                let expected = ranges.iter().filter(holds).map(|r| r.kind).max_by_key(reservedness);
                prop_assert_eq!(map.iter().find(holds).map(|range| range.kind), expected);
            }
        }
    }
}
