//! What machine this is: the boot stub tells the kernel, the kernel tells the tasks.

use core::sync::atomic::{AtomicU32, AtomicU64};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Most processors that LUCOS uses.
pub const MAX_CPUS: usize = 64;
/// Most ranges in a memory map.
pub const MAX_RANGES: usize = 64;
/// Most modules in a bundle.
pub const MAX_MODULES: usize = 12;
/// Version of [`BootRecord`]; stub and kernel must agree.
pub const BOOT_RECORD_VERSION: u32 = 3;
/// Most segments of the kernel image.
pub const MAX_SEGMENTS: usize = 8;
/// Longest encoded [`BootRecord`] or [`SystemInfo`] in bytes.
pub const RECORD_MAX: usize = 4096;

/// What a range of physical memory is.
///
/// Where ranges of different kinds overlap in what firmware reports, the kind that stands later here
/// wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemoryKind {
    /// Free for the operating system.
    Ram,
    /// LUCOS's NVS area: RAM that the guest sees as ACPI NVS.
    NvsArea,
    /// LUCOS's own region: RAM that the guest sees as reserved, and as a page of ones.
    Region,
    /// ACPI tables that may be reclaimed.
    AcpiReclaimable,
    /// ACPI memory that must be kept.
    AcpiNvs,
    /// Reserved, but among or right behind the memory below 4 GiB: firmware keeps tables there, and
    /// reading it has no effects.
    Firmware,
    /// Not memory, or not ours. Reading it may have effects: devices are here.
    Reserved,
    /// Broken memory.
    Bad,
}

impl MemoryKind {
    /// The guest's RAM: the kernel maps it, and writes it for tasks.
    pub const fn is_guest_ram(self) -> bool {
        matches!(self, Self::Ram | Self::NvsArea)
    }

    /// Tasks with the guest-memory window may read it there.
    pub const fn is_readable(self) -> bool {
        !matches!(self, Self::Region | Self::Reserved | Self::Bad)
    }
}

/// A range of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRange {
    /// First byte.
    pub start: u64,
    /// Length in bytes, never 0; `start + length` does not wrap.
    pub length: u64,
    /// What it is.
    pub kind: MemoryKind,
}

impl MemoryRange {
    /// First byte behind the range.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// What the operator asks for on LUCOS's command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `debugcon=PORT`: every log line goes to this port, byte by byte (QEMU's debug console).
    pub debugcon: Option<u16>,
    /// `serial=PORT`: log to a 16550 UART there until the guest starts.
    pub serial: Option<u16>,
    /// `exit=PORT`: writing a status to this port ends the emulator (QEMU's isa-debug-exit).
    pub exit: Option<u16>,
}

/// What a segment of the kernel image holds, and with it what may be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Constants: they are read.
    Constants,
    /// Code: it is executed.
    Code,
    /// Data: they are written.
    Data,
}

/// A segment of the kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Physical address of its first page.
    pub start: u64,
    /// Physical address of the first page behind it.
    pub end: u64,
    /// What it holds.
    pub content: Content,
}

/// A part of the bundle, in guest RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name in the bundle, for example `tasks/vmx`.
    pub name: String<32>,
    /// Physical address of the first byte.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
}

/// A linear framebuffer as the firmware left it, for the guest's boot parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framebuffer {
    /// Physical address.
    pub address: u64,
    /// Bytes a line.
    pub pitch: u32,
    /// Pixels a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits a pixel.
    pub bits: u8,
    /// Position and width of red, green and blue in a pixel, in bits.
    pub fields: [(u8, u8); 3],
}

/// What UEFI left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Efi {
    /// Physical address of the 64-bit system table.
    pub system_table: u64,
    /// Physical address of the memory map.
    pub memory_map: u64,
    /// Its length in bytes.
    pub memory_map_length: u32,
    /// Length of one descriptor in bytes.
    pub descriptor_length: u32,
    /// Version of the descriptors.
    pub descriptor_version: u32,
}

