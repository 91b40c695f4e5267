//! A machine for the tests of this task and of those that ask it: memory, and the task itself.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use lucos_abi::message::PAYLOAD_MAX;
use lucos_service::client::{self, Failure};
use lucos_service::{AddressSpace, MemoryReply, MemoryRequest};
use lucos_system_info::{Extension, MemoryKind, MemoryRange, SystemInfo};

use crate::map::GuestMap;
use crate::platform::{Platform, Refused, Rights, View};
use crate::service;

/// LUCOS's region.
pub const REGION: u64 = 0x7f80_0000;
/// The NVS area, directly below it.
pub const AREA: u64 = REGION - 0x1_0000;
/// ACPI tables.
pub const TABLES: u64 = REGION + 0x80_0000;
/// RAM above 4 GiB.
pub const HIGH: u64 = 1 << 32;
/// Page tables are made here.
const PAGE_TABLES: u64 = 0x1_0000;
/// The guest's only address space, with some flags in CR3.
pub const SPACE: AddressSpace = AddressSpace { root: PAGE_TABLES | 0x18, five_levels: false };

/// The machine's map.
pub fn info() -> SystemInfo {
    INFO.clone()
}

static INFO: LazyLock<SystemInfo> = LazyLock::new(|| {
    let range = |start, end, kind| MemoryRange { start, length: end - start, kind };
    let region = range(REGION, REGION + 0x80_0000, MemoryKind::Region);
    let nvs = range(AREA, REGION, MemoryKind::NvsArea);
    let memory = [
        range(0, 0x9_f000, MemoryKind::Ram),
        range(0xe_0000, 0xf_0000, MemoryKind::Reserved),
        range(0xf_0000, 0x10_0000, MemoryKind::Firmware),
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
});

/// What lies where on this machine.
pub fn map(info: &SystemInfo) -> GuestMap<'_> {
    GuestMap::new(info)
}

/// Memory by page, all zero where nothing was written; LUCOS's region and nothing else is out of
/// reach.
pub struct Fake {
    pages: BTreeMap<u64, Vec<u8>>,
    /// Retained memory.
    pub journal: Vec<u8>,
    /// Bytes of the journal that can still be written before the task is ended.
    pub journal_writes_left: Option<usize>,
    /// What the guest was given.
    pub sets: Vec<(View, u64, u64, Rights)>,
    /// What the guest was not given.
    pub refused_sets: Vec<(View, u64, u64, Rights)>,
    /// Longer ranges than this are refused.
    pub longest_set: u64,
    /// How many pieces of the guest's memory were written.
    pub writes: usize,
    /// Those pieces, once somebody wants them.
    pub log_writes: Option<Vec<(u64, Vec<u8>)>>,
    next_table: Cell<u64>,
}

/// The pieces of an access, each in one page: its address, and which of the bytes it is.
fn by_page(gpa: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = gpa.checked_add(done as u64)?;
        let count = (0x1000 - (at & 0xfff) as usize).min(length - done);
        let range = done..done + count;
        done += count;
        (count > 0).then_some((at, range))
    })
}

fn in_page(gpa: u64, length: usize) -> Range<usize> {
    let start = (gpa & 0xfff) as usize;
    start..start + length
}

