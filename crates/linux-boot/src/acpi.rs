//! The ACPI tables that the guest sees.
//!
//! They are the firmware's own, in place, but for these, which are copied and changed: the root
//! pointer and the extended system description table that leads to the others; the MADT, which
//! gets a multiprocessor wake-up structure; the FADT, which leads to the copied DSDT; the DSDT and
//! those SSDTs that name the sleep states S3 and S4, which are renamed: LUCOS would not survive
//! them.

use core::fmt;

use heapless::Vec;

use crate::fields::{put, u32_at};
use crate::nvs::Room;

mod firmware;
mod madt;
mod power;
mod sleep;

pub use firmware::Firmware;
use firmware::{HEADER_LENGTH, Header};
pub use madt::WakeUp;
pub use power::{MAX_SLEEP_REGISTERS, SleepControl, SleepRegister};
pub use sleep::SleepStates;

/// Most tables that a machine has.
const MAX_TABLES: usize = 96;
const RSDP_LENGTH: usize = 36;
/// Alignment of tables. The root pointer must have 16.
const ALIGNMENT: u64 = 16;

/// Why the guest's tables cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// Firmware memory cannot be read.
    Unreadable {
        /// Guest-physical address.
        gpa: u64,
    },
    /// There is no root pointer at the address that was given.
    RootPointer {
        /// Guest-physical address.
        gpa: u64,
    },
    /// A table has another signature than the one that leads to it says, or an absurd length.
    Table {
        /// Guest-physical address.
        gpa: u64,
        /// Its signature.
        signature: [u8; 4],
        /// Its length in bytes.
        length: u32,
    },
    /// An entry of the MADT passes the end of the table, or has no length.
    MadtEntry {
        /// Offset in the table.
        offset: usize,
    },
    /// The machine lacks a table that Linux and LUCOS need.
    Missing {
        /// Its signature.
        signature: [u8; 4],
    },
    /// The machine has more tables than LUCOS can handle.
    TooManyTables {
        /// How many at most.
        most: usize,
    },
    /// The NVS area is too small.
    NoRoom {
        /// The table that does not fit.
        signature: [u8; 4],
        /// Its length in bytes.
        length: usize,
        /// Bytes that are left.
        left: usize,
    },
}

impl fmt::Display for AcpiError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { gpa } => write!(to, "memory at {gpa:#x} is not readable"),
            Self::RootPointer { gpa } => write!(to, "there is no root pointer at {gpa:#x}"),
            Self::Table { gpa, signature, length } => write!(
                to,
                "table {} at {gpa:#x} with a length of {length} is not usable",
                signature.escape_ascii()
            ),
            Self::MadtEntry { offset } => {
                write!(to, "the MADT's entry at {offset:#x} is malformed")
            }
            Self::Missing { signature } => {
                write!(to, "there is no table {}", signature.escape_ascii())
            }
            Self::TooManyTables { most } => write!(to, "there are more than {most} tables"),
            Self::NoRoom { signature, length, left } => write!(
                to,
                "table {} has {length} bytes, the NVS area has room for {left}",
                signature.escape_ascii()
            ),
        }
    }
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Guest-physical address of the root pointer.
    pub rsdp: u64,
    /// Whether S3 and S4 are hidden.
    pub sleep_states: SleepStates,
    /// The registers by which the machine goes to sleep.
    pub sleep_control: SleepControl,
}

/// Makes the guest's tables in `room` from those that the root pointer at `rsdp` leads to.
pub(crate) fn build(
    firmware: &mut Firmware<'_>,
    rsdp: u64,
    wake_up: WakeUp,
    room: &mut Room<'_>,
) -> Result<Tables, AcpiError> {
    let root = firmware.root(rsdp)?;
    let mut tables: Vec<(Header, u64), MAX_TABLES> = Vec::new();
    for address in firmware.entries(&root)? {
        let header = firmware.header(address)?;
        if tables.push((header, address)).is_err() {
            return Err(AcpiError::TooManyTables { most: MAX_TABLES });
        }
    }

    // First what must fit, then the tables that matter only for the sleep states.
    let xsdt_length = HEADER_LENGTH + tables.len() * 8;
    let (rsdp, rsdp_place) = take(room, *b"RSDP", RSDP_LENGTH)?;
    let (xsdt, xsdt_place) = take(room, *b"XSDT", xsdt_length)?;
    let madt = table(&mut tables, *b"APIC")?;
    *madt = madt::build(firmware, *madt, wake_up, room)?;
    let (sleep_states, sleep_control) = sleep::hide(firmware, &mut tables, room)?;

    firmware.copy(root.table, &mut xsdt_place[..HEADER_LENGTH])?;
    write_root_table(xsdt_place, &tables);
    write_root_pointer(rsdp_place, &root.oem, xsdt);
    Ok(Tables { rsdp, sleep_states, sleep_control })
}

/// The address of the first table with this signature.
fn table(tables: &mut [(Header, u64)], signature: [u8; 4]) -> Result<&mut u64, AcpiError> {
    tables
        .iter_mut()
        .find(|(header, _)| header.signature == signature)
        .map(|(_, address)| address)
        .ok_or(AcpiError::Missing { signature })
}

/// Takes `length` bytes for a table.
fn take<'a>(
    room: &mut Room<'a>,
    signature: [u8; 4],
    length: usize,
) -> Result<(u64, &'a mut [u8]), AcpiError> {
    let left = room.left(ALIGNMENT);
    room.take(length, ALIGNMENT).ok_or(AcpiError::NoRoom { signature, length, left })
}

/// Turns the copied header of the firmware's root table into an XSDT of `tables`.
fn write_root_table(xsdt: &mut [u8], tables: &[(Header, u64)]) {
    for (place, (_, address)) in xsdt[HEADER_LENGTH..].chunks_exact_mut(8).zip(tables) {
        place.copy_from_slice(&address.to_le_bytes());
    }
    let length = xsdt.len() as u32;
    let mut complete = put(xsdt, 0, b"XSDT");
    complete &= put(xsdt, 4, &length.to_le_bytes());
    complete &= put(xsdt, 8, &[1]);
    debug_assert!(complete, "a table has a header");
    seal(xsdt, 9);
}

fn write_root_pointer(rsdp: &mut [u8], oem: &[u8; 6], xsdt: u64) {
    let mut complete = put(rsdp, 0, b"RSD PTR ");
    complete &= put(rsdp, 9, oem);
    complete &= put(rsdp, 15, &[2]);
    complete &= put(rsdp, 20, &(RSDP_LENGTH as u32).to_le_bytes());
    complete &= put(rsdp, 24, &xsdt.to_le_bytes());
    debug_assert!(complete, "a root pointer has these fields");
    // The first checksum covers the part that version 1 had, the second everything.
    seal(&mut rsdp[..20], 8);
    seal(rsdp, 32);
}

/// Writes the checksum at `offset` so that all bytes add up to 0.
fn seal(table: &mut [u8], offset: usize) {
    if let Some(checksum) = table.get_mut(offset) {
        *checksum = 0;
    }
    let sum = table.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    if let Some(checksum) = table.get_mut(offset) {
        *checksum = sum.wrapping_neg();
    }
}

/// The length in a table's header.
fn length_field(table: &[u8]) -> u32 {
    u32_at(table, 4).unwrap_or(0)
}
