//! Hiding the sleep states S3 and S4.
//!
//! The DSDT (or an SSDT) defines a sleep state by `Name (_S3_, Package ...)`. In a copy of the
//! table the name is another one, so that the guest does not find the state.

use super::firmware::{CHECKSUM, Firmware, Header};
use super::power::{SleepControl, sleep_control, soft_off_types};
use super::{AcpiError, seal, table, take};
use crate::fields::{put, u32_at, u64_at};
use crate::nvs::Room;

/// Offsets of the DSDT's address in the FADT, 32-bit and 64-bit.
const FADT_DSDT: usize = 40;
const FADT_X_DSDT: usize = 140;
/// AML: NameOp, the root prefix, PackageOp.
const NAME_OP: u8 = 0x08;
const ROOT_PREFIX: u8 = 0x5c;
const PACKAGE_OP: u8 = 0x12;
/// Longest definition that is searched for: NameOp, prefix, name, PackageOp.
const PATTERN_MAX: usize = 7;
const CHUNK: usize = 256;

/// Whether the guest sees S3 and S4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SleepStates {
    /// It sees neither.
    Hidden,
    /// The table that defines them does not fit in the NVS area, so it sees those that there are.
    Visible {
        /// Signature of that table.
        signature: [u8; 4],
        /// Its length in bytes.
        length: usize,
    },
}

/// Copies the tables that define S3 or S4 to `room`, renames the states there, and changes
/// `tables` and the FADT so that they lead to the copies. Tells also by which registers the machine
/// goes to sleep.
pub(super) fn hide(
    firmware: &mut Firmware<'_>,
    tables: &mut [(Header, u64)],
    room: &mut Room<'_>,
) -> Result<(SleepStates, SleepControl), AcpiError> {
    let mut states = SleepStates::Hidden;
    let fadt = table(tables, *b"FACP")?;
    let fadt_length = firmware.header(*fadt)?.length;
    let (fadt_copy, place) = take(room, *b"FACP", fadt_length)?;
    firmware.copy(*fadt, place)?;
    *fadt = fadt_copy;
    let dsdt = dsdt_address(place).ok_or(AcpiError::Missing { signature: *b"DSDT" })?;
    let dsdt_length = firmware.header(dsdt)?.length;
    let mut off = soft_off_types(firmware, dsdt, dsdt_length)?;
    if let Some(copy) = renamed(firmware, dsdt, room, &mut states)? {
        set_dsdt_address(place, copy);
    }
    for (header, address) in tables.iter_mut().filter(|(header, _)| header.signature == *b"SSDT") {
        if off.is_none() {
            off = soft_off_types(firmware, *address, header.length)?;
        }
        if let Some(copy) = renamed(firmware, *address, room, &mut states)? {
            *address = copy;
        }
    }
    Ok((states, sleep_control(place, off)))
}

fn dsdt_address(fadt: &[u8]) -> Option<u64> {
    let long = u64_at(fadt, FADT_X_DSDT).filter(|&address| address != 0);
    let short = || u32_at(fadt, FADT_DSDT).filter(|&address| address != 0);
    long.or_else(|| short().map(u64::from))
}

fn set_dsdt_address(fadt: &mut [u8], address: u64) {
    // The area lies below 4 GiB, so both fields can hold it; old FADTs lack the second one.
    let complete = put(fadt, FADT_DSDT, &(address as u32).to_le_bytes());
    debug_assert!(complete, "the address was read there");
    let _ = put(fadt, FADT_X_DSDT, &address.to_le_bytes());
    seal(fadt, CHECKSUM);
}

/// A copy of the table at `address` without sleep states, when it has any and there is room.
fn renamed(
    firmware: &mut Firmware<'_>,
    address: u64,
    room: &mut Room<'_>,
    states: &mut SleepStates,
) -> Result<Option<u64>, AcpiError> {
    let header = firmware.header(address)?;
    if !defines_sleep_state(firmware, address, header.length)? {
        return Ok(None);
    }
    let Ok((copy, place)) = take(room, header.signature, header.length) else {
        *states = SleepStates::Visible { signature: header.signature, length: header.length };
        return Ok(None);
    };
    firmware.copy(address, place)?;
    while let Some(name) = definition(place) {
        // `_S3_` becomes `LUS3`, a name that no firmware uses.
        let digit = place.get(name + 2).copied().unwrap_or(b'3');
        let complete = put(place, name, &[b'L', b'U', b'S', digit]);
        debug_assert!(complete, "the name was found there");
    }
    seal(place, CHECKSUM);
    Ok(Some(copy))
}

/// Whether the table defines S3 or S4; reads it in pieces that overlap by a definition's length.
fn defines_sleep_state(
    firmware: &mut Firmware<'_>,
    address: u64,
    length: usize,
) -> Result<bool, AcpiError> {
    let mut chunk = [0; CHUNK];
    for offset in (0..length).step_by(CHUNK - PATTERN_MAX) {
        let piece = &mut chunk[..CHUNK.min(length - offset)];
        firmware.copy(address + offset as u64, piece)?;
        if definition(piece).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Offset of the name in the first definition of S3 or S4 in `bytes`.
fn definition(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find_map(|offset| {
        let (&first, rest) = bytes.get(offset..)?.split_first()?;
        if first != NAME_OP {
            return None;
        }
        let prefix = usize::from(rest.first() == Some(&ROOT_PREFIX));
        let name = rest.get(prefix..prefix + 5)?;
        let found = [b'3', b'4'].iter().any(|&digit| name == [b'_', b'S', digit, b'_', PACKAGE_OP]);
        found.then_some(offset + 1 + prefix)
    })
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Firmware, defines_sleep_state, definition};

    #[test]
    fn only_definitions_are_found() {
        assert_eq!(definition(b"\x08_S3_\x12"), Some(1));
        assert_eq!(definition(b"..\x08\\_S4_\x12"), Some(4));
        assert_eq!(definition(b"\x08_S5_\x12"), None);
        assert_eq!(definition(b"\x08_S3_\x0a"), None);
        assert_eq!(definition(b"\x14_S3_\x12"), None);
        assert_eq!(definition(b"\x08_S3_"), None);
    }

    #[test]
    fn a_definition_across_two_pieces_is_found() {
        for at in 0..3 * CHUNK - 7 {
            let mut table = vec![0; 3 * CHUNK];
            table[at..at + 7].copy_from_slice(b"\x08\\_S3_\x12");
            let mut read = |gpa: u64, to: &mut [u8]| {
                let from = gpa as usize - 0x1000;
                to.copy_from_slice(&table[from..from + to.len()]);
                true
            };
            let found = defines_sleep_state(&mut Firmware::new(&mut read), 0x1000, 3 * CHUNK);
            assert_eq!(found, Ok(true), "at {at}");
        }
    }
}
