//! What both boot protocols hand over, in one form.

use heapless::Vec;
use lucos_system_info::{Efi, Framebuffer, MemoryKind, MemoryRange};

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
