//! The page of boot parameters (Linux calls it the zero page) and the command line behind it.

use core::fmt;

use lucos_system_info::{Efi, Framebuffer, MemoryKind, MemoryRange};

use crate::PAGE_LENGTH;
use crate::fields::put;
use crate::kernel::{KernelImage, SETUP_HEADER};
use crate::placement::Placement;

/// Bytes for the command line with its NUL.
pub const COMMAND_LINE_ROOM: usize = 4096;
/// Bytes of the parameters and the command line, which lies directly behind them.
pub const HANDOFF_LENGTH: u64 = (PAGE_LENGTH + COMMAND_LINE_ROOM) as u64;

/// Entries of the memory map in the boot parameters.
const MEMORY_MAX: usize = 128;
/// "Some boot loader without a number of its own".
const LOADER_TYPE: u8 = 0xff;
/// "Do not set a video mode".
const VIDEO_MODE_AS_IS: u16 = 0xffff;
/// Kinds of `screen_info`.
const VIDEO_TEXT: u8 = 1;
const VIDEO_VESA: u8 = 0x23;
const VIDEO_EFI: u8 = 0x70;
/// The upper half of the framebuffer's address counts.
const VIDEO_64_BIT: u32 = 2;

/// Why boot parameters cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// The memory map has too many ranges.
    MemoryMap {
        /// How many.
        ranges: usize,
    },
    /// The command line is too long for this kernel.
    CommandLine {
        /// Its length in bytes.
        length: usize,
        /// The longest that this kernel takes.
        longest: usize,
    },
    /// The command line has a NUL in it.
    NulInCommandLine,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryMap { ranges } => {
                write!(to, "the memory map has {ranges} ranges, Linux takes {MEMORY_MAX}")
            }
            Self::CommandLine { length, longest } => {
                write!(to, "the command line has {length} bytes, this kernel takes {longest}")
            }
            Self::NulInCommandLine => to.write_str("the command line has a NUL in it"),
        }
    }
}

/// What the kernel is told beside its own header.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The guest's memory map.
    pub memory: &'a [MemoryRange],
    /// Address of the ACPI root pointer.
    pub rsdp: u64,
    /// The framebuffer, when there is one.
    pub framebuffer: Option<Framebuffer>,
    /// UEFI's tables; the memory map in it is the guest's.
    pub efi: Option<Efi>,
}

/// Makes the boot parameters.
///
/// # Errors
/// [`ParameterError::MemoryMap`]
pub fn boot_parameters(
    kernel: &KernelImage,
    placement: &Placement,
    machine: &Machine<'_>,
    to: &mut [u8; PAGE_LENGTH],
) -> Result<(), ParameterError> {
    to.fill(0);
    let mut page = Page(to);
    page.setup_header(kernel, placement);
    page.memory(machine.memory)?;
    page.u64(0x070, machine.rsdp);
    match (machine.framebuffer, machine.efi) {
        (Some(framebuffer), efi) => page.framebuffer(&framebuffer, efi.is_some()),
        (None, None) => page.text_screen(),
        // UEFI machines have no text mode.
        (None, Some(_)) => {}
    }
    if let Some(efi) = machine.efi {
        page.efi(&efi);
    }
    Ok(())
}

/// Writes the command line as it goes behind the boot parameters: `text` without line ends at its
/// end, and a NUL.
///
/// # Errors
/// [`ParameterError`] when it has a NUL or is too long for this kernel.
pub fn command_line(
    kernel: &KernelImage,
    text: &[u8],
    to: &mut [u8; COMMAND_LINE_ROOM],
) -> Result<(), ParameterError> {
    let text = text.trim_ascii();
    if text.contains(&0) {
        return Err(ParameterError::NulInCommandLine);
    }
    let longest = kernel.command_line_max.min(COMMAND_LINE_ROOM - 1);
    to.fill(0);
    match to.get_mut(..text.len()) {
        Some(place) if text.len() <= longest => place.copy_from_slice(text),
        _ => {
            return Err(ParameterError::CommandLine { length: text.len(), longest });
        }
    }
    Ok(())
}

struct Page<'a>(&'a mut [u8; PAGE_LENGTH]);

