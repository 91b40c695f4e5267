//! Tests of building the guest.

use super::{BuildError, build};
use crate::fake::{self, Fake, MAILBOX, REGION};
use lucos_linux_boot::acpi::AcpiError;
use lucos_linux_boot::kernel::KernelError;
use lucos_linux_boot::nvs::NvsError;
use lucos_service::MemoryError;
use lucos_service::client::Failure;
use lucos_system_info::{Efi, MemoryKind, MemoryRange, Module, SystemInfo};

const BUNDLE: u64 = 0x2000_0200;
const CODE: usize = 0x3000;

/// A bzImage with one setup sector and [`CODE`] bytes of code.
fn kernel() -> Vec<u8> {
    let mut file = vec![0; 1024];
    let mut put = |offset: usize, value: &[u8]| {
        file[offset..offset + value.len()].copy_from_slice(value);
    };
    put(0x1f1, &[1]);
    put(0x1f4, &(CODE as u32 / 16).to_le_bytes());
    put(0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x230, &0x20_0000_u32.to_le_bytes());
    put(0x234, &[1, 21]);
    put(0x236, &3_u16.to_le_bytes());
    put(0x238, &2047_u32.to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x20_0000_u32.to_le_bytes());
    file.extend((0..CODE).map(|index| (index / 16) as u8));
    file
}

fn sealed(mut table: Vec<u8>, checksum: usize) -> Vec<u8> {
    let sum = table.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    table[checksum] = sum.wrapping_neg();
    table
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.extend((36 + body.len() as u32).to_le_bytes());
    table.resize(36, 0);
    table.extend(body);
    sealed(table, 9)
}

/// Firmware tables as small as they can be.
fn write_firmware(platform: &mut Fake) {
    let at = |number: u64| 0xf_1000 + number * 0x400;
    let mut fadt = vec![0; 8];
    fadt[4..].copy_from_slice(&(at(3) as u32).to_le_bytes());
    let roots: Vec<u8> =
        [at(1), at(2)].iter().flat_map(|&table| (table as u32).to_le_bytes()).collect();
    let tables = [
        table(b"RSDT", &roots),
        table(b"FACP", &fadt),
        table(b"APIC", &[0; 8]),
        table(b"DSDT", b"\x08_S3_\x12\x01"),
    ];
    for (number, table) in (0..).zip(&tables) {
        platform.memory.put(at(number), table);
    }
    let mut pointer = b"RSD PTR \0LUCOS \0".to_vec();
    pointer.extend((at(0) as u32).to_le_bytes());
    platform.memory.put(0xf_0000, &sealed(pointer, 8));
}

/// A machine whose bundle has these parts, one behind the other.
fn machine(parts: &[(&str, &[u8])]) -> (Fake, SystemInfo) {
    let mut platform = Fake::new();
    let mut info = fake::info();
    write_firmware(&mut platform);
    let mut next = BUNDLE;
    for (name, bytes) in parts {
        platform.memory.put(next, bytes);
        let module =
            Module { name: (*name).try_into().unwrap(), start: next, length: bytes.len() as u64 };
        info.modules.push(module).unwrap();
        next += (bytes.len() as u64).next_multiple_of(512) + 512;
    }
    (platform, info)
}

#[test]
fn everything_is_where_the_first_processor_finds_it() {
    let initrd = vec![0x5a; 5000];
    let parts = [
        ("guest/kernel", &kernel()[..]),
        ("guest/initrd", &initrd),
        ("guest/cmdline", b"console=ttyS0 quiet\n"),
    ];
    let (mut platform, info) = machine(&parts);
    let state = build(&mut platform, &info).unwrap();

    assert_eq!(state.rip, 0x100_0200);
    assert_eq!(platform.memory.bytes(0x100_0000, CODE), kernel()[1024..]);
    let parameters = platform.memory.bytes(state.rsi, 4096);
    assert_eq!(&parameters[0x202..0x206], b"HdrS");
    assert_eq!(usize::from(parameters[0x1e8]), fake::info().memory.len(), "memory ranges");
    let field = |offset: usize| {
        u64::from(u32::from_le_bytes(parameters[offset..offset + 4].try_into().unwrap()))
    };
    let (start, length) = (field(0x218), field(0x21c));
    assert_eq!((start % 4096, length), (0, 5000));
    assert_eq!(platform.memory.bytes(start, 5000), initrd);
    let line = platform.memory.bytes(field(0x228), 20);
    assert_eq!(line, b"console=ttyS0 quiet\0");
    let rsdp = field(0x70);
    assert_eq!(platform.memory.bytes(rsdp, 8), b"RSD PTR ");
    assert!(MAILBOX < rsdp && rsdp < REGION);
    assert_eq!(platform.guarded, [MAILBOX]);
    assert_eq!(state.cr3, MAILBOX + 0x2000);
    let reset_code = platform.memory.bytes(MAILBOX + 0x1000, 8);
    assert_eq!(reset_code, [0xb8, 9, 0, 0x55, 0x4c, 0x0f, 0x01, 0xd9]);
}

#[test]
fn building_again_gives_the_same() {
    let (mut platform, info) = machine(&[("guest/kernel", &kernel())]);
    let first = build(&mut platform, &info).unwrap();
    let before = platform.memory.bytes(first.rsi, 4096);
    assert_eq!(build(&mut platform, &info).unwrap(), first);
    assert_eq!(platform.memory.bytes(first.rsi, 4096), before);
}

