//! What LUCOS reads of a kernel file, of the firmware's tables, and of the guest's mailbox.

use lucos_linux_boot::acpi::Firmware;
use lucos_linux_boot::entry::CallInstruction;
use lucos_linux_boot::kernel::{HEADER_BYTES, KernelImage};
use lucos_linux_boot::mailbox::{COMMAND_BYTES, Command};
use lucos_linux_boot::nvs::{self, KEPT_AT_END, LENGTH, Source};
use lucos_linux_boot::parameters::{COMMAND_LINE_ROOM, Machine, boot_parameters, command_line};
use lucos_linux_boot::placement::place;
use lucos_linux_boot::{PAGE, efi};
use lucos_system_info::{Efi, MemoryKind, MemoryRange};

use crate::input::Input;

const MIB: u64 = 1 << 20;

/// The first byte says what the rest is.
pub fn check(data: &[u8]) -> bool {
    let Some((&kind, data)) = data.split_first() else { return false };
    match kind % 4 {
        0 => kernel(data),
        1 => memory_map(data),
        2 => tables(data),
        _ => mailbox(data),
    }
}

/// A length of the file, then its start.
fn kernel(data: &[u8]) -> bool {
    let mut input = Input(data);
    let length = u64::from(input.u32());
    let text = input.bytes(16);
    let Ok(kernel) = KernelImage::parse(input.0, length) else { return false };
    assert!(kernel.code_length > 0);
    assert!(kernel.code_offset + kernel.code_length <= length);
    assert!(kernel.init_size >= kernel.code_length);
    assert!(kernel.alignment.is_power_of_two() && kernel.alignment >= PAGE);
    assert!(kernel.preferred_address.checked_add(kernel.init_size).is_some());

    let memory = [ram(0, 640 * 1024), ram(MIB, 255 * MIB), ram(4096 * MIB, 1024 * MIB)];
    let keep = [ram(200 * MIB, 8 * MIB)];
    let Ok(placement) = place(&kernel, Some((MIB, 3 * MIB)), &memory, &keep) else { return true };
    let is_free = |start: u64, length: u64| {
        let in_ram = memory.iter().any(|ram| ram.start <= start && start + length <= ram.end());
        in_ram && keep.iter().all(|kept| start + length <= kept.start || kept.end() <= start)
    };
    assert!(is_free(placement.kernel, kernel.init_size), "the kernel is not in free RAM");
    let machine = Machine { memory: &memory, rsdp: 0xe0000, framebuffer: None, efi: None };
    let mut page = [0; PAGE as usize];
    boot_parameters(&kernel, &placement, &machine, &mut page).expect("a short memory map");
    assert_eq!(page.get(0x202..0x206), Some(&b"HdrS"[..]));
    let mut line = [0xff; COMMAND_LINE_ROOM];
    if command_line(&kernel, text, &mut line).is_ok() {
        assert_eq!(line.last(), Some(&0));
    }
    true
}

const fn ram(start: u64, length: u64) -> MemoryRange {
    MemoryRange { start, length, kind: MemoryKind::Ram }
}

/// A length of descriptors, then a UEFI memory map.
fn memory_map(data: &[u8]) -> bool {
    let mut input = Input(data);
    let descriptor = usize::from(input.u16());
    let map = input.0;
    if let Ok(free) = efi::free(map, descriptor) {
        assert!(free.into_iter().all(|(start, end)| start < end));
    }
    let region = ram(16 * MIB, 8 * MIB);
    let area = ram(24 * MIB, MIB);
    let mut room = vec![0; map.len() + 512];
    let Ok(used) = efi::hide(map, descriptor, &region, &area, &mut room) else { return false };
    assert!(used <= room.len() && used.is_multiple_of(descriptor));
    let hidden = efi::free(&room[..used], descriptor).expect("it was made so");
    for (start, end) in hidden {
        let apart = |range: &MemoryRange| end <= range.start || range.end() <= start;
        assert!(apart(&region) && apart(&area), "memory of LUCOS is free to the guest");
    }
    true
}

/// Where the firmware's memory begins that the input fills.
const FIRMWARE: u64 = 0xe0000;

