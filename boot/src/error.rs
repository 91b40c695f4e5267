//! Why the machine does not start.

use heapless::String;
use lucos_abi::manifest::NAME_MAX;
use lucos_system_check::ManifestError;
use thiserror::Error;

/// What is wrong, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BootError {
    /// The boot loader's magic number is that of no known protocol.
    #[error("started by neither PVH nor Multiboot2 (magic {0:#x})")]
    UnknownProtocol(u32),
    /// The boot information of the loader is broken.
    #[error("the boot information is broken: {0}")]
    BadBootInformation(&'static str),
    /// The memory map is empty or has too many ranges.
    #[error("the memory map is empty or too long")]
    BadMemoryMap,
    /// The loader gave no ACPI root pointer.
    #[error("the boot loader gave no ACPI root pointer")]
    NoAcpi,
    /// The machine's ACPI tables name no processors.
    #[error("ACPI names no processors")]
    NoProcessors,
    /// The machine has more processors than LUCOS can use.
    #[error("too many processors")]
    TooManyProcessors,
    /// A processor's APIC id is too large for the interface that the firmware chose.
    #[error("APIC id {0} cannot be named without x2APIC, which the firmware left off")]
    ApicId(u32),
    /// There is no RAM below 640 KiB for the start code of other processors.
    #[error("no free page below 1 MiB")]
    NoLowMemory,
    /// A processor did not start.
    #[error("the processor with APIC id {0} does not start")]
    ProcessorDead(u32),
    /// The command line is too long or no text.
    #[error("the command line is too long or no text")]
    BadOptions,
    /// A word on the command line has no meaning.
    #[error("unknown word on the LUCOS command line")]
    UnknownOption,
    /// A port on the command line is no number.
    #[error("a port on the LUCOS command line is no number")]
    BadPort,
    /// There must be exactly one module, the bundle.
    #[error("{0} modules (-initrd or module2) where one bundle is expected")]
    ModuleCount(usize),
    /// Something lies above 4 GiB, where the stub cannot reach.
    #[error("{0:#x} is out of the stub's reach")]
    OutOfReach(u64),
    /// The bundle is no tar archive.
    #[error("the bundle is no tar archive: {0}")]
    BadBundle(tar_no_std::CorruptDataError),
    /// A member of the bundle has a name that is too long, no text, or there twice, or the bundle
    /// has too many members.
    #[error("the bundle has too many members, or one with a bad name")]
    BadMember,
    /// The bundle has no member `kernel`.
    #[error("the bundle has no member `kernel`")]
    NoKernel,
    /// The kernel is no ELF file that can be loaded.
    #[error("the bundle's `kernel` cannot be loaded: {0}")]
    BadKernel(&'static str),
    /// The bundle has no system table, or one that cannot be read.
    #[error("the bundle's `system` is missing or unreadable")]
    NoSystemTable,
    /// The system table asks for something that is not allowed.
    #[error("the system table is not allowed: {0}")]
    SystemTable(ManifestError),
    /// The bundle has no image of a task, or one that is not as long as the system table says.
    #[error("the bundle's `tasks/{0}` is missing, or not as long as the system table says")]
    TaskImage(String<NAME_MAX>),
    /// No part of the RAM is free for LUCOS.
    #[error("no free memory for LUCOS below 4 GiB")]
    NoRoom,
    /// The kernel does not fit in LUCOS's region.
    #[error("the kernel needs {0:#x} bytes")]
    KernelTooLarge(u64),
    /// What the bundle holds does not fit in LUCOS's region.
    #[error("the tasks do not fit in LUCOS's region")]
    RegionFull,
    /// The stub used more of its stack than it may.
    #[error("the boot stub's stack is too small for this machine")]
    StackTooSmall,
    /// The boot record does not fit.
    #[error("the boot record is too long")]
    RecordTooLong,
}
