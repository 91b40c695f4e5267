//! Little-endian fields at offsets of a byte slice.

/// The two bytes at `offset`; `None` when the slice ends before.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

/// The four bytes at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

/// The eight bytes at `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

/// The `N` bytes at `offset`.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Writes `value` at `offset`; `false`, and nothing written, when it does not fit.
#[must_use]
pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) -> bool {
    let place = offset.checked_add(value.len()).and_then(|end| bytes.get_mut(offset..end));
    match place {
        Some(place) => {
            place.copy_from_slice(value);
            true
        }
        None => false,
    }
}