/// The ACPI tables of a firmware, from the root pointer on.
fn tables(data: &[u8]) -> bool {
    let mut read = |gpa: u64, bytes: &mut [u8]| {
        let start = gpa.checked_sub(FIRMWARE).and_then(|start| usize::try_from(start).ok());
        let from = start.and_then(|start| data.get(start..start.checked_add(bytes.len())?));
        from.is_some_and(|from| {
            bytes.copy_from_slice(from);
            true
        })
    };
    let mut firmware = Firmware::new(&mut read);
    let area = ram(24 * MIB, LENGTH as u64);
    let region = ram(16 * MIB, 8 * MIB);
    let efi = Efi {
        system_table: FIRMWARE,
        memory_map: FIRMWARE + 64,
        memory_map_length: 480,
        descriptor_length: 48,
        descriptor_version: 1,
    };
    let source = Source {
        area: &area,
        region: &region,
        rsdp: FIRMWARE,
        efi: (data.len() % 2 == 1).then_some(efi),
        park_call: 0x4c55_0009,
        instruction: CallInstruction::Vmmcall,
    };
    let mut image = Box::new([0; LENGTH - KEPT_AT_END]);
    let mut buffer = vec![0; 4096];
    let Ok(nvs) = nvs::fill(&source, &mut firmware, &mut image, &mut buffer) else { return false };
    let inside = |address: u64| (area.start..area.end()).contains(&address);
    assert!(inside(nvs.mailbox) && inside(nvs.rsdp) && inside(nvs.reset_vector));
    let pointer = (nvs.rsdp - area.start) as usize;
    assert_eq!(image.get(pointer..pointer + 8), Some(&b"RSD PTR "[..]));
    true
}

fn mailbox(data: &[u8]) -> bool {
    let command = Command::read(data);
    assert_eq!(command.is_some(), data.len() >= COMMAND_BYTES);
    command.is_some()
}

/// A kernel's header, memory maps, tables, a mailbox.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut header = vec![0; HEADER_BYTES];
    let mut put = |offset: usize, value: &[u8]| {
        header[offset..offset + value.len()].copy_from_slice(value);
    };
    put(0x1f1, &[27]);
    put(0x1f4, &0x100_u32.to_le_bytes());
    put(0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x230, &0x20_0000_u32.to_le_bytes());
    put(0x234, &[1, 21]);
    put(0x236, &0x3f_u16.to_le_bytes());
    put(0x238, &2047_u32.to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x20_0000_u32.to_le_bytes());
    let length = 0x10000_u32.to_le_bytes();
    vec![
        [&[0][..], &length, b"console=ttyS0 qu", &header].concat(),
        [&[1, 48, 0][..], &memory_descriptors()].concat(),
        [&[2][..], &firmware_tables()].concat(),
        [&[3][..], &[1, 0, 0, 0, 5, 0, 0, 0, 0, 0x80, 9, 0, 0, 0, 0, 0]].concat(),
    ]
}

/// Three descriptors of 48 bytes; the second holds LUCOS's memory.
fn memory_descriptors() -> Vec<u8> {
    [(0_u64, 0x9f_u64), (MIB, 0x7f00), (4096 * MIB, 0x4_0000)]
        .iter()
        .flat_map(|(start, pages)| {
            let mut descriptor = [0; 48];
            descriptor[0] = 7;
            descriptor[8..16].copy_from_slice(&start.to_le_bytes());
            descriptor[24..32].copy_from_slice(&pages.to_le_bytes());
            descriptor
        })
        .collect()
}

/// A root pointer, an XSDT, a MADT with one processor, and a FADT with an empty DSDT.
fn firmware_tables() -> Vec<u8> {
    let (xsdt, madt, fadt, dsdt) = (64, 128, 192, 512);
    let mut memory = vec![0; 560];
    let mut put = |offset: usize, value: &[u8]| {
        memory[offset..offset + value.len()].copy_from_slice(value);
    };
    let address = |offset: usize| (FIRMWARE + offset as u64).to_le_bytes();
    put(0, b"RSD PTR ");
    put(15, &[2]);
    put(20, &36_u32.to_le_bytes());
    put(24, &address(xsdt));
    let mut table = |offset: usize, signature: &[u8; 4], length: u32, body: &[u8]| {
        put(offset, signature);
        put(offset + 4, &length.to_le_bytes());
        put(offset + 36, body);
    };
    table(xsdt, b"XSDT", 52, &[address(madt), address(fadt)].concat());
    let processor = [0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0];
    table(madt, b"APIC", 52, &processor);
    let mut body = [0; 240];
    body[104..112].copy_from_slice(&address(dsdt));
    table(fadt, b"FACP", 276, &body);
    table(dsdt, b"DSDT", 46, b"\x08_S3_\x12\x06\x04\x0a\x05");
    // The root pointer's checksums.
    for (length, place) in [(20, 8), (36, 32)] {
        let sum = memory[..length].iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
        memory[place] = sum.wrapping_neg();
    }
    memory
}