/// What the boot stub tells the kernel, as postcard at the address in hermit-entry's
/// `multiboot_info_addr`, preceded by its length as a little-endian `u32`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRecord {
    /// [`BOOT_RECORD_VERSION`].
    pub version: u32,
    /// The memory map: whole pages, sorted, without overlaps, with region and NVS area in it.
    pub memory: Vec<MemoryRange, MAX_RANGES>,
    /// LUCOS's own region; its first bytes hold the kernel image.
    pub region: MemoryRange,
    /// The part of the region that the kernel image takes.
    pub kernel: MemoryRange,
    /// Its segments, each with rights of its own. What lies between them is not mapped.
    pub segments: Vec<Segment, MAX_SEGMENTS>,
    /// Memory that the guest sees as ACPI NVS, next to the region.
    pub nvs: MemoryRange,
    /// Physical address of the ACPI root pointer.
    pub rsdp: u64,
    /// Local APIC ids of the processors; the one that boots comes first, the others wait at `gate`.
    pub apic_ids: Vec<u32, MAX_CPUS>,
    /// Physical address of the [`Gate`], in RAM that is the guest's as soon as it runs.
    pub gate: u64,
    /// What LUCOS's own command line says.
    pub options: Options,
    /// The bundle's parts.
    pub modules: Vec<Module, MAX_MODULES>,
    /// The framebuffer, when there is one.
    pub framebuffer: Option<Framebuffer>,
    /// UEFI's tables, when the machine was booted by UEFI.
    pub efi: Option<Efi>,
}

/// A virtualization extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extension {
    /// AMD-V.
    Svm {
        /// What it has: EDX of CPUID leaf 0x8000_000a.
        features: u32,
    },
    /// VT-x.
    Vtx,
}

/// Where processors that the stub has started wait for the kernel, in 64-bit mode, on the stub's
/// tables, interrupts off.
#[repr(C)]
#[derive(Debug)]
pub struct Gate {
    /// End of the stack of the one that may go on, a multiple of 16.
    pub stack: AtomicU64,
    /// The function that it calls, with its number as the argument.
    pub entry: AtomicU64,
    /// Its number; written last. 0 lets nobody in.
    pub next: AtomicU32,
}

impl Gate {
    /// Shut.
    pub const fn new() -> Self {
        Self { stack: AtomicU64::new(0), entry: AtomicU64::new(0), next: AtomicU32::new(0) }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// What the kernel tells every task, as postcard at [`crate::layout::SYSTEM_INFO`], preceded by its
/// length as a little-endian `u32`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    /// The memory map of the [`BootRecord`].
    pub memory: Vec<MemoryRange, MAX_RANGES>,
    /// LUCOS's region, hidden from the guest.
    pub region: MemoryRange,
    /// The ACPI NVS area, for tables and mailbox.
    pub nvs: MemoryRange,
    /// Physical address of the firmware's ACPI root pointer.
    pub rsdp: u64,
    /// The bundle's parts that are for the guest.
    pub modules: Vec<Module, MAX_MODULES>,
    /// Local APIC ids by processor number; the boot processor is number 0.
    pub apic_ids: Vec<u32, MAX_CPUS>,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// The virtualization extension in use.
    pub extension: Extension,
    /// The bits of EFER that this processor has, without those of virtualization.
    pub efer_bits: u64,
    /// INIT that the guest sends to its processors comes to LUCOS.
    pub contains_init: bool,
    /// The framebuffer, when there is one.
    pub framebuffer: Option<Framebuffer>,
    /// UEFI's tables, when the machine was booted by UEFI.
    pub efi: Option<Efi>,
}

/// What a thread of a task finds in its message page when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartInfo {
    /// Number of the processor on which the thread runs.
    pub cpu: u32,
    /// How often the task was restarted.
    pub generation: u32,
    /// How often in a row this thread itself was the reason while it handled an exit of the guest at
    /// one and the same instruction. Only the first task's threads handle exits.
    pub failures: u32,
    /// Bytes of heap at [`crate::layout::HEAP`].
    pub heap: u64,
    /// Bytes of retained memory at [`crate::layout::JOURNAL`].
    pub journal: u64,
}
