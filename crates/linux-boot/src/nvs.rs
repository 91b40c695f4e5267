//! The ACPI NVS area: everything of LUCOS that the guest must see and keep.
//!
//! | offset | what |
//! |---|---|
//! | 0 | the wake-up mailbox, a page that the guest cannot write directly |
//! | 0x1000 | code at the reset vector |
//! | 0x1800 | segment descriptors |
//! | 0x2000 | page tables, [`entry::TABLES_LENGTH`] bytes |
//! | 0x8000 | root pointer and ACPI tables, the UEFI memory map |
//! | last 64 bytes | never touched: the boot stub may keep the firmware's root pointer there |

use core::fmt;

use lucos_system_info::{Efi, MemoryRange};

use crate::acpi::{self, AcpiError, Firmware, SleepControl, SleepStates};
use crate::efi::{self, EfiError};
use crate::entry::{self, CallInstruction};
use crate::fields::put;
use crate::mailbox;

/// Bytes of the area.
pub const LENGTH: usize = 64 << 10;
/// Bytes at the end of the area that stay as they are.
pub const KEPT_AT_END: usize = 64;

const MAILBOX: usize = 0;
const RESET_CODE: usize = 0x1000;
const DESCRIPTORS: usize = 0x1800;
const TABLES: usize = 0x2000;
const TABLES_END: usize = TABLES + entry::TABLES_LENGTH;

const _: () = assert!(MAILBOX + mailbox::LENGTH <= RESET_CODE);
const _: () = assert!(RESET_CODE + entry::RESET_CODE_MAX <= DESCRIPTORS);
const _: () = assert!(DESCRIPTORS + entry::DESCRIPTORS_LENGTH <= TABLES);
const _: () = assert!(TABLES_END <= LENGTH - KEPT_AT_END);

/// Why the area cannot be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvsError {
    /// The area has another length than [`LENGTH`], is not page aligned or passes 4 GiB.
    Area {
        /// Its address.
        start: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// The ACPI tables.
    Acpi(AcpiError),
    /// The UEFI memory map.
    Efi(EfiError),
    /// The firmware's UEFI memory map cannot be read.
    EfiUnreadable {
        /// Its address.
        gpa: u64,
    },
}

impl fmt::Display for NvsError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Area { start, length } => {
                write!(to, "the NVS area of {length:#x} bytes at {start:#x} is not usable")
            }
            Self::Acpi(error) => write!(to, "ACPI: {error}"),
            Self::Efi(error) => error.fmt(to),
            Self::EfiUnreadable { gpa } => {
                write!(to, "the UEFI memory map at {gpa:#x} is not readable")
            }
        }
    }
}

impl From<AcpiError> for NvsError {
    fn from(error: AcpiError) -> Self {
        Self::Acpi(error)
    }
}

impl From<EfiError> for NvsError {
    fn from(error: EfiError) -> Self {
        Self::Efi(error)
    }
}

/// What the area is made from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The area.
    pub area: &'a MemoryRange,
    /// LUCOS's region.
    pub region: &'a MemoryRange,
    /// Address of the firmware's ACPI root pointer.
    pub rsdp: u64,
    /// UEFI's tables.
    pub efi: Option<Efi>,
    /// EAX of the hypercall that parks a processor.
    pub park_call: u32,
    /// The instruction of a hypercall.
    pub instruction: CallInstruction,
}

/// Where things are in the filled area, as guest-physical addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvs {
    /// The mailbox page.
    pub mailbox: u64,
    /// The code to which an offline processor goes.
    pub reset_vector: u64,
    /// Root of the identity page tables.
    pub tables: u64,
    /// The segment descriptors.
    pub descriptors: u64,
    /// The ACPI root pointer for the guest.
    pub rsdp: u64,
    /// UEFI's tables for the guest, with the new memory map.
    pub efi: Option<Efi>,
    /// Whether the guest still sees the sleep states S3 and S4.
    pub sleep_states: SleepStates,
    /// The registers by which the machine goes to sleep.
    pub sleep_control: SleepControl,
}

