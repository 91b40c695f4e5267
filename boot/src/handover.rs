//! What both boot protocols hand over, in one form.

use heapless::Vec;
use lucos_abi::boot::{Efi, Framebuffer, MemoryKind, MemoryRange};

use crate::error::BootError;
use crate::memory_map::MemoryMap;

/// Most parts of RAM that the boot loader uses.
const MAX_TAKEN: usize = 8;

/// Where the ACPI root pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootPointer<'a> {
    /// At this physical address.
    At(u64),
    /// The loader made a copy that does not stay.
    Copy(&'a [u8]),
}

/// What the machine is, as the boot loader tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover<'a> {
    /// The firmware's memory map: whole pages, sorted, without overlaps.
    pub memory: MemoryMap,
    /// The ACPI root pointer.
    pub rsdp: RootPointer<'a>,
    /// LUCOS's command line.
    pub options: &'a str,
    /// The one module.
    pub bundle: MemoryRange,
    /// The framebuffer, when there is one.
    pub framebuffer: Option<Framebuffer>,
    /// UEFI's tables, when there are any.
    pub efi: Option<Efi>,
    /// Parts of the RAM that hold the above.
    pub taken: Vec<MemoryRange, MAX_TAKEN>,
}

/// Access to physical memory: the bytes at an address, or `None` where nothing can be read.
pub type Physical<'p, 'a> = &'p dyn Fn(u64, u64) -> Option<&'a [u8]>;

/// A part of the RAM that is in use.
pub const fn in_use(start: u64, length: u64) -> MemoryRange {
    MemoryRange { start, length, kind: MemoryKind::Ram }
}

/// The kind of memory that both protocols and the BIOS's E820 call by this number.
pub const fn kind(number: u32) -> MemoryKind {
    match number {
        1 => MemoryKind::Ram,
        3 => MemoryKind::AcpiReclaimable,
        4 => MemoryKind::AcpiNvs,
        5 => MemoryKind::Bad,
        _ => MemoryKind::Reserved,
    }
}

/// Little-endian fields of what lies in memory.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Result<u64, BootError> {
    field(bytes, offset).map(u64::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, BootError> {
    field(bytes, offset).map(u32::from_le_bytes)
}

fn field<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], BootError> {
    let field = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    field.copied().ok_or(BootError::BadBootInformation("it ends too early"))
}

/// Value of a `key=port` word of the command line, decimal or with `0x`.
pub fn port_option(options: &str, key: &str) -> Option<u16> {
    let mut pairs = options.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == key)?;
    match value.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::port_option;

    #[test]
    fn ports_are_read_from_the_command_line() {
        let options = "debugcon=0xe9 exit=244 serial=0x3f8x other";
        assert_eq!(port_option(options, "debugcon"), Some(0xe9));
        assert_eq!(port_option(options, "exit"), Some(0xf4));
        assert_eq!(port_option(options, "serial"), None);
        assert_eq!(port_option(options, "other"), None);
        assert_eq!(port_option("", "exit"), None);
        assert_eq!(port_option("exit=0x10000", "exit"), None);
    }
}