/// Offsets are those of Linux' `zero-page.rst`; all are constants inside the page.
impl Page<'_> {
    fn bytes(&mut self, offset: usize, value: &[u8]) {
        let fits = put(self.0, offset, value);
        debug_assert!(fits, "field {offset:#x} is outside the page");
    }

    fn u8(&mut self, offset: usize, value: u8) {
        self.bytes(offset, &[value]);
    }

    fn u16(&mut self, offset: usize, value: u16) {
        self.bytes(offset, &value.to_le_bytes());
    }

    fn u32(&mut self, offset: usize, value: u32) {
        self.bytes(offset, &value.to_le_bytes());
    }

    fn u64(&mut self, offset: usize, value: u64) {
        self.bytes(offset, &value.to_le_bytes());
    }

    /// The halves of `value` at two places.
    fn halves(&mut self, low: usize, high: usize, value: u64) {
        self.u32(low, value as u32);
        self.u32(high, (value >> 32) as u32);
    }

    fn setup_header(&mut self, kernel: &KernelImage, placement: &Placement) {
        self.bytes(SETUP_HEADER, &kernel.header);
        self.u16(0x1fa, VIDEO_MODE_AS_IS);
        self.u8(0x210, LOADER_TYPE);
        // Everything is placed below 4 GiB, so the upper halves are 0.
        self.u32(0x214, placement.kernel as u32);
        if let Some(initrd) = placement.initrd {
            self.halves(0x218, 0x0c0, initrd.start);
            self.halves(0x21c, 0x0c4, initrd.length);
        }
        self.halves(0x228, 0x0c8, placement.handoff + PAGE_LENGTH as u64);
        // No list of further parameters.
        self.u64(0x250, 0);
    }

    fn memory(&mut self, memory: &[MemoryRange]) -> Result<(), ParameterError> {
        let ranges = memory.len();
        if ranges > MEMORY_MAX {
            return Err(ParameterError::MemoryMap { ranges });
        }
        self.u8(0x1e8, ranges as u8);
        for (index, range) in memory.iter().enumerate() {
            let entry = 0x2d0 + index * 20;
            let kind = match range.kind {
                MemoryKind::Ram => 1,
                MemoryKind::Reserved | MemoryKind::Firmware | MemoryKind::Region => 2,
                MemoryKind::AcpiReclaimable => 3,
                MemoryKind::AcpiNvs | MemoryKind::NvsArea => 4,
                MemoryKind::Bad => 5,
            };
            self.u64(entry, range.start);
            self.u64(entry + 8, range.length);
            self.u32(entry + 16, kind);
        }
        Ok(())
    }

    /// VGA text, 80 by 25. Linux looks whether there is a VGA card at all.
    fn text_screen(&mut self) {
        self.u8(0x06, 3);
        self.u8(0x07, 80);
        self.u8(0x0e, 25);
        self.u8(0x0f, VIDEO_TEXT);
        self.u16(0x10, 16);
    }

    fn framebuffer(&mut self, framebuffer: &Framebuffer, efi: bool) {
        let size = u64::from(framebuffer.pitch) * u64::from(framebuffer.height);
        let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        self.u8(0x0f, if efi { VIDEO_EFI } else { VIDEO_VESA });
        self.u16(0x12, narrow(framebuffer.width));
        self.u16(0x14, narrow(framebuffer.height));
        self.u16(0x16, u16::from(framebuffer.bits));
        self.halves(0x18, 0x3a, framebuffer.address);
        // VESA framebuffers are counted in units of 64 KiB.
        let size = if efi { size } else { size.div_ceil(1 << 16) };
        self.u32(0x1c, u32::try_from(size).unwrap_or(u32::MAX));
        self.u16(0x24, narrow(framebuffer.pitch));
        for (index, (position, width)) in framebuffer.fields.into_iter().enumerate() {
            self.u8(0x26 + index * 2, width);
            self.u8(0x27 + index * 2, position);
        }
        self.u32(0x36, VIDEO_64_BIT);
    }

    fn efi(&mut self, efi: &Efi) {
        self.bytes(0x1c0, b"EL64");
        self.halves(0x1c4, 0x1d8, efi.system_table);
        self.u32(0x1c8, efi.descriptor_length);
        self.u32(0x1cc, efi.descriptor_version);
        self.halves(0x1d0, 0x1dc, efi.memory_map);
        self.u32(0x1d4, efi.memory_map_length);
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMAND_LINE_ROOM, Machine, ParameterError};
    use crate::PAGE_LENGTH;
    use crate::fields::{array_at, u16_at, u32_at, u64_at};
    use crate::kernel::KernelImage;
    use crate::kernel::tests::{LENGTH, image};
    use crate::placement::{Initrd, Placement};
    use lucos_system_info::{Efi, Framebuffer, MemoryKind, MemoryRange};

    fn kernel() -> KernelImage {
        KernelImage::parse(&image(), LENGTH).unwrap()
    }

    fn boot_parameters(
        kernel: &KernelImage,
        placement: &Placement,
        machine: &Machine<'_>,
    ) -> Result<[u8; PAGE_LENGTH], ParameterError> {
        let mut page = [0xaa; PAGE_LENGTH];
        super::boot_parameters(kernel, placement, machine, &mut page).map(|()| page)
    }

    fn command_line(
        kernel: &KernelImage,
        text: &[u8],
    ) -> Result<[u8; COMMAND_LINE_ROOM], ParameterError> {
        let mut room = [0xaa; COMMAND_LINE_ROOM];
        super::command_line(kernel, text, &mut room).map(|()| room)
    }

    const PLACEMENT: Placement = Placement {
        kernel: 0x100_0000,
        initrd: Some(Initrd { start: 0x2000_1000, length: 0x1234, copy_from: None }),
        handoff: 0x3000_0000,
    };

    const MEMORY: [MemoryRange; 2] = [
        MemoryRange { start: 0, length: 0x9_f000, kind: MemoryKind::Ram },
        MemoryRange { start: 0x7fff_0000, length: 0x1_0000, kind: MemoryKind::AcpiNvs },
    ];

    const MACHINE: Machine<'static> =
        Machine { memory: &MEMORY, rsdp: 0x7fff_8000, framebuffer: None, efi: None };

    #[test]
    fn the_header_is_the_kernels_own_with_our_answers() {
        let page = boot_parameters(&kernel(), &PLACEMENT, &MACHINE).unwrap();
        assert_eq!(page[0x1f1..0x1fa], image()[0x1f1..0x1fa]);
        assert_eq!(page[0x1fe..0x210], image()[0x1fe..0x210]);
        // Linux clears most of the page when this byte is not 0.
        assert_eq!(page[0x1ef], 0);
        assert_eq!(page[0x210], 0xff);
        assert_eq!(u32_at(&page, 0x214), Some(0x100_0000));
        assert_eq!(u32_at(&page, 0x218), Some(0x2000_1000));
        assert_eq!(u32_at(&page, 0x21c), Some(0x1234));
        assert_eq!(u32_at(&page, 0x228), Some(0x3000_1000));
        assert_eq!(u64_at(&page, 0x258), Some(0x100_0000));
        assert_eq!(u64_at(&page, 0x070), Some(0x7fff_8000));
        // Nothing behind the kernel's own header is taken over.
        assert!(page[0x202 + 0x6a..0x2d0].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn without_initrd_its_fields_are_zero() {
        let placement = Placement { initrd: None, ..PLACEMENT };
        let page = boot_parameters(&kernel(), &placement, &MACHINE).unwrap();
        assert_eq!(u64_at(&page, 0x218), Some(0));
    }

    #[test]
    fn the_memory_map_is_there_with_its_kinds() {
        let page = boot_parameters(&kernel(), &PLACEMENT, &MACHINE).unwrap();
        assert_eq!(page[0x1e8], 2);
        assert_eq!(u64_at(&page, 0x2d8), Some(0x9_f000));
        assert_eq!(u32_at(&page, 0x2e0), Some(1));
        assert_eq!(u64_at(&page, 0x2e4), Some(0x7fff_0000));
        assert_eq!(u32_at(&page, 0x2f4), Some(4));
    }

    #[test]
    fn too_many_ranges_are_refused() {
        let memory = [MEMORY[0]; 129];
        let machine = Machine { memory: &memory, ..MACHINE };
        assert_eq!(
            boot_parameters(&kernel(), &PLACEMENT, &machine),
            Err(ParameterError::MemoryMap { ranges: 129 })
        );
    }

    #[test]
    fn a_framebuffer_is_vesa_or_efi() {
        let framebuffer = Framebuffer {
            address: 0x12_8000_0000,
            pitch: 4096,
            width: 1024,
            height: 768,
            bits: 32,
            fields: [(16, 8), (8, 8), (0, 8)],
        };
        let mut machine = Machine { framebuffer: Some(framebuffer), ..MACHINE };
        let page = boot_parameters(&kernel(), &PLACEMENT, &machine).unwrap();
        assert_eq!(page[0x0f], 0x23);
        assert_eq!(u16_at(&page, 0x12), Some(1024));
        assert_eq!(u16_at(&page, 0x14), Some(768));
        assert_eq!(u32_at(&page, 0x18), Some(0x8000_0000));
        assert_eq!(u32_at(&page, 0x3a), Some(0x12));
        assert_eq!(u32_at(&page, 0x1c), Some(48));
        assert_eq!(page[0x26..0x2c], [8, 16, 8, 8, 8, 0]);

        machine.efi = Some(Efi {
            system_table: 0x1_7e00_0018,
            memory_map: 0x7fff_c000,
            memory_map_length: 0x1800,
            descriptor_length: 48,
            descriptor_version: 1,
        });
        let page = boot_parameters(&kernel(), &PLACEMENT, &machine).unwrap();
        assert_eq!(page[0x0f], 0x70);
        assert_eq!(u32_at(&page, 0x1c), Some(768 * 4096));
        assert_eq!(array_at(&page, 0x1c0), Some(*b"EL64"));
        assert_eq!(u32_at(&page, 0x1c4), Some(0x7e00_0018));
        assert_eq!(u32_at(&page, 0x1d8), Some(1));
        assert_eq!(u32_at(&page, 0x1d0), Some(0x7fff_c000));
        assert_eq!(u32_at(&page, 0x1d4), Some(0x1800));
    }

    #[test]
    fn command_lines_are_trimmed_ended_and_limited() {
        let line = command_line(&kernel(), b"console=ttyS0\n").unwrap();
        assert_eq!(line[..14], *b"console=ttyS0\0");
        assert!(command_line(&kernel(), &[b'x'; 2047]).is_ok());
        assert_eq!(
            command_line(&kernel(), &[b'x'; 2048]),
            Err(ParameterError::CommandLine { length: 2048, longest: 2047 })
        );
        let mut greedy = kernel();
        greedy.command_line_max = usize::MAX;
        assert!(command_line(&greedy, &[b'x'; COMMAND_LINE_ROOM]).is_err());
        assert_eq!(command_line(&kernel(), b"a\0b"), Err(ParameterError::NulInCommandLine));
    }
}