/// Where the parts with a fixed place are in an area that starts at `start`: mailbox, reset
/// vector, page tables, descriptors.
pub const fn fixed_places(start: u64) -> FixedPlaces {
    FixedPlaces {
        mailbox: start + MAILBOX as u64,
        reset_vector: start + RESET_CODE as u64,
        tables: start + TABLES as u64,
        descriptors: start + DESCRIPTORS as u64,
    }
}

/// The parts of the area that are always at the same offset, as guest-physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedPlaces {
    /// The mailbox page.
    pub mailbox: u64,
    /// The code to which an offline processor goes.
    pub reset_vector: u64,
    /// Root of the identity page tables.
    pub tables: u64,
    /// The segment descriptors.
    pub descriptors: u64,
}

/// Fills `image` with the contents of the area; its last [`KEPT_AT_END`] bytes are not part of it.
/// `buffer` is scratch memory for the firmware's UEFI memory map.
///
/// # Errors
/// [`NvsError`]
pub fn fill(
    source: &Source<'_>,
    firmware: &mut Firmware<'_>,
    image: &mut [u8; LENGTH - KEPT_AT_END],
    buffer: &mut [u8],
) -> Result<Nvs, NvsError> {
    let area = source.area;
    let unusable = NvsError::Area { start: area.start, length: area.length };
    let misplaced = !area.start.is_multiple_of(4096) || area.end() > entry::TABLES_MAP;
    if area.length != LENGTH as u64 || misplaced {
        return Err(unusable);
    }
    image.fill(0);
    let at = fixed_places(area.start);
    let code = entry::reset_code(source.park_call, source.instruction);
    let mut complete = put(image, RESET_CODE, &code);
    complete &= put(image, DESCRIPTORS, &entry::descriptors());
    let (fixed, rest) = image.split_at_mut(TABLES_END);
    complete &=
        fixed.get_mut(TABLES..).is_some_and(|tables| entry::identity_tables(at.tables, tables));
    if !complete {
        return Err(unusable);
    }

    let mut room = Room::new(area.start + TABLES_END as u64, rest);
    let wake_up = acpi::WakeUp { mailbox: at.mailbox, reset_vector: at.reset_vector };
    // The memory map comes first: the ACPI tables can do with less when room is short.
    let efi = match source.efi {
        Some(efi) => Some(guest_efi(&efi, source, firmware, &mut room, buffer)?),
        None => None,
    };
    let tables = acpi::build(firmware, source.rsdp, wake_up, &mut room)?;
    Ok(Nvs {
        mailbox: at.mailbox,
        reset_vector: at.reset_vector,
        tables: at.tables,
        descriptors: at.descriptors,
        rsdp: tables.rsdp,
        efi,
        sleep_states: tables.sleep_states,
        sleep_control: tables.sleep_control,
    })
}

fn guest_efi(
    efi: &Efi,
    source: &Source<'_>,
    firmware: &mut Firmware<'_>,
    room: &mut Room<'_>,
    buffer: &mut [u8],
) -> Result<Efi, NvsError> {
    let unreadable = NvsError::EfiUnreadable { gpa: efi.memory_map };
    let map = buffer.get_mut(..efi.memory_map_length as usize).ok_or(unreadable)?;
    if !firmware.read(efi.memory_map, map) {
        return Err(unreadable);
    }
    let (address, place) = room.rest(16);
    let descriptor = efi.descriptor_length as usize;
    let used = efi::hide(map, descriptor, source.region, source.area, place)?;
    room.keep(used);
    Ok(Efi { memory_map: address, memory_map_length: used as u32, ..*efi })
}

/// Memory that is given out from its start on, with the address at which the guest sees it.
pub struct Room<'a> {
    address: u64,
    bytes: &'a mut [u8],
}

