//! From guest-virtual to guest-physical addresses, by the guest's own page tables.

use heapless::Vec;
use lucos_service::{AddressSpace, MemoryError};

use crate::PAGE;
use crate::guest_tables::{GuestPage, GuestWalkError, guest_walk};
use crate::map::GuestMap;
use crate::platform::Platform;

/// A range of a message's payload touches no more pages.
pub const PIECES: usize = 2;

/// A piece of a guest-virtual range that lies on one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its guest-physical address.
    pub gpa: u64,
    /// Its length in bytes.
    pub length: usize,
}

/// The page that `address` is on. Page tables are read only from the guest's own memory.
///
/// # Errors
/// [`MemoryError`]
pub fn page(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    address: u64,
) -> Result<GuestPage, MemoryError> {
    let read = |gpa| {
        let mut entry = [0; 8];
        if map.first_foreign(gpa, 8).is_some() {
            return None;
        }
        platform.read(gpa, &mut entry).ok()?;
        Some(u64::from_le_bytes(entry))
    };
    guest_walk(read, space.root, space.five_levels, address).map_err(|error| match error {
        GuestWalkError::NotCanonical => MemoryError::BadAddress,
        GuestWalkError::NotMapped { .. } | GuestWalkError::Reserved { .. } => {
            MemoryError::NotMapped { address }
        }
        GuestWalkError::Unreadable { gpa } => MemoryError::NotRam { gpa },
    })
}

/// What a range is translated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading.
    Read,
    /// Writing where the guest itself may write.
    Write,
    /// Writing where the guest itself need not be able to write.
    WriteText,
}

/// The pieces of `length` bytes at `address`, at most a page long; all of them are the guest's
/// memory and can be used for `purpose`.
///
/// # Errors
/// [`MemoryError`]
pub fn pieces(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    address: u64,
    length: usize,
    purpose: Purpose,
) -> Result<Vec<Piece, PIECES>, MemoryError> {
    address.checked_add(length as u64).ok_or(MemoryError::BadAddress)?;
    let mut pieces = Vec::new();
    let mut next = address;
    let mut left = length;
    while left > 0 {
        let page = page(platform, map, space, next)?;
        if purpose == Purpose::Write && !page.writable {
            return Err(MemoryError::ReadOnly { address: next });
        }
        let length = left.min((PAGE - next % PAGE) as usize);
        map.check(page.gpa, length as u64)?;
        let piece = Piece { gpa: page.gpa, length };
        pieces.push(piece).map_err(|_| MemoryError::TooLong)?;
        next += length as u64;
        left -= length;
    }
    Ok(pieces)
}
