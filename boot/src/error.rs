//! Why the machine does not start.

use core::fmt;

/// What is wrong, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The boot loader's magic number is that of no known protocol.
    UnknownProtocol(u32),
    /// The boot information of the loader is broken.
    BadBootInformation(&'static str),
    /// The memory map is empty or has too many ranges.
    BadMemoryMap,
    /// The loader gave no ACPI root pointer.
    NoAcpi,
    /// The command line is too long or no text.
    BadOptions,
    /// There must be exactly one module, the bundle.
    ModuleCount(usize),
    /// Something lies above 4 GiB, where the stub cannot reach.
    OutOfReach(u64),
    /// The bundle is no tar archive.
    BadBundle(tar_no_std::CorruptDataError),
    /// A member of the bundle has a name that is too long, no text, or there twice, or the bundle
    /// has too many members.
    BadMember,
    /// The bundle has no member `kernel`.
    NoKernel,
    /// The kernel is no ELF file that can be loaded.
    BadKernel(&'static str),
    /// No part of the RAM is free for LUCOS.
    NoRoom,
    /// The kernel does not fit in LUCOS's region.
    KernelTooLarge(u64),
    /// The boot record does not fit.
    RecordTooLong,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownProtocol(magic) => {
                write!(
                    f,
                    "started by neither PVH nor Multiboot2 (magic {magic:#x})"
                )
            }
            Self::BadBootInformation(what) => write!(f, "the boot information is broken: {what}"),
            Self::BadMemoryMap => f.write_str("the memory map is empty or too long"),
            Self::NoAcpi => f.write_str("the boot loader gave no ACPI root pointer"),
            Self::BadOptions => f.write_str("the command line is too long or no text"),
            Self::ModuleCount(0) => f.write_str("no bundle (-initrd or module2)"),
            Self::ModuleCount(count) => write!(f, "{count} modules where one bundle is expected"),
            Self::OutOfReach(address) => write!(f, "{address:#x} is out of the stub's reach"),
            Self::BadBundle(why) => write!(f, "the bundle is no tar archive: {why}"),
            Self::BadMember => f.write_str("a member of the bundle has a bad name"),
            Self::NoKernel => f.write_str("the bundle has no member `kernel`"),
            Self::BadKernel(why) => write!(f, "the bundle's `kernel` cannot be loaded: {why}"),
            Self::NoRoom => f.write_str("no free memory for LUCOS below 4 GiB"),
            Self::KernelTooLarge(size) => write!(f, "the kernel needs {size:#x} bytes"),
            Self::RecordTooLong => f.write_str("the boot record is too long"),
        }
    }
}
