//! UEFI's memory map (UEFI specification 2.10, 7.2.3).

use lucos_abi::layout::PAGE;
use lucos_system_info::{MemoryKind, MemoryRange};

const CONVENTIONAL: u64 = 7;
/// Bytes of the fields of a descriptor; it may be longer.
const FIELDS: usize = 40;

/// The conventional memory of a map with descriptors of this length: memory that neither boot
/// services nor loaders used. What is no map has none.
pub fn conventional(map: &[u8], length: usize) -> impl Iterator<Item = MemoryRange> + Clone + '_ {
    let usable = if length < FIELDS { &[] } else { map };
    usable.chunks_exact(length.max(1)).filter_map(|descriptor| {
        let field = |at: usize| {
            let bytes = descriptor.get(at..).and_then(<[u8]>::first_chunk);
            bytes.copied().map_or(0, u64::from_le_bytes)
        };
        // Type (32 bits), start, virtual start, pages.
        let (kind, start, pages) = (field(0) & 0xffff_ffff, field(8), field(24));
        let length = pages.checked_mul(PAGE).filter(|length| *length > 0)?;
        start.checked_add(length).filter(|_| kind == CONVENTIONAL)?;
        Some(MemoryRange { start, length, kind: MemoryKind::Ram })
    })
}

#[cfg(test)]
mod tests {
    use super::conventional;

    fn descriptor(kind: u32, start: u64, pages: u64) -> Vec<u8> {
        let fields = [u64::from(kind) | 0xdead << 32, start, 0, pages, 0, 0];
        fields.map(u64::to_le_bytes).concat()
    }

    #[test]
    fn only_conventional_memory_counts() {
        let map = [
            descriptor(4, 0x1000, 1),
            descriptor(7, 0x2000, 3),
            descriptor(7, 0x9000, 0),
            descriptor(7, 0xa000, u64::MAX / 2),
            descriptor(7, u64::MAX - 0xfff, 2),
            descriptor(7, 0x10_0000, 0x100),
            vec![7],
        ]
        .concat();
        let found: Vec<_> =
            conventional(&map, 48).map(|range| (range.start, range.end())).collect();
        assert_eq!(found, [(0x2000, 0x5000), (0x10_0000, 0x20_0000)]);
        assert_eq!(conventional(&map, 0).count() + conventional(&map, 39).count(), 0);
    }
}
