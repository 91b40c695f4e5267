//! What the boot stub tells the tasks of the machine.
//!
//! The kernel maps the page into every task and does not look at it.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use heapless::{String, Vec};
use lucos_abi::boot::{MAX_CPUS, MAX_RANGES};
use serde::{Deserialize, Serialize};

/// Most modules in a bundle.
pub const MAX_MODULES: usize = 12;

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
    /// The guest's RAM.
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

/// A part of the bundle, in guest RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name in the bundle, for example `guest/kernel`.
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

/// A virtualization extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extension {
    /// AMD-V.
    Svm {
        /// What it has: EDX of CPUID leaf 0x8000_000a.
        features: u32,
        /// INIT can be made an exception, so that LUCOS sees the INIT that the guest sends to its
        /// processors.
        contains_init: bool,
    },
    /// VT-x.
    Vtx,
}

/// What every task is told, as postcard at [`lucos_abi::layout::SYSTEM_INFO`], preceded by its
/// length as a little-endian `u32`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    /// The memory map: whole pages, sorted, without overlaps, with region and NVS area in it.
    pub memory: Vec<MemoryRange, MAX_RANGES>,
    /// LUCOS's region, hidden from the guest.
    pub region: MemoryRange,
    /// The ACPI NVS area next to it, for tables and mailbox.
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
    /// The framebuffer, when there is one.
    pub framebuffer: Option<Framebuffer>,
    /// UEFI's tables, when the machine was booted by UEFI.
    pub efi: Option<Efi>,
}
