//! Walking page tables that the guest made.

use lucos_paging::ENTRIES;
use lucos_paging::format::{ADDRESS, LARGE, NO_EXECUTE, PRESENT, USER, WRITE, level_size};

/// A page of the guest, as its own tables describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPage {
    /// Guest-physical address of the address asked for.
    pub gpa: u64,
    /// Size of the page in bytes.
    pub size: u64,
    /// Writes are allowed at every level.
    pub writable: bool,
    /// Ring 3 is allowed at every level.
    pub user: bool,
    /// Instruction fetches are forbidden at some level.
    pub no_execute: bool,
}

/// Why the guest's tables give no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestWalkError {
    /// The address is not canonical.
    NotCanonical,
    /// An entry is not present.
    NotMapped {
        /// Level of the table that holds it, 1 to 5.
        level: u8,
    },
    /// An entry has a bit set that must be 0.
    Reserved {
        /// Level of the table that holds it.
        level: u8,
    },
    /// A table lies where it cannot be read.
    Unreadable {
        /// Guest-physical address of the entry.
        gpa: u64,
    },
}

/// Translates `address` by the guest's 64-bit tables: at most five calls of `read`, which returns
/// the eight bytes at a guest-physical address (a multiple of 8) or `None` where nothing can be
/// read. Low and high control bits of `root` (CR3) are ignored.
///
/// # Errors
/// [`GuestWalkError`] says at which level the walk ended.
pub fn guest_walk(
    mut read: impl FnMut(u64) -> Option<u64>,
    root: u64,
    five_levels: bool,
    address: u64,
) -> Result<GuestPage, GuestWalkError> {
    let top = if five_levels { 5 } else { 4 };
    // Everything above the highest translated bit repeats that bit.
    let sign = (address as i64) >> (11 + 9 * u32::from(top));
    if sign != 0 && sign != -1 {
        return Err(GuestWalkError::NotCanonical);
    }
    let mut allowed = WRITE | USER;
    let mut no_execute = false;
    let mut table = root & ADDRESS;
    for level in (1..=top).rev() {
        let index = address / level_size(level) % ENTRIES as u64;
        let gpa = table + index * 8;
        let entry = read(gpa).ok_or(GuestWalkError::Unreadable { gpa })?;
        if entry & PRESENT == 0 {
            return Err(GuestWalkError::NotMapped { level });
        }
        allowed &= entry;
        no_execute |= entry & NO_EXECUTE != 0;
        let large = level > 1 && entry & LARGE != 0;
        if level > 1 && !large {
            table = entry & ADDRESS;
            continue;
        }
        let size = level_size(level);
        // A large page keeps its PAT bit (12) where a small one has address bits.
        let must_be_zero = ADDRESS & (size - 1) & !0x1000;
        if level > 3 || (large && entry & must_be_zero != 0) {
            return Err(GuestWalkError::Reserved { level });
        }
        return Ok(GuestPage {
            gpa: (entry & ADDRESS & !(size - 1)) + address % size,
            size,
            writable: allowed & WRITE != 0,
            user: allowed & USER != 0,
            no_execute,
        });
    }
    Err(GuestWalkError::NotMapped { level: 1 })
}

#[cfg(test)]
mod tests;
