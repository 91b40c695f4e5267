//! Reading the firmware's tables.

use heapless::Vec;

use super::{AcpiError, MAX_TABLES};
use crate::fields::{array_at, u32_at, u64_at};

/// Bytes of a table's header.
pub(super) const HEADER_LENGTH: usize = 36;
/// Offset of a table's checksum.
pub(super) const CHECKSUM: usize = 9;
/// No table is longer.
const LENGTH_MAX: u32 = 16 << 20;

/// Reads guest-physical memory: fills the buffer, or returns `false`.
pub struct Firmware<'a> {
    read: &'a mut dyn FnMut(u64, &mut [u8]) -> bool,
}

/// The part of a table's header that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The table's name.
    pub signature: [u8; 4],
    /// Its length in bytes, header included; at least [`HEADER_LENGTH`].
    pub length: usize,
}

/// What the root pointer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Guest-physical address of the root table.
    pub table: u64,
    /// The root table is an XSDT: eight bytes an entry instead of four.
    pub extended: bool,
    /// Who made the firmware.
    pub oem: [u8; 6],
}

impl<'a> Firmware<'a> {
    /// Firmware that is read by `read`: fill the buffer from this guest-physical address on, or
    /// return `false`.
    pub fn new(read: &'a mut dyn FnMut(u64, &mut [u8]) -> bool) -> Self {
        Self { read }
    }

    /// Fills `to` from `gpa` on; `false` when it cannot be read.
    #[must_use]
    pub(crate) fn read(&mut self, gpa: u64, to: &mut [u8]) -> bool {
        (self.read)(gpa, to)
    }

    pub(super) fn copy(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), AcpiError> {
        if self.read(gpa, to) { Ok(()) } else { Err(AcpiError::Unreadable { gpa }) }
    }

    /// The root pointer at `gpa` (ACPI 6.5, 5.2.5.3).
    pub(super) fn root(&mut self, gpa: u64) -> Result<Root, AcpiError> {
        let bad = AcpiError::RootPointer { gpa };
        let mut bytes = [0; 36];
        self.copy(gpa, &mut bytes[..20])?;
        let sum = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
        if array_at(&bytes, 0) != Some(*b"RSD PTR ") || sum != 0 {
            return Err(bad);
        }
        let oem = array_at(&bytes, 9).ok_or(bad)?;
        if bytes[15] >= 2 {
            self.copy(gpa, &mut bytes)?;
            let table = u64_at(&bytes, 24).ok_or(bad)?;
            if table != 0 {
                return Ok(Root { table, extended: true, oem });
            }
        }
        let table = u32_at(&bytes, 16).filter(|&table| table != 0).ok_or(bad)?;
        Ok(Root { table: u64::from(table), extended: false, oem })
    }

    /// The header of the table at `gpa`.
    pub(super) fn header(&mut self, gpa: u64) -> Result<Header, AcpiError> {
        let mut bytes = [0; 8];
        self.copy(gpa, &mut bytes)?;
        let signature = array_at(&bytes, 0).unwrap_or_default();
        let length = super::length_field(&bytes);
        // The FACS has a shorter header, but is not in the root table.
        if (length as usize) < HEADER_LENGTH || length > LENGTH_MAX {
            return Err(AcpiError::Table { gpa, signature, length });
        }
        Ok(Header { signature, length: length as usize })
    }

    /// The tables that the root table lists; entries of 0 are left out.
    pub(super) fn entries(&mut self, root: &Root) -> Result<Vec<u64, MAX_TABLES>, AcpiError> {
        let header = self.header(root.table)?;
        let (signature, size) = match root.extended {
            true => (*b"XSDT", 8),
            false => (*b"RSDT", 4),
        };
        if header.signature != signature {
            return Err(AcpiError::Table {
                gpa: root.table,
                signature: header.signature,
                length: header.length as u32,
            });
        }
        let mut entries = Vec::new();
        for offset in (HEADER_LENGTH..=header.length.saturating_sub(size)).step_by(size) {
            let mut entry = [0; 8];
            self.copy(root.table + offset as u64, &mut entry[..size])?;
            let address = u64::from_le_bytes(entry);
            if address != 0 && entries.push(address).is_err() {
                return Err(AcpiError::TooManyTables { most: MAX_TABLES });
            }
        }
        Ok(entries)
    }
}