/// LUCOS's region is whole pages.
fn is_guests(gpa: u64) -> Result<(), u64> {
    if (REGION..REGION + 0x80_0000).contains(&gpa) { Err(gpa) } else { Ok(()) }
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// A machine whose memory is all zero.
    pub fn new() -> Self {
        Self {
            pages: BTreeMap::new(),
            journal: vec![0; 4 * 4096],
            journal_writes_left: None,
            sets: Vec::new(),
            refused_sets: Vec::new(),
            longest_set: u64::MAX,
            writes: 0,
            log_writes: None,
            next_table: Cell::new(PAGE_TABLES + 0x1000),
        }
    }

    /// The pages that were written, by their numbers.
    pub fn ram(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.pages
    }

    /// What the guest may do with a page in a view; `None` where nothing was given.
    pub fn rights(&self, view: View, gpa: u64) -> Option<Rights> {
        let covers = |set: &&(View, u64, u64, Rights)| {
            set.0 == view && (set.1..set.1 + set.2).contains(&gpa)
        };
        let last = self.sets.iter().rev().find(covers)?;
        (last.3 != Rights::None).then_some(last.3)
    }

    /// Bytes of the guest's memory.
    ///
    /// # Panics
    /// When some are LUCOS's.
    pub fn bytes(&self, gpa: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.look(gpa, &mut bytes).unwrap();
        bytes
    }

    /// Writes memory of the guest.
    ///
    /// # Panics
    /// When it is LUCOS's.
    pub fn put(&mut self, gpa: u64, data: &[u8]) {
        Platform::write(self, gpa, data).expect("the guest's memory");
    }

    /// The guest's address space.
    pub fn address_space(&self) -> AddressSpace {
        SPACE
    }

    fn look(&self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        for (gpa, range) in by_page(gpa, to.len()) {
            is_guests(gpa)?;
            match self.pages.get(&(gpa >> 12)) {
                Some(page) => to[range.clone()].copy_from_slice(&page[in_page(gpa, range.len())]),
                None => to[range].fill(0),
            }
        }
        Ok(())
    }

    fn entry(&self, gpa: u64) -> u64 {
        u64::from_le_bytes(self.bytes(gpa, 8).try_into().unwrap())
    }

    /// The entry of the guest's page tables that maps a page; tables are made as needed.
    fn leaf(&mut self, address: u64) -> u64 {
        let mut table = PAGE_TABLES;
        for level in [39, 30, 21] {
            let entry = table + (address >> level & 511) * 8;
            if self.entry(entry) == 0 {
                let next = self.next_table.get();
                self.next_table.set(next + 0x1000);
                self.put(entry, &(next | 3).to_le_bytes());
            }
            table = self.entry(entry) & !0xfff;
        }
        table + (address >> 12 & 511) * 8
    }

    /// Maps a page in the guest's page tables.
    pub fn map_page(&mut self, address: u64, gpa: u64, writable: bool) {
        let rights = if writable { 3 } else { 1 };
        let entry = self.leaf(address);
        self.put(entry, &(gpa | rights).to_le_bytes());
    }

    /// Takes a page out of the guest's page tables.
    pub fn unmap_page(&mut self, address: u64) {
        let entry = self.leaf(address);
        self.put(entry, &[0; 8]);
    }
}

impl client::Memory for Fake {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        mut value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut scratch = [0xee; PAYLOAD_MAX];
        match service::answer(self, &map(&INFO), *request, &mut scratch) {
            MemoryReply::Failed(error) => Err(Failure::Memory(error)),
            reply => value(reply),
        }
    }
}

impl Platform for Fake {
    fn read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), u64> {
        self.look(gpa, to)
    }

    fn write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Refused> {
        self.writes += 1;
        if let Some(log) = &mut self.log_writes {
            log.push((gpa, data.to_vec()));
        }
        for (gpa, range) in by_page(gpa, data.len()) {
            is_guests(gpa).map_err(|_| Refused::NotThere)?;
            let page = self.pages.entry(gpa >> 12).or_insert(vec![0; 0x1000]);
            page[in_page(gpa, range.len())].copy_from_slice(&data[range]);
        }
        Ok(())
    }

    fn copy(&mut self, from: u64, to: u64, length: u64) -> Result<(), Refused> {
        let mut bytes = vec![0; length as usize];
        self.read(from, &mut bytes).map_err(|_| Refused::NotThere)?;
        self.write(to, &bytes)
    }

    fn set(&mut self, view: View, start: u64, length: u64, rights: Rights) -> Result<(), Refused> {
        if length > self.longest_set {
            self.refused_sets.push((view, start, length, rights));
            return Err(Refused::NoRoom);
        }
        self.sets.push((view, start, length, rights));
        Ok(())
    }

    fn recall(&self, offset: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.journal[offset..offset + to.len()]);
    }

    fn retain(&mut self, offset: usize, data: &[u8]) -> Result<(), Refused> {
        for (index, &byte) in data.iter().enumerate() {
            if let Some(left) = &mut self.journal_writes_left {
                *left = left.checked_sub(1).ok_or(Refused::Failed)?;
            }
            self.journal[offset + index] = byte;
        }
        Ok(())
    }
}
