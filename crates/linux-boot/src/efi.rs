//! The UEFI memory map as the guest may see it.
//!
//! Linux' decompressor chooses its place among the map's conventional memory, so LUCOS's memory
//! must not be named so there.

use core::fmt;

use lucos_system_info::MemoryRange;

use crate::PAGE;
use crate::fields::{put, u32_at, u64_at};

/// Shortest descriptor: type, start, virtual address, pages, attributes (UEFI 2.10, 7.2.3).
const DESCRIPTOR_MIN: usize = 40;
const RESERVED: u32 = 0;
const ACPI_NVS: u32 = 10;
/// Code and data of the boot loader, and memory that nobody used.
const FREE: [u32; 3] = [1, 2, 7];

/// Why a memory map cannot be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EfiError {
    /// The length is no multiple of the descriptor's, or that is too short.
    Length {
        /// Of the map.
        map: usize,
        /// Of one descriptor.
        descriptor: usize,
    },
    /// The rewritten map does not fit in this many bytes.
    NoRoom {
        /// Bytes that there are.
        room: usize,
    },
}

impl fmt::Display for EfiError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { map, descriptor } => {
                write!(to, "the UEFI memory map has {map} bytes in descriptors of {descriptor}")
            }
            Self::NoRoom { room } => {
                write!(to, "the guest's UEFI memory map needs more than {room} bytes")
            }
        }
    }
}

/// The memory in `map` that held nothing of the firmware's: start and end, in the order of the map.
///
/// Memory of the boot services counts as RAM once they are over, but tables that Linux looks for
/// later lie in it.
///
/// # Errors
/// [`EfiError::Length`]
pub fn free(
    map: &[u8],
    descriptor_length: usize,
) -> Result<impl Iterator<Item = (u64, u64)> + '_, EfiError> {
    check(map, descriptor_length)?;
    Ok(map.chunks_exact(descriptor_length).filter_map(|descriptor| {
        let (start, end) = range(descriptor);
        let kind = u32_at(descriptor, 0)?;
        (FREE.contains(&kind) && start < end).then_some((start, end))
    }))
}

fn check(map: &[u8], descriptor_length: usize) -> Result<(), EfiError> {
    if descriptor_length < DESCRIPTOR_MIN || !map.len().is_multiple_of(descriptor_length) {
        return Err(EfiError::Length { map: map.len(), descriptor: descriptor_length });
    }
    Ok(())
}

/// First address of a descriptor's memory, and the first behind it.
fn range(descriptor: &[u8]) -> (u64, u64) {
    let start = u64_at(descriptor, 8).unwrap_or(0);
    let pages = u64_at(descriptor, 24).unwrap_or(0);
    (start, start.saturating_add(pages.saturating_mul(PAGE)))
}

/// Copies the memory map `map` to `to`, with `region` marked reserved and `nvs` ACPI NVS, and
/// returns the new length.
///
/// # Errors
/// [`EfiError`]
pub fn hide(
    map: &[u8],
    descriptor_length: usize,
    region: &MemoryRange,
    nvs: &MemoryRange,
    to: &mut [u8],
) -> Result<usize, EfiError> {
    check(map, descriptor_length)?;
    let room = to.len();
    let mut used = 0;
    for descriptor in map.chunks_exact(descriptor_length) {
        let (start, end) = range(descriptor);
        let mut next = start;
        while next < end {
            let (behind, kind) = piece(next, end, region, nvs);
            let place =
                to.get_mut(used..used + descriptor_length).ok_or(EfiError::NoRoom { room })?;
            place.copy_from_slice(descriptor);
            let mut complete = put(place, 8, &next.to_le_bytes());
            complete &= put(place, 24, &((behind - next) / PAGE).to_le_bytes());
            if let Some(kind) = kind {
                complete &= put(place, 0, &kind.to_le_bytes());
            }
            debug_assert!(complete, "a descriptor has these fields");
            used += descriptor_length;
            next = behind;
        }
    }
    Ok(used)
}

/// The piece of `start..end` that begins at `start` and is of one kind: its end, and its new type
/// if it has one.
fn piece(start: u64, end: u64, region: &MemoryRange, nvs: &MemoryRange) -> (u64, Option<u32>) {
    let mut behind = end;
    for (range, kind) in [(region, RESERVED), (nvs, ACPI_NVS)] {
        if range.start <= start && start < range.end() {
            return (end.min(range.end()), Some(kind));
        }
        if start < range.start {
            behind = behind.min(range.start);
        }
    }
    (behind, None)
}

#[cfg(test)]
mod tests {
    use super::{EfiError, hide};
    use crate::fields::{u32_at, u64_at};
    use lucos_system_info::{MemoryKind, MemoryRange};

    const LENGTH: usize = 48;

    fn descriptor(kind: u32, start: u64, pages: u64) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&start.to_le_bytes());
        bytes[24..32].copy_from_slice(&pages.to_le_bytes());
        bytes[32] = 0xf;
        bytes
    }

    fn range(start: u64, length: u64) -> MemoryRange {
        MemoryRange { start, length, kind: MemoryKind::Reserved }
    }

    fn read(map: &[u8]) -> Vec<(u32, u64, u64)> {
        map.chunks(LENGTH)
            .map(|descriptor| {
                assert_eq!(descriptor[32], 0xf, "attributes stay");
                (
                    u32_at(descriptor, 0).unwrap(),
                    u64_at(descriptor, 8).unwrap(),
                    u64_at(descriptor, 24).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn descriptors_are_split_where_lucos_begins_and_ends() {
        let map = [descriptor(7, 0x1000, 15), descriptor(4, 0x10000, 16)].concat();
        let mut to = [0; 16 * LENGTH];
        let used =
            hide(&map, LENGTH, &range(0x8000, 0xc000), &range(0x6000, 0x2000), &mut to).unwrap();
        assert_eq!(
            read(&to[..used]),
            [(7, 0x1000, 5), (10, 0x6000, 2), (0, 0x8000, 8), (0, 0x10000, 4), (4, 0x14000, 12),]
        );
    }

    #[test]
    fn only_what_the_firmware_did_not_use_is_free() {
        let map: Vec<u8> = (0..15)
            .flat_map(|kind| descriptor(kind, u64::from(kind) << 20, 256))
            .chain(descriptor(7, 1 << 40, 0))
            .collect();
        let free: Vec<_> = super::free(&map, LENGTH).unwrap().collect();
        let mib = |number: u64| (number << 20, (number + 1) << 20);
        assert_eq!(free, [mib(1), mib(2), mib(7)]);
        assert!(super::free(&map, 47).is_err());
    }

    #[test]
    fn a_map_without_lucos_is_copied() {
        let map = [descriptor(7, 0x1000, 15), descriptor(4, 0x10000, 16)].concat();
        let mut to = [0; 2 * LENGTH];
        let far = range(1 << 40, 0x1000);
        assert_eq!(hide(&map, LENGTH, &far, &far, &mut to), Ok(2 * LENGTH));
        assert_eq!(to[..], map[..]);
    }

    #[test]
    fn bad_lengths_and_missing_room_are_errors() {
        let map = descriptor(7, 0x1000, 15);
        let far = range(1 << 40, 0x1000);
        let mut to = [0; 2 * LENGTH];
        assert!(matches!(hide(&map, 47, &far, &far, &mut to), Err(EfiError::Length { .. })));
        assert!(matches!(hide(&map, 24, &far, &far, &mut to), Err(EfiError::Length { .. })));
        assert_eq!(
            hide(&map, LENGTH, &far, &far, &mut to[..47]),
            Err(EfiError::NoRoom { room: 47 })
        );
    }
}
