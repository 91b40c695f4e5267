//! A machine for tests.

use std::cell::Cell;
use std::collections::BTreeMap;

use lucos_service::AddressSpace;
use lucos_system_info::{Extension, MemoryKind, MemoryRange, SystemInfo};

use crate::map::GuestMap;
use crate::platform::{Platform, Refused, Rights};

/// LUCOS's region.
pub(crate) const REGION: u64 = 0x7f80_0000;
/// The NVS area, directly below it.
pub(crate) const AREA: u64 = REGION - 0x1_0000;
/// ACPI tables.
pub(crate) const TABLES: u64 = REGION + 0x80_0000;
/// RAM above 4 GiB.
pub(crate) const HIGH: u64 = 1 << 32;
/// Page tables are made here.
const PAGE_TABLES: u64 = 0x1_0000;

pub(crate) fn info() -> SystemInfo {
    let range = |start, end, kind| MemoryRange { start, length: end - start, kind };
    let region = range(REGION, REGION + 0x80_0000, MemoryKind::Region);
    let nvs = range(AREA, REGION, MemoryKind::NvsArea);
    let memory = [
        range(0, 0x9_f000, MemoryKind::Ram),
        range(0xf_0000, 0x10_0000, MemoryKind::Reserved),
        range(0x10_0000, AREA, MemoryKind::Ram),
        nvs,
        region,
        range(TABLES, TABLES + 0x1_0000, MemoryKind::AcpiReclaimable),
        range(HIGH, HIGH + (1 << 30), MemoryKind::Ram),
    ];
    SystemInfo {
        memory: memory.into_iter().collect(),
        region,
        nvs,
        rsdp: 0xf_0000,
        modules: [].into_iter().collect(),
        apic_ids: [0].into_iter().collect(),
        physical_bits: 40,
        extension: Extension::Svm { features: 0, contains_init: false },
        framebuffer: None,
        efi: None,
    }
}

pub(crate) fn map(info: &SystemInfo) -> GuestMap<'_> {
    GuestMap::new(info)
}

/// Memory by page, all zero where nothing was written; LUCOS's region and nothing else is out of
/// reach.
pub(crate) struct Fake {
    pages: BTreeMap<u64, Vec<u8>>,
    pub(crate) journal: Vec<u8>,
    /// Bytes of the journal that can still be written before the task is ended.
    pub(crate) journal_writes_left: Option<usize>,
    /// What the guest was given.
    pub(crate) sets: Vec<(u64, u64, Rights)>,
    pub(crate) refused_sets: Vec<(u64, u64, Rights)>,
    /// Longer ranges than this are refused.
    pub(crate) longest_set: u64,
    next_table: Cell<u64>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            pages: BTreeMap::new(),
            journal: vec![0; 4096],
            journal_writes_left: None,
            sets: Vec::new(),
            refused_sets: Vec::new(),
            longest_set: u64::MAX,
            next_table: Cell::new(PAGE_TABLES + 0x1000),
        }
    }

    pub(crate) fn ram(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.pages
    }

    pub(crate) fn bytes(&self, gpa: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.look(gpa, &mut bytes).unwrap();
        bytes
    }

    pub(crate) fn address_space(&self) -> AddressSpace {
        AddressSpace { root: PAGE_TABLES | 0x18, five_levels: false }
    }

    fn look(&self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        for (gpa, byte) in (gpa..).zip(to) {
            if (REGION..REGION + 0x80_0000).contains(&gpa) {
                return Err(gpa);
            }
            let page = self.pages.get(&(gpa >> 12));
            *byte = page.map_or(0, |page| page[(gpa & 0xfff) as usize]);
        }
        Ok(())
    }

    fn entry(&self, gpa: u64) -> u64 {
        u64::from_le_bytes(self.bytes(gpa, 8).try_into().unwrap())
    }

    /// Maps a page in the guest's page tables.
    pub(crate) fn map_page(&mut self, address: u64, gpa: u64, writable: bool) {
        let mut table = PAGE_TABLES;
        for level in [39, 30, 21] {
            let entry = table + (address >> level & 511) * 8;
            if self.entry(entry) == 0 {
                let next = self.next_table.get();
                self.next_table.set(next + 0x1000);
                self.write(entry, &(next | 3).to_le_bytes()).unwrap();
            }
            table = self.entry(entry) & !0xfff;
        }
        let rights = if writable { 3 } else { 1 };
        let entry = table + (address >> 12 & 511) * 8;
        self.write(entry, &(gpa | rights).to_le_bytes()).unwrap();
    }
}

impl Platform for Fake {
    fn read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        self.look(gpa, to)
    }

    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused> {
        for (gpa, &byte) in (gpa..).zip(data) {
            if (REGION..REGION + 0x80_0000).contains(&gpa) {
                return Err(Refused);
            }
            let page = self.pages.entry(gpa >> 12).or_insert(vec![0; 0x1000]);
            page[(gpa & 0xfff) as usize] = byte;
        }
        Ok(())
    }

    fn copy(&mut self, from: u64, to: u64, length: u64) -> Result<(), Refused> {
        let mut bytes = vec![0; length as usize];
        self.read(from, &mut bytes).map_err(|_| Refused)?;
        self.write(to, &bytes)
    }

    fn set(&mut self, start: u64, length: u64, rights: Rights) -> Result<(), Refused> {
        if length > self.longest_set {
            self.refused_sets.push((start, length, rights));
            return Err(Refused);
        }
        self.sets.push((start, length, rights));
        Ok(())
    }

    fn recall(&self, offset: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.journal[offset..offset + to.len()]);
    }

    fn retain(&mut self, offset: usize, data: &[u8]) -> Result<(), Refused> {
        for (index, &byte) in data.iter().enumerate() {
            if let Some(left) = &mut self.journal_writes_left {
                *left = left.checked_sub(1).ok_or(Refused)?;
            }
            self.journal[offset + index] = byte;
        }
        Ok(())
    }
}
