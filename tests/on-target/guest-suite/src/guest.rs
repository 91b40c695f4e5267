//! Loading and starting the guest.

use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use elf::file::{FileHeader, parse_ident};
use elf::segment::SegmentTable;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{
    Done, FlatStart, GuestMemoryReply, GuestMemoryRequest, MachineReply, MachineRequest,
    SpaceRequest, View,
};
use lucos_runtime::{CallError, GuestWindow, Object, Thread, system_info};
use lucos_test_protocol::guest::PARAMETERS;

/// Page tables, and the GDT behind them.
const TABLES: u64 = 0x01f0_0000;
const TABLE: u64 = 0x1000;
const TABLE_PAGES: u64 = 6;
const GDT: u64 = 0x01fe_0000;
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;

const HEADER: usize = 64;

/// Loads the guest and starts the first processor.
pub fn start(thread: &mut Thread) -> Result<(), &'static str> {
    let info = system_info();
    set(thread, View::Main, 0, 1 << info.physical_bits.min(40), true).map_err(|_| "guest space")?;
    for range in info.memory.iter().filter(|range| range.kind.is_guest_ram()) {
        let set = set(thread, View::Confined, range.start, range.length, false);
        set.map_err(|_| "confined view")?;
    }
    // A processor writes to page tables when it reads them.
    let length = TABLE_PAGES * TABLE;
    set(thread, View::Confined, TABLES, length, true).map_err(|_| "page tables")?;
    let entry = load(thread)?;
    tables(thread)?;
    let processors = info.apic_ids.len() as u64;
    write(thread, PARAMETERS, &processors.to_le_bytes())?;
    start_processor(thread, 0, entry)
}

/// Gives the guest the right to read and execute a range in a view, and perhaps to write it.
pub fn set(
    thread: &mut Thread,
    view: View,
    start: u64,
    length: u64,
    write: bool,
) -> Result<(), CallError> {
    let set = SpaceRequest::Set { view, start, length, read: true, write, execute: true };
    thread.call(Object::GuestSpace, &set).map(|Done| ())
}

/// Takes a range out of a view.
pub fn unmap(thread: &mut Thread, view: View, start: u64, length: u64) -> Result<(), CallError> {
    let set = SpaceRequest::Set { view, start, length, read: false, write: false, execute: false };
    thread.call(Object::GuestSpace, &set).map(|Done| ())
}

/// Starts a processor at an address.
pub fn start_processor(thread: &mut Thread, cpu: u32, rip: u64) -> Result<(), &'static str> {
    let state = FlatStart {
        rip,
        rsi: system_info().region.start,
        cr3: TABLES,
        gdt_base: GDT,
        gdt_limit: 31,
        code_selector: CODE,
        data_selector: DATA,
    };
    let request = MachineRequest::Start { cpu, state };
    match thread.call(Object::Machine, &request) {
        Ok(MachineReply::Done) => Ok(()),
        _ => Err("start of a processor"),
    }
}

/// Copies the guest's segment to its place and returns the entry point.
fn load(thread: &mut Thread) -> Result<u64, &'static str> {
    let info = system_info();
    let window = GuestWindow::new(info);
    let module = info
        .modules
        .iter()
        .find(|module| module.name == "guest/kernel")
        .ok_or("no guest in the bundle")?;
    let mut header = [0; HEADER];
    window.read(module.start, &mut header).map_err(|_| "window")?;
    let (ident, rest) = header.split_at(16);
    let ident = parse_ident::<LittleEndian>(ident).map_err(|_| "ELF header")?;
    let file = FileHeader::parse_tail(ident, rest).map_err(|_| "ELF header")?;
    let mut segments = [0; 56 * 4];
    let length = 56 * usize::from(file.e_phnum).min(4);
    let place = segments.get_mut(..length).ok_or("segments")?;
    window.read(module.start + file.e_phoff, place).map_err(|_| "window")?;
    for segment in SegmentTable::new(file.endianness, file.class, place).iter() {
        if segment.p_type == PT_LOAD {
            let mut piece = [0; PAYLOAD_MAX];
            for at in (0..segment.p_filesz).step_by(PAYLOAD_MAX) {
                let length = (segment.p_filesz - at).min(PAYLOAD_MAX as u64);
                let piece = piece.get_mut(..length as usize).ok_or("piece")?;
                let from = module.start + segment.p_offset + at;
                window.read(from, piece).map_err(|_| "window")?;
                write(thread, segment.p_paddr + at, piece)?;
            }
            let rest = segment.p_memsz - segment.p_filesz;
            clear(thread, segment.p_paddr + segment.p_filesz, rest)?;
        }
    }
    Ok(file.e_entry)
}

/// Identity page tables for the first 4 GiB, by 2 MiB pages, and a GDT.
fn tables(thread: &mut Thread) -> Result<(), &'static str> {
    const USED: u64 = 7;
    const LARGE: u64 = 1 << 7;
    clear(thread, TABLES, TABLE_PAGES * TABLE)?;
    write(thread, TABLES, &((TABLES + TABLE) | USED).to_le_bytes())?;
    for gigabyte in 0..4 {
        let directory = TABLES + (2 + gigabyte) * TABLE;
        let entry = directory | USED;
        write(thread, TABLES + TABLE + gigabyte * 8, &entry.to_le_bytes())?;
        for part in 0..512 {
            let entry = gigabyte << 30 | part << 21 | LARGE | USED;
            write(thread, directory + part * 8, &entry.to_le_bytes())?;
        }
    }
    for (index, entry) in
        [0, 0, 0x00af_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff].iter().enumerate()
    {
        write(thread, GDT + index as u64 * 8, &entry.to_le_bytes())?;
    }
    Ok(())
}

/// Writes to the guest's memory.
pub fn write(thread: &mut Thread, gpa: u64, data: &[u8]) -> Result<(), &'static str> {
    match thread.call(Object::GuestMemory, &GuestMemoryRequest::Write { gpa, data }) {
        Ok(GuestMemoryReply::Done) => Ok(()),
        _ => Err("write"),
    }
}

fn clear(thread: &mut Thread, start: u64, length: u64) -> Result<(), &'static str> {
    let zeros = [0; PAYLOAD_MAX];
    let mut done = 0;
    while done < length {
        let part = (length - done).min(PAYLOAD_MAX as u64);
        let data = zeros.get(..part as usize).unwrap_or(&[]);
        write(thread, start + done, data)?;
        done += part;
    }
    Ok(())
}
