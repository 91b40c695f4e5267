//! The registers by which an operating system hands the machine to the firmware: the sleep control.
//!
//! Whoever writes one of them ends LUCOS, and the firmware then jumps where the guest wants: S3's
//! waking vector lies in the guest's memory. So the guest may only switch the machine off.

use heapless::Vec;

use super::AcpiError;
use super::firmware::Firmware;
use crate::fields::{u32_at, u64_at};

/// Most registers: PM1a and PM1b control, sleep control of reduced hardware.
pub const MAX_SLEEP_REGISTERS: usize = 3;

/// SLP_EN: go to sleep now. In all three registers the byte has the same layout: SLP_EN in bit 5,
/// SLP_TYP in bits 2 to 4 (ACPI 6.5, 4.8.3.2.1 and 4.8.3.7).
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE: u8 = 7;

/// Offsets in the FADT: 32-bit address, and the generic address that replaces it when it is set.
const BLOCKS: [(Option<usize>, usize, u16); MAX_SLEEP_REGISTERS] = [
    // The byte with SLP_EN is the upper one of PM1a and PM1b control.
    (Some(64), 172, 1),
    (Some(68), 184, 1),
    (None, 244, 0),
];
/// Address space of a generic address (ACPI 6.5, 5.2.3.2): I/O ports.
const SYSTEM_IO: u8 = 1;

/// A byte of an I/O port by which the machine goes to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepRegister {
    /// The port.
    pub port: u16,
    /// The sleep type that switches the machine off (S5).
    pub off: u8,
}

impl SleepRegister {
    /// What may be written of `byte`: no sleep but the one that switches the machine off.
    pub const fn allowed(&self, byte: u8) -> u8 {
        let is_off = byte >> SLEEP_TYPE_SHIFT & SLEEP_TYPE == self.off;
        if is_off { byte } else { byte & !SLEEP_ENABLE }
    }
}

/// The sleep control of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SleepControl {
    /// Its registers.
    pub registers: Vec<SleepRegister, MAX_SLEEP_REGISTERS>,
    /// There are registers that are no I/O ports, or it is not known how the machine is switched off:
    /// these stay the guest's.
    pub is_open: bool,
}

/// The registers that the FADT names; `types` are the two sleep types of S5.
pub(super) fn sleep_control(fadt: &[u8], types: Option<[u8; 2]>) -> SleepControl {
    let mut control = SleepControl::default();
    for ((short, long, byte), which) in BLOCKS.into_iter().zip([0, 1, 0]) {
        let Some(port) = register(fadt, short, long) else {
            continue;
        };
        let off = types.and_then(|types| types.get(which).copied());
        match port.and_then(|port| port.checked_add(byte)).zip(off) {
            // The list has room for all of them.
            Some((port, off)) => drop(control.registers.push(SleepRegister { port, off })),
            None => control.is_open = true,
        }
    }
    control
}

/// The port of a register; `Some(None)` when it is there but is none, or the table names two, `None`
/// when it is absent.
fn register(fadt: &[u8], short: Option<usize>, long: usize) -> Option<Option<u16>> {
    let short = short.and_then(|short| u32_at(fadt, short)).filter(|&address| address != 0);
    if let Some(address) = u64_at(fadt, long + 4).filter(|&address| address != 0) {
        let is_port = fadt.get(long) == Some(&SYSTEM_IO);
        let is_only = short.is_none_or(|short| u64::from(short) == address);
        return Some(u16::try_from(address).ok().filter(|_| is_port && is_only));
    }
    Some(u16::try_from(short?).ok())
}

/// AML of `Name (_S5_, Package ...)`.
const NAME: [u8; 6] = *b"\x08_S5_\x12";
const NAME_AT_ROOT: [u8; 7] = *b"\x08\\_S5_\x12";
/// Longest beginning of the definition that matters: name, package length (up to 4 bytes), number of
/// elements, two elements with prefixes.
const DEFINITION_MAX: usize = NAME_AT_ROOT.len() + 4 + 1 + 2 * 9;
const CHUNK: usize = 256;

