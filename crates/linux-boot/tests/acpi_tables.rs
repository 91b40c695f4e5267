//! The guest's ACPI tables, read back by a parser that is not ours.

use acpi::fadt::Fadt;
use acpi::hpet::HpetTable;
use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use lucos_linux_boot::acpi::{AcpiError, Firmware, SleepStates};
use lucos_linux_boot::entry::CallInstruction;
use lucos_linux_boot::nvs::{self, KEPT_AT_END, LENGTH, Nvs, NvsError, Source};
use lucos_system_info::{Efi, MemoryKind, MemoryRange};
use std::ptr::NonNull;

/// Where the machine's memory begins; the firmware's tables are here, the NVS area behind them.
const BASE: u64 = 0x7fe0_0000;
const SIZE: usize = 0x4_0000;
const AREA: u64 = BASE + 0x2_0000;
const RSDP: u64 = BASE + 0x100;

/// A machine with firmware tables.
struct Machine {
    memory: Vec<u8>,
    next: usize,
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte))
}

impl Machine {
    fn new() -> Self {
        Self { memory: vec![0; SIZE], next: 0x1000 }
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) {
        let at = (gpa - BASE) as usize;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Adds a table with this body behind its header, and returns its address.
    fn table(&mut self, signature: &[u8; 4], body: &[u8]) -> u64 {
        let mut table = signature.to_vec();
        table.extend((36 + body.len() as u32).to_le_bytes());
        table.extend([1, 0]);
        table.extend(b"FIRMWRTABLE   ");
        table.extend([1, 0, 0, 0]);
        table.extend(b"TEST");
        table.extend([1, 0, 0, 0]);
        table.extend(body);
        table[9] = checksum(&table).wrapping_neg();
        let address = BASE + self.next as u64;
        self.write(address, &table);
        self.next += table.len().next_multiple_of(64);
        address
    }

    /// The root pointer of ACPI 1.0, as QEMU's firmware has it.
    fn old_root(&mut self, tables: &[u64]) {
        let entries: Vec<u8> =
            tables.iter().flat_map(|&table| (table as u32).to_le_bytes()).collect();
        let root = self.table(b"RSDT", &entries);
        let mut pointer = b"RSD PTR \0FIRMWR\0".to_vec();
        pointer.extend((root as u32).to_le_bytes());
        pointer[8] = checksum(&pointer).wrapping_neg();
        self.write(RSDP, &pointer);
    }

    fn new_root(&mut self, tables: &[u64]) {
        let entries: Vec<u8> = tables.iter().flat_map(|table| table.to_le_bytes()).collect();
        let root = self.table(b"XSDT", &entries);
        let mut pointer = b"RSD PTR \0FIRMWR\x02".to_vec();
        pointer.extend([0; 4]);
        pointer.extend(36_u32.to_le_bytes());
        pointer.extend(root.to_le_bytes());
        pointer.extend([0; 4]);
        pointer[8] = checksum(&pointer[..20]).wrapping_neg();
        pointer[32] = checksum(&pointer).wrapping_neg();
        self.write(RSDP, &pointer);
    }

    /// A FADT of ACPI 6 that leads to `dsdt`.
    fn fadt(&mut self, dsdt: u64) -> u64 {
        let mut body = vec![0; 276 - 36];
        body[4..8].copy_from_slice(&(dsdt as u32).to_le_bytes());
        body[104..112].copy_from_slice(&dsdt.to_le_bytes());
        self.table(b"FACP", &body)
    }

    fn madt(&mut self, entries: &[u8]) -> u64 {
        let mut body = 0xfee0_0000_u32.to_le_bytes().to_vec();
        body.extend(1_u32.to_le_bytes());
        body.extend(entries);
        self.table(b"APIC", &body)
    }

    /// Fills the NVS area and puts it into memory.
    fn fill(&mut self, efi: Option<Efi>) -> Result<Nvs, NvsError> {
        let area = MemoryRange { start: AREA, length: LENGTH as u64, kind: MemoryKind::AcpiNvs };
        let region = MemoryRange {
            start: AREA + LENGTH as u64,
            length: 0x80_0000,
            kind: MemoryKind::Reserved,
        };
        let source = Source {
            area: &area,
            region: &region,
            rsdp: RSDP,
            efi,
            park_call: 0x4c55_0009,
            instruction: CallInstruction::Vmmcall,
        };
        let memory = self.memory.clone();
        let mut read = |gpa: u64, to: &mut [u8]| {
            let from = gpa.checked_sub(BASE).map(|from| from as usize);
            match from.and_then(|from| memory.get(from..from + to.len())) {
                Some(bytes) => {
                    to.copy_from_slice(bytes);
                    true
                }
                None => false,
            }
        };
        let mut image = Box::new([0; LENGTH - KEPT_AT_END]);
        let mut buffer = vec![0; 0x4000];
        let nvs = nvs::fill(&source, &mut Firmware::new(&mut read), &mut image, &mut buffer)?;
        self.write(AREA, &image[..]);
        Ok(nvs)
    }

    fn read(&self, gpa: u64, length: usize) -> &[u8] {
        let at = (gpa - BASE) as usize;
        &self.memory[at..at + length]
    }

    /// The guest's tables, as the other parser sees them.
    fn parse(self, rsdp: u64) -> AcpiTables<Handler> {
        let handler = Handler(Box::leak(self.memory.into_boxed_slice()));
        // SAFETY: `Handler` refuses addresses outside the machine's memory.
        unsafe { AcpiTables::from_rsdp(handler, rsdp as usize) }.unwrap()
    }
}

#[derive(Clone)]
struct Handler(&'static [u8]);

impl AcpiHandler for Handler {
    unsafe fn map_physical_region<T>(&self, gpa: usize, size: usize) -> PhysicalMapping<Self, T> {
        let at = gpa - BASE as usize;
        let bytes = &self.0[at..at + size];
        let start = NonNull::from(bytes).cast();
        // SAFETY: `bytes` are `size` bytes that are never freed; the parser's tables are packed
        // structures of integers.
        unsafe { PhysicalMapping::new(gpa, start, size, size, self.clone()) }
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}
}

/// Two processors and an I/O APIC.
const MADT_ENTRIES: [u8; 28] = [
    0, 8, 0, 0, 1, 0, 0, 0, // processor 0, APIC 0
    0, 8, 1, 1, 1, 0, 0, 0, // processor 1, APIC 1
    1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0,
];

const SLEEP_AML: &[u8] = b"\x08_S3_\x12\x06\x04\x01\x01\x00\x00\x08_S4_\x12\x06\x04\x02\x02\x00\x00\x08_S5_\x12\x06\x04\x00\x00\x00\x00";

fn machine(old: bool) -> Machine {
    let mut machine = Machine::new();
    let mut aml = vec![0x10; 3000];
    aml.extend(SLEEP_AML);
    let dsdt = machine.table(b"DSDT", &aml);
    let tables = [
        machine.fadt(dsdt),
        machine.madt(&MADT_ENTRIES),
        machine.table(b"HPET", &[0; 20]),
        machine.table(b"SSDT", b"\x10\x20\x30"),
    ];
    match old {
        true => machine.old_root(&tables),
        false => machine.new_root(&tables),
    }
    machine
}

#[test]
fn both_kinds_of_firmware_give_the_same_guest_tables() {
    for old in [true, false] {
        let mut machine = machine(old);
        let nvs = machine.fill(None).unwrap();
        assert_eq!(nvs.sleep_states, SleepStates::Hidden);
        assert_eq!(nvs.rsdp % 16, 0);
        let tables = machine.parse(nvs.rsdp);

        // Every lookup checks the checksum.
        assert!(tables.find_table::<HpetTable>().is_ok());
        let madt = tables.find_table::<Madt>().unwrap();
        assert_eq!(madt.get().get_mpwk_mailbox_addr().unwrap(), nvs.mailbox);
        let kinds: Vec<_> = madt
            .get()
            .entries()
            .map(|entry| match entry {
                MadtEntry::LocalApic(apic) => format!("processor {}", { apic.apic_id }),
                MadtEntry::IoApic(apic) => format!("io {:x}", { apic.io_apic_address }),
                MadtEntry::MultiprocessorWakeup(_) => "wake-up".into(),
                _ => "other".into(),
            })
            .collect();
        assert_eq!(kinds, ["processor 0", "processor 1", "io fec00000", "wake-up"]);
        let ssdts: Vec<_> = tables.ssdts().collect();
        assert_eq!(ssdts.len(), 1, "tables without sleep states stay where they are");
    }
}

#[test]
fn s3_and_s4_are_renamed_in_a_copy_and_s5_stays() {
    let mut machine = machine(true);
    let nvs = machine.fill(None).unwrap();
    let memory = machine.memory.clone();
    let tables = machine.parse(nvs.rsdp);
    let fadt = tables.find_table::<Fadt>().unwrap();
    assert!(fadt.dsdt_address().unwrap() as u64 > AREA);
    let dsdt = tables.dsdt().unwrap();
    let at = dsdt.address - BASE as usize;
    let aml = &memory[at..at + dsdt.length as usize];
    let mut expected = vec![0x10; 3000];
    expected.extend(SLEEP_AML);
    let renamed = |name: &[u8], to: &[u8]| {
        let found = expected.windows(4).position(|window| window == name);
        (found.unwrap(), to.to_vec())
    };
    for (at, name) in [renamed(b"_S3_", b"LUS3"), renamed(b"_S4_", b"LUS4")] {
        expected[at..at + 4].copy_from_slice(&name);
    }
    assert_eq!(aml, expected);
}

#[test]
fn a_sleep_state_in_an_ssdt_is_hidden_too() {
    let mut machine = Machine::new();
    let dsdt = machine.table(b"DSDT", &[0x10; 100]);
    let ssdt = machine.table(b"SSDT", SLEEP_AML);
    let tables = [machine.fadt(dsdt), machine.madt(&MADT_ENTRIES), ssdt];
    machine.new_root(&tables);
    let nvs = machine.fill(None).unwrap();
    assert_eq!(nvs.sleep_states, SleepStates::Hidden);
    let memory = machine.memory.clone();
    let tables = machine.parse(nvs.rsdp);
    let copy = tables.ssdts().next().unwrap();
    assert_ne!(copy.address as u64, ssdt + 36);
    let at = copy.address - BASE as usize;
    assert_eq!(&memory[at + 1..at + 5], b"LUS3");
    // Nothing to hide there: the DSDT is still the firmware's.
    assert_eq!(tables.dsdt().unwrap().address as u64, dsdt + 36);
}

#[test]
fn a_dsdt_that_does_not_fit_stays_and_is_named() {
    let mut machine = Machine::new();
    let mut aml = vec![0x10; 40_000];
    aml.extend(SLEEP_AML);
    let dsdt = machine.table(b"DSDT", &aml);
    let tables = [machine.fadt(dsdt), machine.madt(&MADT_ENTRIES)];
    machine.new_root(&tables);
    let nvs = machine.fill(None).unwrap();
    assert_eq!(
        nvs.sleep_states,
        SleepStates::Visible { signature: *b"DSDT", length: 36 + aml.len() }
    );
    let tables = machine.parse(nvs.rsdp);
    assert_eq!(tables.dsdt().unwrap().address as u64, dsdt + 36);
}

#[test]
fn a_wake_up_structure_of_the_firmware_is_replaced() {
    let mut machine = Machine::new();
    let dsdt = machine.table(b"DSDT", &[]);
    let mut entries = vec![0x10, 16, 0, 0, 0, 0, 0, 0];
    entries.extend(0x1234_5000_u64.to_le_bytes());
    entries.extend(MADT_ENTRIES);
    let tables = [machine.fadt(dsdt), machine.madt(&entries)];
    machine.new_root(&tables);
    let nvs = machine.fill(None).unwrap();
    let tables = machine.parse(nvs.rsdp);
    let madt = tables.find_table::<Madt>().unwrap();
    assert_eq!(madt.get().entries().count(), 4);
    assert_eq!(madt.get().get_mpwk_mailbox_addr().unwrap(), nvs.mailbox);
}

#[test]
fn the_wake_up_structure_has_version_1_with_the_reset_vector() {
    let mut machine = machine(false);
    let nvs = machine.fill(None).unwrap();
    let area = machine.read(AREA, LENGTH);
    let mut expected = vec![0x10, 24, 1, 0, 0, 0, 0, 0];
    expected.extend(nvs.mailbox.to_le_bytes());
    expected.extend(nvs.reset_vector.to_le_bytes());
    let found = area.windows(24).filter(|window| *window == expected);
    assert_eq!(found.count(), 1);
    assert_eq!(machine.read(nvs.reset_vector, 5), [0xb8, 9, 0, 0x55, 0x4c]);
}

#[test]
fn the_efi_map_is_copied_into_the_area() {
    let mut machine = machine(false);
    let map = BASE + 0x1_8000;
    let mut descriptor = [0; 48];
    descriptor[0] = 7;
    descriptor[8..16].copy_from_slice(&BASE.to_le_bytes());
    descriptor[24..32].copy_from_slice(&0x1000_u64.to_le_bytes());
    machine.write(map, &descriptor);
    let efi = Efi {
        system_table: 0x7e00_0000,
        memory_map: map,
        memory_map_length: 48,
        descriptor_length: 48,
        descriptor_version: 1,
    };
    let guest = machine.fill(Some(efi)).unwrap().efi.unwrap();
    // Before, NVS, region, behind.
    assert_eq!(guest.memory_map_length, 4 * 48);
    let kinds: Vec<_> =
        machine.read(guest.memory_map, 4 * 48).chunks(48).map(|descriptor| descriptor[0]).collect();
    assert_eq!(kinds, [7, 10, 0, 7]);
}

#[test]
fn broken_firmware_is_named() {
    let missing = |signature| Err(NvsError::Acpi(AcpiError::Missing { signature }));
    let mut machine = Machine::new();
    let dsdt = machine.table(b"DSDT", &[]);
    let fadt = machine.fadt(dsdt);
    machine.new_root(&[fadt]);
    assert_eq!(machine.fill(None), missing(*b"APIC"));

    let mut machine = Machine::new();
    let madt = machine.madt(&MADT_ENTRIES);
    machine.new_root(&[madt]);
    assert_eq!(machine.fill(None), missing(*b"FACP"));

    let mut machine = Machine::new();
    let madt = machine.madt(&[0, 8, 0, 0, 1, 0, 0, 0, 1, 200]);
    let fadt = machine.fadt(dsdt);
    machine.new_root(&[fadt, madt]);
    assert_eq!(machine.fill(None), Err(NvsError::Acpi(AcpiError::MadtEntry { offset: 52 })));

    let mut machine = self::machine(true);
    machine.memory[(RSDP - BASE) as usize + 9] ^= 1;
    assert_eq!(machine.fill(None), Err(NvsError::Acpi(AcpiError::RootPointer { gpa: RSDP })));

    let mut machine = Machine::new();
    let madt = machine.madt(&[]);
    let mut machine_tables = vec![madt];
    machine_tables.extend(std::iter::repeat_n(madt, 100));
    machine.new_root(&machine_tables);
    assert_eq!(machine.fill(None), Err(NvsError::Acpi(AcpiError::TooManyTables { most: 96 })));
}