#[test]
fn the_end_of_the_nvs_area_is_left_alone() {
    let (mut platform, info) = machine(&[("guest/kernel", &kernel())]);
    platform.memory.put(REGION - 64, &[0xa5; 64]);
    build(&mut platform, &info).unwrap();
    assert_eq!(platform.memory.bytes(REGION - 64, 64), [0xa5; 64]);
}

#[test]
fn a_bundle_without_a_usable_kernel_is_named() {
    let fails = |parts: &[(&str, &[u8])]| {
        let (mut platform, info) = machine(parts);
        build(&mut platform, &info).unwrap_err()
    };
    let error = fails(&[("guest/cmdline", b"quiet")]);
    assert_eq!(error, BuildError::NoKernel);
    assert_eq!(error.to_string(), "the bundle has no guest/kernel");
    assert!(matches!(
        fails(&[("guest/kernel", b"short")]),
        BuildError::Kernel(KernelError::Truncated { .. })
    ));
    assert_eq!(fails(&[("guest/kernel", &[0; 4096])]), BuildError::Kernel(KernelError::NotBzImage));
    let long = vec![b'x'; 4097];
    assert_eq!(
        fails(&[("guest/kernel", &kernel()), ("guest/cmdline", &long)]),
        BuildError::CommandLine { length: 4097 }
    );
    assert!(matches!(
        fails(&[("guest/kernel", &kernel()), ("guest/cmdline", &long[..2048])]),
        BuildError::Parameters(_)
    ));
}

#[test]
fn parts_of_the_bundle_are_never_overwritten() {
    let kernel = kernel();
    let (mut platform, mut info) = machine(&[("guest/kernel", &kernel)]);
    // The bundle lies where the kernel would like to be.
    platform.memory.put(0x100_0200, &kernel);
    info.modules[0].start = 0x100_0200;
    let state = build(&mut platform, &info).unwrap();
    assert_eq!(state.rip, 0x120_0200);
    assert_eq!(platform.memory.bytes(0x100_0200, kernel.len()), kernel);
}

#[test]
fn modules_inside_lucos_and_missing_tables_are_errors() {
    let (mut platform, mut info) = machine(&[("guest/kernel", &kernel())]);
    info.modules[0].start = REGION;
    let why = Failure::Memory(MemoryError::NotRam { gpa: REGION });
    assert_eq!(build(&mut platform, &info), Err(BuildError::Memory { part: "guest/kernel", why }));

    let (mut platform, info) = machine(&[("guest/kernel", &kernel())]);
    platform.memory.put(0xf_0000, b"X");
    assert_eq!(
        build(&mut platform, &info),
        Err(BuildError::Nvs(NvsError::Acpi(AcpiError::RootPointer { gpa: 0xf_0000 })))
    );
}

#[test]
fn a_machine_that_is_too_small_is_named() {
    let (mut platform, mut info) = machine(&[("guest/kernel", &kernel())]);
    let ram = MemoryRange { start: 0x10_0000, length: 0x10_0000, kind: MemoryKind::Ram };
    info.memory = [ram].into_iter().collect();
    let error = build(&mut platform, &info).unwrap_err();
    assert_eq!(error.to_string(), "no free 2048 KiB below 4 GiB for the kernel");
}

/// UEFI's memory map, in which everything but these MiB held something.
fn with_uefi(platform: &mut Fake, info: &mut SystemInfo, free: &[(u64, u64)]) {
    let mut map = Vec::new();
    for &(start, end) in free {
        let mut descriptor = [0; 48];
        descriptor[0] = 7;
        descriptor[8..16].copy_from_slice(&(start << 20).to_le_bytes());
        descriptor[24..32].copy_from_slice(&((end - start) << 8).to_le_bytes());
        map.extend(descriptor);
    }
    platform.memory.put(0x5_0000, &map);
    info.efi = Some(Efi {
        system_table: 0x3e00_0000,
        memory_map: 0x5_0000,
        memory_map_length: map.len() as u32,
        descriptor_length: 48,
        descriptor_version: 1,
    });
}

#[test]
fn what_uefi_left_behind_is_not_overwritten() {
    let initrd = vec![0x5a; 5000];
    let parts = [("guest/kernel", &kernel()[..]), ("guest/initrd", &initrd)];
    let (mut platform, mut info) = machine(&parts);
    with_uefi(&mut platform, &mut info, &[(64, 70), (48, 60), (60, 64), (4000, 5000)]);
    let state = build(&mut platform, &info).unwrap();
    assert_eq!(state.rip, 0x300_0200, "the lowest free place");
    assert_eq!(state.rsi, (70 << 20) - 8192, "the highest one: three ranges are one");
    assert_eq!(platform.log.len(), 1);
}

#[test]
fn without_room_beside_uefi_the_guest_still_starts() {
    let (mut platform, mut info) = machine(&[("guest/kernel", &kernel())]);
    with_uefi(&mut platform, &mut info, &[(48, 49)]);
    let state = build(&mut platform, &info).unwrap();
    assert_eq!(state.rip, 0x100_0200);
    assert!(platform.log[0].contains("tables of the firmware"));
}
