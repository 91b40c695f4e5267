//! The header of a bzImage.

use core::fmt;

use crate::fields::{array_at, u16_at, u32_at, u64_at};

/// Bytes from the start of the file that [`KernelImage::parse`] needs.
pub const HEADER_BYTES: usize = 0x290;
/// Offset of the setup header, in the file and in the boot parameters.
pub(crate) const SETUP_HEADER: usize = 0x1f1;
/// Most bytes that the setup header can have in the boot parameters.
pub(crate) const SETUP_HEADER_MAX: usize = HEADER_BYTES - SETUP_HEADER;
/// Distance of the 64-bit entry point from the load address.
pub const ENTRY_OFFSET: u64 = 0x200;

/// Oldest boot protocol that names 64-bit entry points and the memory that a kernel needs.
const OLDEST_PROTOCOL: u16 = 0x020c;
/// Behind `init_size`, the last field that is read.
const FIELDS_END: usize = 0x264;
const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;
const XLF_ABOVE_4G: u16 = 2;
/// Alignments that make sense: a page to 1 GiB. Linux has 2 MiB to 16 MiB.
const ALIGNMENTS: core::ops::RangeInclusive<u32> = 0x1000..=0x4000_0000;

/// Why a file is not a kernel that LUCOS can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// The file ends before its header, or before the length that the header tells.
    Truncated {
        /// Length of the file in bytes.
        length: u64,
        /// Bytes that it should have at least.
        needed: u64,
    },
    /// The signatures of a bzImage are not there.
    NotBzImage,
    /// The setup header ends before the last field that LUCOS reads of it.
    HeaderLength {
        /// Offset of the first byte behind it.
        end: usize,
    },
    /// The kernel is older than the boot protocol that LUCOS speaks.
    Protocol {
        /// Its protocol version, major in the upper byte.
        version: u16,
    },
    /// A kernel for 32-bit processors, or one without 64-bit entry point.
    Not64Bit,
    /// A zImage, which runs in low memory only.
    NotLoadedHigh,
    /// The alignment is no power of two, or absurd.
    Alignment {
        /// What the header tells.
        alignment: u32,
    },
    /// The kernel asks for less memory than its own code has, or for none.
    InitSize {
        /// What the header tells.
        init_size: u32,
    },
    /// The preferred address plus the memory needed passes the end of the address space.
    PreferredAddress {
        /// What the header tells.
        address: u64,
    },
}

impl fmt::Display for KernelError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { length, needed } => {
                write!(to, "the file has {length} bytes, but needs {needed}")
            }
            Self::NotBzImage => to.write_str("the file is no bzImage"),
            Self::HeaderLength { end } => {
                write!(to, "the setup header ends at {end:#x}, before its last field")
            }
            Self::Protocol { version } => {
                write!(to, "boot protocol {version:#06x} is older than 0x020c")
            }
            Self::Not64Bit => to.write_str("the kernel has no 64-bit entry point"),
            Self::NotLoadedHigh => to.write_str("the kernel is a zImage"),
            Self::Alignment { alignment } => write!(to, "alignment {alignment:#x} is not usable"),
            Self::InitSize { init_size } => {
                write!(to, "init_size {init_size:#x} is too small for the kernel")
            }
            Self::PreferredAddress { address } => {
                write!(to, "preferred address {address:#x} is not usable")
            }
        }
    }
}

/// What the header of a bzImage says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelImage {
    /// Offset of the 64-bit code in the file.
    pub code_offset: u64,
    /// Length of that code in bytes.
    pub code_length: u64,
    /// Memory that the kernel needs from its load address on, in bytes.
    pub init_size: u64,
    /// Where it would like to be.
    pub preferred_address: u64,
    /// Alignment of any other load address, a power of two.
    pub alignment: u64,
    /// Whether it can be anywhere else.
    pub relocatable: bool,
    /// Last address at which the initial RAM disk may have a byte.
    pub initrd_last: u64,
    /// Longest command line in bytes, without the NUL.
    pub command_line_max: usize,
    /// Bytes of the setup header.
    pub(crate) header: heapless::Vec<u8, SETUP_HEADER_MAX>,
}

