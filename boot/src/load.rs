//! From the boot information to the kernel's entry point.
//!
//! Where things lie in LUCOS's region is in `lucos_boot::region`.

use core::arch::asm;
use core::convert::Infallible;
use core::mem::MaybeUninit;
use core::num::NonZeroU64;
use core::ptr::write_bytes;
use core::slice;

use hermit_entry::boot_info::{BootInfo, HardwareInfo, PlatformInfo, RawBootInfo};
use hermit_entry::elf::KernelObject;
use lucos_abi::boot::{BOOT_RECORD_VERSION, BootRecord, Options, RECORD_MAX, Span};
use lucos_abi::layout::{DIRECT, PAGE};
use lucos_abi::message;
use lucos_boot::error::BootError;
use lucos_boot::handover::{Handover, RootPointer, in_use};
use lucos_boot::region::{RECORD_AREA, Region, STACK};
use lucos_boot::{bundle, efi, kernel_file, memory_map, multiboot, placement, pvh};
use lucos_system_info::{MemoryRange, SystemInfo};
use multiboot2::{BootInformation, BootInformationHeader};
use serde::Serialize;

use crate::{console, entry, facts, firmware, processors};

/// The stub's page tables end here.
pub const REACH: u64 = 1 << 32;
/// Bytes at the end of the NVS area for the ACPI root pointer.
const ROOT_POINTER_MAX: usize = 64;
/// Offset of the loader's information in the area of the boot record.
const RAW_OFFSET: u64 = 0x1800;
/// What lies behind the record: its area, the guard page, the stack.
const END: u64 = RECORD_AREA + PAGE + STACK;

const _: () = assert!(PAGE + END < placement::region_length(1));
const _: () = assert!(RECORD_MAX as u64 + 4 <= RAW_OFFSET);
const _: () = assert!(size_of::<RawBootInfo>() as u64 <= RECORD_AREA - RAW_OFFSET);

unsafe extern "C" {
    static stub_start: u8;
    static stub_end: u8;
}

/// First Rust code; `magic` says which protocol's information lies at `info`.
pub extern "C" fn start(magic: u32, info: u32) -> ! {
    let Err(why) = boot(magic, info.into());
    console::fault(&why)
}

fn boot(magic: u32, info: u64) -> Result<Infallible, BootError> {
    let loader;
    let (options, handover) = match magic {
        pvh::MAGIC => {
            let options = console::configure(pvh::options(info, &physical)?)?;
            (options, pvh::read(info, &physical)?)
        }
        multiboot2::MAGIC => {
            // SAFETY: the loader says with its magic number that its information lies there, in
            // memory that nobody writes any more.
            loader = unsafe { BootInformation::load(info as *const BootInformationHeader) }
                .map_err(|_| BootError::BadBootInformation("Multiboot2 tags"))?;
            let options = console::configure(multiboot::options(&loader)?)?;
            (options, multiboot::read(&loader)?)
        }
        other => return Err(BootError::UnknownProtocol(other)),
    };
    load(options, &handover)
}

fn load(options: Options, handover: &Handover<'_>) -> Result<Infallible, BootError> {
    let bytes = physical(handover.bundle.start, handover.bundle.length)
        .ok_or(BootError::OutOfReach(handover.bundle.start))?;
    let bundle = bundle::open(bytes, handover.bundle.start)?;
    kernel_file::check(bundle.kernel)?;
    let object = KernelObject::parse(bundle.kernel)
        .map_err(|_| BootError::BadKernel("it has no hermit entry version"))?;
    let mut taken = handover.taken.clone();
    taken.push(stub()).map_err(|_| BootError::BadMemoryMap)?;
    let rsdp = match handover.rsdp {
        RootPointer::At(address) => address,
        RootPointer::Copy(copy) => copy.as_ptr() as u64,
    };
    let apic_ids = firmware::processors(rsdp, facts::own_apic_id())?;
    let length = placement::region_length(apic_ids.len());
    let place = placement::choose(&handover.memory, conventional(handover), &taken, length);
    let place = place.ok_or(BootError::NoRoom)?;
    let kernel = MemoryRange { length: object.mem_size() as u64, ..place.region };
    let behind = kernel.end().next_multiple_of(PAGE);
    let record_at = place.region.end() - END;
    if behind > record_at {
        return Err(BootError::KernelTooLarge(kernel.length));
    }

    // SAFETY: region and NVS area are free RAM below 4 GiB and overlap nothing else that is in use;
    // these are the only references to their parts.
    let (image, rest, record_area, nvs) = unsafe {
        let nvs = zeroed(place.nvs.start, place.nvs.end());
        let rest = zeroed(behind, record_at);
        (uninit(kernel.start, behind), rest, zeroed(record_at, record_at + RECORD_AREA), nvs)
    };
    let (image, _) = image.split_at_mut(kernel.length as usize);
    let loaded = object.load_kernel(image, DIRECT + kernel.start);

    let info = SystemInfo {
        memory: memory_map::complete(&handover.memory, &place)?,
        region: place.region,
        nvs: place.nvs,
        rsdp: keep_root_pointer(handover.rsdp, place.nvs, nvs)?,
        modules: bundle.for_guest(),
        apic_ids,
        physical_bits: facts::physical_bits(),
        extension: facts::extension(),
        framebuffer: handover.framebuffer,
        efi: handover.efi,
    };
    let mut region = Region::new(rest, behind);
    let mut page = [0; PAGE as usize];
    write(&info, &mut page)?;
    let system_info = region.put(&page)?;
    let tasks = region.put_tasks(&bundle)?;
    let root = region.build_tables(&kernel_file::segments(bundle.kernel, kernel)?)?;
    let record = BootRecord {
        version: BOOT_RECORD_VERSION,
        region: Span { start: place.region.start, end: place.region.end() },
        free: region.unused(),
        root,
        readable: memory_map::readable(&info.memory),
        gate: processors::start_others(&info.apic_ids, &handover.memory)?,
        apic_ids: info.apic_ids,
        options,
        physical_bits: info.physical_bits,
        hypervisor_below: facts::has_hypervisor_interface(),
        system_info,
        tasks,
    };
    let (record_bytes, _) = record_area.split_at_mut(RAW_OFFSET as usize);
    write(&record, record_bytes)?;
    if !entry::stack_suffices() {
        return Err(BootError::StackTooSmall);
    }
    let information = RawBootInfo::from(BootInfo {
        hardware_info: HardwareInfo {
            phys_addr_range: 0..REACH,
            serial_port_base: None,
            device_tree: None,
        },
        load_info: loaded.load_info,
        platform_info: PlatformInfo::Multiboot {
            command_line: None,
            multiboot_info_addr: NonZeroU64::new(record_at).ok_or(BootError::NoRoom)?,
        },
    });
    let raw = (DIRECT + record_at + RAW_OFFSET) as *mut RawBootInfo;
    // SAFETY: `raw` is in the area of the record, behind it and aligned; the region ends with room
    // for a stack; the entry point is that of the image just loaded.
    unsafe {
        raw.write(information);
        enter(raw, loaded.entry_point, DIRECT + place.region.end())
    }
}