impl<'a> Room<'a> {
    /// All of `bytes`, which the guest sees at `address`.
    pub fn new(address: u64, bytes: &'a mut [u8]) -> Self {
        Self { address, bytes }
    }

    /// Bytes that [`Room::take`] could still give out at this alignment.
    pub fn left(&self, alignment: u64) -> usize {
        self.bytes.len().saturating_sub(self.gap(alignment))
    }

    /// Takes `length` bytes at a multiple of `alignment`; `None` when there are not as many.
    pub fn take(&mut self, length: usize, alignment: u64) -> Option<(u64, &'a mut [u8])> {
        let gap = self.gap(alignment);
        let end = gap.checked_add(length).filter(|&end| end <= self.bytes.len())?;
        let (taken, rest) = core::mem::take(&mut self.bytes).split_at_mut(end);
        let address = self.address + gap as u64;
        self.bytes = rest;
        self.address += end as u64;
        taken.get_mut(gap..).map(|taken| (address, taken))
    }

    /// All that is left from a multiple of `alignment` on, to be followed by [`Room::keep`].
    fn rest(&mut self, alignment: u64) -> (u64, &mut [u8]) {
        // Taking no bytes moves the start to the alignment.
        let _ = self.take(0, alignment);
        (self.address, self.bytes)
    }

    /// Takes the first `length` bytes of what [`Room::rest`] showed.
    fn keep(&mut self, length: usize) {
        let _ = self.take(length, 1);
    }

    fn gap(&self, alignment: u64) -> usize {
        let gap = self.address.next_multiple_of(alignment) - self.address;
        usize::try_from(gap).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_AT_END, LENGTH, NvsError, Room, Source, fill};
    use crate::acpi::{AcpiError, Firmware};
    use crate::entry::CallInstruction;
    use lucos_system_info::{MemoryKind, MemoryRange};

    const REGION: MemoryRange =
        MemoryRange { start: 0x7f80_0000, length: 0x80_0000, kind: MemoryKind::Reserved };

    fn area(start: u64, length: u64) -> MemoryRange {
        MemoryRange { start, length, kind: MemoryKind::AcpiNvs }
    }

    fn try_fill(area: &MemoryRange) -> Result<super::Nvs, NvsError> {
        let source = Source {
            area,
            region: &REGION,
            rsdp: 0xf0000,
            efi: None,
            park_call: 0x4c55_0009,
            instruction: CallInstruction::Vmmcall,
        };
        let mut read = |_: u64, _: &mut [u8]| false;
        let mut image = [0; LENGTH - KEPT_AT_END];
        fill(&source, &mut Firmware::new(&mut read), &mut image, &mut [])
    }

    #[test]
    fn an_area_of_another_shape_is_refused() {
        for (start, length) in
            [(0x7000_0000, 0x8000), (0x7000_0800, LENGTH as u64), (0xffff_8000, LENGTH as u64)]
        {
            assert_eq!(try_fill(&area(start, length)), Err(NvsError::Area { start, length }));
        }
    }

    #[test]
    fn unreadable_firmware_is_an_error() {
        assert_eq!(
            try_fill(&area(0x7000_0000, LENGTH as u64)),
            Err(NvsError::Acpi(AcpiError::Unreadable { gpa: 0xf0000 }))
        );
    }

    #[test]
    fn room_is_given_out_once_and_aligned() {
        let mut bytes = [0; 100];
        let mut room = Room::new(0x1008, &mut bytes);
        let (first, _) = room.take(4, 16).unwrap();
        let (second, taken) = room.take(40, 16).unwrap();
        assert_eq!((first, second, taken.len()), (0x1010, 0x1020, 40));
        assert_eq!(room.left(1), 100 - 8 - 16 - 40);
        assert!(room.take(37, 1).is_none());
        assert!(room.take(36, 1).is_some());
    }
}
