//! The multiple APIC description table with a wake-up structure.

use super::firmware::{CHECKSUM, Firmware, HEADER_LENGTH};
use super::{AcpiError, seal, take};
use crate::fields::put;
use crate::nvs::Room;

/// Offset of the first entry.
const ENTRIES: usize = HEADER_LENGTH + 8;
const WAKE_UP_TYPE: u8 = 0x10;
/// Version 1 has a reset vector, without which Linux lets no processor go offline.
const WAKE_UP_VERSION: u16 = 1;
const WAKE_UP_LENGTH: usize = 24;

/// What the wake-up structure says (ACPI 6.5, 5.2.12.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeUp {
    /// Guest-physical address of the mailbox page.
    pub mailbox: u64,
    /// Guest-physical address to which a processor goes that is taken offline.
    pub reset_vector: u64,
}

/// Makes a copy of the MADT at `original` with `wake_up` and returns its address. A wake-up
/// structure of the firmware is left out.
pub(super) fn build(
    firmware: &mut Firmware<'_>,
    original: u64,
    wake_up: WakeUp,
    room: &mut Room<'_>,
) -> Result<u64, AcpiError> {
    let header = firmware.header(original)?;
    if header.length < ENTRIES {
        return Err(AcpiError::Table {
            gpa: original,
            signature: header.signature,
            length: header.length as u32,
        });
    }
    let (address, table) = take(room, header.signature, header.length + WAKE_UP_LENGTH)?;
    let (old, _) = table.split_at_mut(header.length);
    firmware.copy(original, old)?;
    let end = remove_wake_up(old)?;
    let complete = put(table, end, &structure(wake_up))
        && put(table, 4, &((end + WAKE_UP_LENGTH) as u32).to_le_bytes());
    debug_assert!(complete, "room was taken for it");
    seal(table.get_mut(..end + WAKE_UP_LENGTH).unwrap_or_default(), CHECKSUM);
    Ok(address)
}

/// Closes the gap of each wake-up structure in `table` and returns where the entries end.
fn remove_wake_up(table: &mut [u8]) -> Result<usize, AcpiError> {
    let mut from = ENTRIES;
    let mut to = ENTRIES;
    while from < table.len() {
        let malformed = AcpiError::MadtEntry { offset: from };
        let kind = table.get(from).copied().ok_or(malformed)?;
        let length = table.get(from + 1).copied().map(usize::from);
        let length = length.filter(|&length| length >= 2).ok_or(malformed)?;
        if from + length > table.len() {
            return Err(malformed);
        }
        if kind != WAKE_UP_TYPE {
            table.copy_within(from..from + length, to);
            to += length;
        }
        from += length;
    }
    Ok(to)
}

fn structure(wake_up: WakeUp) -> [u8; WAKE_UP_LENGTH] {
    let mut bytes = [0; WAKE_UP_LENGTH];
    let complete = put(&mut bytes, 0, &[WAKE_UP_TYPE, WAKE_UP_LENGTH as u8])
        && put(&mut bytes, 2, &WAKE_UP_VERSION.to_le_bytes())
        && put(&mut bytes, 8, &wake_up.mailbox.to_le_bytes())
        && put(&mut bytes, 16, &wake_up.reset_vector.to_le_bytes());
    debug_assert!(complete, "the structure has these fields");
    bytes
}