/// Memory that UEFI's boot services did not use either: firmware may keep in theirs what the guest
/// looks at later. Empty on a machine that was booted otherwise.
fn conventional(handover: &Handover<'_>) -> impl Iterator<Item = MemoryRange> + Clone {
    let efi = handover.efi.and_then(|efi| {
        let map = physical(efi.memory_map, efi.memory_map_length.into())?;
        Some(efi::conventional(map, efi.descriptor_length as usize))
    });
    efi.into_iter().flatten()
}

/// Jumps to the kernel as hermit-entry says: `raw` and processor number 0 as arguments.
///
/// # Safety
/// The kernel is loaded and takes over the machine; `raw` is written, and `stack` is the end of
/// free memory.
unsafe fn enter(raw: *const RawBootInfo, entry: u64, stack: u64) -> ! {
    // SAFETY: as the caller promises. Interrupts are off since the first instruction.
    unsafe {
        asm!(
            "mov rsp, {stack}; xor ebp, ebp; push rbp; jmp {entry}",
            stack = in(reg) stack,
            entry = in(reg) entry,
            in("rdi") raw,
            in("esi") 0,
            options(noreturn),
        )
    }
}

/// Makes the ACPI root pointer stay: a copy goes to the end of the NVS area.
fn keep_root_pointer(
    rsdp: RootPointer<'_>,
    nvs: MemoryRange,
    memory: &mut [u8],
) -> Result<u64, BootError> {
    let copy = match rsdp {
        RootPointer::At(address) => return Ok(address),
        RootPointer::Copy(copy) => copy,
    };
    let (_, end) = memory.split_last_chunk_mut::<ROOT_POINTER_MAX>().ok_or(BootError::NoRoom)?;
    for (place, byte) in end.iter_mut().zip(copy) {
        *place = *byte;
    }
    Ok(nvs.end() - ROOT_POINTER_MAX as u64)
}

/// Writes a value as postcard, with its length before it.
fn write(value: &impl Serialize, to: &mut [u8]) -> Result<(), BootError> {
    let (head, rest) = to.split_first_chunk_mut().ok_or(BootError::RecordTooLong)?;
    let length = message::encode(value, rest).map_err(|_| BootError::RecordTooLong)?;
    *head = (length as u32).to_le_bytes();
    Ok(())
}

/// The memory that the stub itself takes.
fn stub() -> MemoryRange {
    let (start, end) = (&raw const stub_start as u64, &raw const stub_end as u64);
    in_use(start, end - start)
}

/// Bytes at a physical address that the boot loader named.
fn physical(start: u64, length: u64) -> Option<&'static [u8]> {
    let end = start.checked_add(length)?;
    let stub = stub();
    if start == 0 || end > REACH || (start < stub.end() && stub.start < end) {
        return None;
    }
    // SAFETY: the range is mapped, is not the stub's own, and what the loader left there is not
    // written any more.
    Some(unsafe { slice::from_raw_parts(start as *const u8, length as usize) })
}

/// Memory of LUCOS, where the kernel will see it.
///
/// # Safety
/// It is free RAM in reach of the stub's tables, and there is no other reference to it.
unsafe fn uninit(start: u64, end: u64) -> &'static mut [MaybeUninit<u8>] {
    let place = (DIRECT + start) as *mut MaybeUninit<u8>;
    // SAFETY: as the caller promises.
    unsafe { slice::from_raw_parts_mut(place, (end - start) as usize) }
}

/// The same, cleared.
///
/// # Safety
/// As for [`uninit`].
unsafe fn zeroed(start: u64, end: u64) -> &'static mut [u8] {
    let (place, length) = ((DIRECT + start) as *mut u8, (end - start) as usize);
    // SAFETY: as the caller promises; the bytes are written before there is a reference to them.
    unsafe {
        write_bytes(place, 0, length);
        slice::from_raw_parts_mut(place, length)
    }
}
