//! Records: length, checksum, postcard.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// Bytes before the postcard: its length and its checksum.
const PREFIX: usize = 2 + 4;
/// Longest record with its prefix.
const LONGEST: usize = 256;

/// The checksum covers the place too, so that a record counts only where it was written.
fn checksum(offset: usize, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(offset as u64).to_le_bytes());
    hasher.update(&(body.len() as u64).to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The record at `offset`, for which there are `room` bytes; `None` when there is none.
pub(super) fn read_record<S: Store, T>(store: &S, offset: usize, room: usize) -> Option<T>
where
    T: for<'a> Deserialize<'a> + Serialize,
{
    let mut bytes = [0; LONGEST];
    let bytes = bytes.get_mut(..room)?;
    store.read(offset, bytes).ok()?;
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let body = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
    if checksum(offset, body) != u32::from_le_bytes(*sum) {
        return None;
    }
    lucos_abi::message::decode(body).ok()
}

/// Writes a record at `offset`, for which there are `room` bytes.
pub(super) fn write_record<S: Store, T: Serialize>(
    store: &mut S,
    offset: usize,
    room: usize,
    record: &T,
) -> Result<(), StoreError> {
    let mut bytes = [0; LONGEST];
    let bytes = bytes.get_mut(..room).ok_or(StoreError)?;
    let (prefix, body) = bytes.split_at_mut_checked(PREFIX).ok_or(StoreError)?;
    let length = lucos_abi::message::encode(record, body).map_err(|_| StoreError)?;
    let body = body.get(..length).ok_or(StoreError)?;
    let (length_place, sum_place) = prefix.split_at_mut_checked(2).ok_or(StoreError)?;
    length_place.copy_from_slice(&(length as u16).to_le_bytes());
    sum_place.copy_from_slice(&checksum(offset, body).to_le_bytes());
    store.write(offset, bytes.get(..PREFIX + length).ok_or(StoreError)?)
}