impl KernelImage {
    /// Reads the header in `start`, the first [`HEADER_BYTES`] bytes of a file of `length` bytes.
    ///
    /// # Errors
    /// [`KernelError`]
    pub fn parse(start: &[u8], length: u64) -> Result<Self, KernelError> {
        let truncated = |needed| KernelError::Truncated { length, needed };
        let field = || truncated(HEADER_BYTES as u64);
        let start = start.get(..HEADER_BYTES).ok_or(field())?;
        let u8_at = |offset: usize| start.get(offset).copied().ok_or(field());
        let u16_at = |offset| u16_at(start, offset).ok_or(field());
        let u32_at = |offset| u32_at(start, offset).ok_or(field());

        if u16_at(0x1fe)? != 0xaa55 || array_at(start, 0x202) != Some(*b"HdrS") {
            return Err(KernelError::NotBzImage);
        }
        let version = u16_at(0x206)?;
        if version < OLDEST_PROTOCOL {
            return Err(KernelError::Protocol { version });
        }
        let loader_flags = u16_at(0x236)?;
        if loader_flags & XLF_KERNEL_64 == 0 {
            return Err(KernelError::Not64Bit);
        }
        if u8_at(0x211)? & LOADED_HIGH == 0 {
            return Err(KernelError::NotLoadedHigh);
        }

        // A count of 0 means 4, for historical reasons.
        let setup_sectors = match u8_at(SETUP_HEADER)? {
            0 => 4,
            count => u64::from(count),
        };
        let code_offset = (setup_sectors + 1) * 512;
        let code_length = u64::from(u32_at(0x1f4)?) * 16;
        // The header counts in units of 16 bytes; the last one need not be complete.
        let needed = code_offset + code_length.saturating_sub(15);
        if length < needed || code_length == 0 {
            return Err(truncated(needed.max(code_offset + 1)));
        }
        let code_length = code_length.min(length - code_offset);

        let alignment = u32_at(0x230)?;
        if !alignment.is_power_of_two() || !ALIGNMENTS.contains(&alignment) {
            return Err(KernelError::Alignment { alignment });
        }
        let init_size = u32_at(0x260)?;
        if u64::from(init_size) < code_length {
            return Err(KernelError::InitSize { init_size });
        }
        let preferred_address = u64_at(start, 0x258).ok_or(field())?;
        if preferred_address % 4096 != 0
            || preferred_address.checked_add(u64::from(init_size)).is_none()
        {
            return Err(KernelError::PreferredAddress { address: preferred_address });
        }
        let initrd_last = match loader_flags & XLF_ABOVE_4G {
            0 => u64::from(u32_at(0x22c)?),
            _ => u64::MAX,
        };
        // The byte at 0x201 is the second of a jump over the header: its end, counted from 0x202.
        let header_end = (0x202 + usize::from(u8_at(0x201)?)).min(HEADER_BYTES);
        if header_end < FIELDS_END {
            // The boot parameters would lack what was read here.
            return Err(KernelError::HeaderLength { end: header_end });
        }
        let header = start.get(SETUP_HEADER..header_end).ok_or(field())?;
        Ok(Self {
            code_offset,
            code_length,
            init_size: u64::from(init_size),
            preferred_address,
            alignment: u64::from(alignment),
            relocatable: u8_at(0x234)? != 0,
            initrd_last,
            command_line_max: u32_at(0x238)?.try_into().unwrap_or(usize::MAX),
            header: header.iter().copied().collect(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{HEADER_BYTES, KernelError, KernelImage};
    use proptest::prelude::*;

    /// The start of a plausible bzImage: 27 setup sectors and 0x1000 bytes of code.
    pub(crate) fn image() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let mut put = |offset: usize, value: &[u8]| {
            bytes[offset..offset + value.len()].copy_from_slice(value);
        };
        put(0x1f1, &[27]);
        put(0x1f4, &0x100_u32.to_le_bytes());
        put(0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
        put(0x202, b"HdrS");
        put(0x206, &0x020f_u16.to_le_bytes());
        put(0x211, &[1]);
        put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
        put(0x230, &0x20_0000_u32.to_le_bytes());
        put(0x234, &[1, 21]);
        put(0x236, &0x3f_u16.to_le_bytes());
        put(0x238, &2047_u32.to_le_bytes());
        put(0x258, &0x100_0000_u64.to_le_bytes());
        put(0x260, &0x20_0000_u32.to_le_bytes());
        bytes
    }

    pub(crate) const LENGTH: u64 = 28 * 512 + 0x1000;

    fn changed(offset: usize, value: &[u8]) -> Result<KernelImage, KernelError> {
        let mut bytes = image();
        bytes[offset..offset + value.len()].copy_from_slice(value);
        KernelImage::parse(&bytes, LENGTH)
    }

    #[test]
    fn a_good_header_is_read() {
        let kernel = KernelImage::parse(&image(), LENGTH).unwrap();
        assert_eq!(kernel.code_offset, 28 * 512);
        assert_eq!(kernel.code_length, 0x1000);
        assert_eq!(kernel.init_size, 0x20_0000);
        assert_eq!(kernel.preferred_address, 0x100_0000);
        assert_eq!(kernel.initrd_last, u64::MAX);
        assert_eq!(kernel.command_line_max, 2047);
        assert!(kernel.relocatable);
        assert_eq!(kernel.header.len(), 0x202 + 0x6a - 0x1f1);
    }

    #[test]
    fn a_header_without_its_last_field_is_refused() {
        assert!(changed(0x201, &[0x62]).is_ok());
        assert_eq!(changed(0x201, &[0x61]), Err(KernelError::HeaderLength { end: 0x263 }));
        assert_eq!(changed(0x201, &[0]), Err(KernelError::HeaderLength { end: 0x202 }));
    }

    #[test]
    fn zero_setup_sectors_mean_four() {
        assert_eq!(changed(0x1f1, &[0]).unwrap().code_offset, 5 * 512);
    }

    #[test]
    fn the_last_paragraph_need_not_be_complete() {
        let kernel = KernelImage::parse(&image(), LENGTH - 15).unwrap();
        assert_eq!(kernel.code_length, 0x1000 - 15);
        assert_eq!(
            KernelImage::parse(&image(), LENGTH - 16),
            Err(KernelError::Truncated { length: LENGTH - 16, needed: LENGTH - 15 })
        );
    }

    #[test]
    fn an_initrd_below_4_gib_is_asked_for_by_old_kernels() {
        let kernel = changed(0x236, &1_u16.to_le_bytes()).unwrap();
        assert_eq!(kernel.initrd_last, 0x7fff_ffff);
    }

    #[test]
    fn each_bad_field_has_its_error() {
        let cases: [(usize, &[u8], KernelError); 9] = [
            (0x1fe, &[0], KernelError::NotBzImage),
            (0x202, b"HdrT", KernelError::NotBzImage),
            (0x206, &[0x0b, 2], KernelError::Protocol { version: 0x020b }),
            (0x236, &[0xfe], KernelError::Not64Bit),
            (0x211, &[0], KernelError::NotLoadedHigh),
            (0x230, &0x30_0000_u32.to_le_bytes(), KernelError::Alignment { alignment: 0x30_0000 }),
            (0x230, &0_u32.to_le_bytes(), KernelError::Alignment { alignment: 0 }),
            (0x260, &0xfff_u32.to_le_bytes(), KernelError::InitSize { init_size: 0xfff }),
            (
                0x258,
                &(u64::MAX - 0xfff).to_le_bytes(),
                KernelError::PreferredAddress { address: u64::MAX - 0xfff },
            ),
        ];
        for (offset, value, error) in cases {
            assert_eq!(changed(offset, value), Err(error), "at {offset:#x}");
        }
    }

    #[test]
    fn a_short_file_is_truncated() {
        assert!(matches!(
            KernelImage::parse(&image()[..HEADER_BYTES - 1], LENGTH),
            Err(KernelError::Truncated { .. })
        ));
        assert!(matches!(changed(0x1f4, &[0; 4]), Err(KernelError::Truncated { .. })));
    }

    proptest! {
        #[test]
        fn any_header_is_refused_or_consistent(
            noise in prop::collection::vec((0..HEADER_BYTES, any::<u8>()), 0..40),
            length in 0..0x10_0000_u64,
        ) {
            let mut bytes = image();
            for (offset, value) in noise {
                bytes[offset] = value;
            }
            if let Ok(kernel) = KernelImage::parse(&bytes, length) {
                prop_assert!(kernel.code_offset + kernel.code_length <= length);
                prop_assert!(kernel.code_length <= kernel.init_size);
                prop_assert!(kernel.alignment.is_power_of_two());
            }
        }
    }
}