/// The two sleep types of S5, when the table at `address` defines them by constants.
pub(super) fn soft_off_types(
    firmware: &mut Firmware<'_>,
    address: u64,
    length: usize,
) -> Result<Option<[u8; 2]>, AcpiError> {
    let mut chunk = [0; CHUNK];
    for offset in (0..length).step_by(CHUNK - DEFINITION_MAX) {
        let piece = &mut chunk[..CHUNK.min(length - offset)];
        firmware.copy(address + offset as u64, piece)?;
        let found = (0..piece.len()).find_map(|at| soft_off(piece.get(at..)?));
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The types in the definition with which `aml` begins.
fn soft_off(aml: &[u8]) -> Option<[u8; 2]> {
    let rest = aml.strip_prefix(&NAME[..]).or_else(|| aml.strip_prefix(&NAME_AT_ROOT[..]))?;
    // The first byte of a package length says how many more there are (ACPI 6.5, 20.2.4).
    let more = usize::from(rest.first()? >> 6);
    let (&elements, rest) = rest.get(1 + more..)?.split_first()?;
    let (first, rest) = constant(rest)?;
    match elements {
        0 => None,
        1 => Some([first, first]),
        _ => Some([first, constant(rest)?.0]),
    }
}

/// The low byte of a constant, and what follows it.
fn constant(aml: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = aml.split_first()?;
    let length = match first {
        // ZeroOp, OneOp.
        0 | 1 => return Some((first, rest)),
        // Byte, word, double word, quad word.
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    Some((*rest.first()?, rest.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, SleepRegister, sleep_control, soft_off, soft_off_types};
    use crate::acpi::Firmware;

    #[test]
    fn only_switching_off_passes() {
        let register = SleepRegister { port: 0x605, off: 5 };
        for byte in 0..=u8::MAX {
            let sleeps = byte & 0x20 != 0 && byte >> 2 & 7 != 5;
            let expected = if sleeps { byte & !0x20 } else { byte };
            assert_eq!(register.allowed(byte), expected, "{byte:#x}");
        }
    }

    #[test]
    fn types_are_constants_of_a_package() {
        assert_eq!(soft_off(b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00"), Some([0, 0]));
        assert_eq!(soft_off(b"\x08\\_S5_\x12\x0a\x04\x0a\x05\x0a\x07\x00\x00"), Some([5, 7]));
        assert_eq!(
            soft_off(b"\x08_S5_\x12\x41\x01\x02\x0b\x03\x00\x0c\x04\x00\x00\x00"),
            Some([3, 4])
        );
        assert_eq!(soft_off(b"\x08_S5_\x12\x04\x01\x0a\x06"), Some([6, 6]));
        assert_eq!(soft_off(b"\x08_S5_\x12\x02\x00"), None);
        assert_eq!(soft_off(b"\x08_S5_\x12\x08\x04LUS5"), None, "no constant");
        assert_eq!(soft_off(b"\x08_S4_\x12\x06\x04\x00\x00\x00\x00"), None);
        for end in 0..12 {
            assert_eq!(soft_off(&b"\x08_S5_\x12\x0a\x04\x0a\x05\x0a\x07"[..end]), None);
        }
    }

    #[test]
    fn a_definition_across_two_pieces_is_found() {
        let aml = b"\x08_S5_\x12\x0a\x04\x0a\x05\x0a\x07";
        for at in 0..3 * CHUNK - aml.len() {
            let mut table = vec![0; 3 * CHUNK];
            table[at..at + aml.len()].copy_from_slice(aml);
            let mut read = |gpa: u64, to: &mut [u8]| {
                let from = gpa as usize - 0x1000;
                to.copy_from_slice(&table[from..from + to.len()]);
                true
            };
            let found = soft_off_types(&mut Firmware::new(&mut read), 0x1000, 3 * CHUNK);
            assert_eq!(found, Ok(Some([5, 7])), "at {at}");
        }
    }

    fn fadt(short: [u32; 2], long: [(u8, u64); 3]) -> Vec<u8> {
        let mut fadt = vec![0; 276];
        for (offset, address) in [64, 68].into_iter().zip(short) {
            fadt[offset..offset + 4].copy_from_slice(&address.to_le_bytes());
        }
        for (offset, (space, address)) in [172, 184, 244].into_iter().zip(long) {
            fadt[offset] = space;
            fadt[offset + 4..offset + 12].copy_from_slice(&address.to_le_bytes());
        }
        fadt
    }

    #[test]
    fn each_register_that_is_there_has_its_port_and_its_type() {
        let off = Some([5, 7]);
        let control = |short, long| sleep_control(&fadt(short, long), off);
        let nothing = control([0, 0], [(1, 0); 3]);
        assert!(nothing.registers.is_empty() && !nothing.is_open);
        let old = control([0x604, 0x704], [(1, 0); 3]);
        assert_eq!(
            old.registers[..],
            [SleepRegister { port: 0x605, off: 5 }, SleepRegister { port: 0x705, off: 7 }]
        );
        let new = control([0x804, 0], [(1, 0x804), (1, 0), (1, 0x900)]);
        assert_eq!(
            new.registers[..],
            [SleepRegister { port: 0x805, off: 5 }, SleepRegister { port: 0x900, off: 5 }]
        );
        assert!(!new.is_open);
        let two = control([0x604, 0], [(1, 0x804), (1, 0), (1, 0)]);
        assert!(two.registers.is_empty() && two.is_open);
        let memory = control([0, 0], [(1, 0), (1, 0), (0, 0xfed0_0000)]);
        assert!(memory.registers.is_empty() && memory.is_open);
        let unknown = sleep_control(&fadt([0x604, 0], [(1, 0); 3]), None);
        assert!(unknown.registers.is_empty() && unknown.is_open);
        // A FADT of ACPI 1 ends before the long addresses.
        let short = sleep_control(&fadt([0x604, 0], [(1, 0); 3])[..116], off);
        assert_eq!(short.registers[..], [SleepRegister { port: 0x605, off: 5 }]);
    }
}
