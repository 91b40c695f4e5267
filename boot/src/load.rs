//! From the boot information to the kernel's entry point.
//!
//! Layout of LUCOS's region when the kernel starts: the kernel image from the first byte on, the
//! boot record on the next page boundary, [`RAW_OFFSET`] bytes behind that the loader's own
//! information, and the stack at the very end.

use core::arch::asm;
use core::convert::Infallible;
use core::mem::MaybeUninit;
use core::num::NonZeroU64;
use core::slice;

use hermit_entry::boot_info::{BootInfo, HardwareInfo, PlatformInfo, RawBootInfo};
use hermit_entry::elf::KernelObject;
use lucos_abi::boot::{BOOT_RECORD_VERSION, BootRecord, MemoryRange, Options, RECORD_MAX};
use lucos_abi::layout::{DIRECT, PAGE};
use lucos_abi::message;
use lucos_boot::error::BootError;
use lucos_boot::handover::{Handover, RootPointer, in_use};
use lucos_boot::{bundle, efi, kernel_file, memory_map, multiboot, placement, pvh};
use multiboot2::{BootInformation, BootInformationHeader};

use crate::{console, entry, firmware, processors};

/// The stub's page tables end here.
pub const REACH: u64 = 1 << 32;
/// Bytes at the end of the NVS area for the ACPI root pointer.
const ROOT_POINTER_MAX: usize = 64;
/// Offset of the loader's information from the boot record, and bytes for both.
const RAW_OFFSET: u64 = 0x1800;
const RECORD_AREA: u64 = 0x2000;
/// Bytes for the stack on which the kernel starts.
const STACK: u64 = 64 * 1024;

const _: () = assert!(PAGE + RECORD_AREA + STACK < placement::region_length(1));
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
    let size = object.mem_size() as u64;
    let mut taken = handover.taken.clone();
    taken.push(stub()).map_err(|_| BootError::BadMemoryMap)?;
    let rsdp = match handover.rsdp {
        RootPointer::At(address) => address,
        RootPointer::Copy(copy) => copy.as_ptr() as u64,
    };
    let apic_ids = firmware::processors(rsdp, processors::own_apic_id())?;
    let length = placement::region_length(apic_ids.len());
    let place = placement::choose(&handover.memory, conventional(handover), &taken, length);
    let place = place.ok_or(BootError::NoRoom)?;
    let (region, nvs) = (place.region, place.nvs);
    if size > region.length - PAGE - RECORD_AREA - STACK {
        return Err(BootError::KernelTooLarge(size));
    }
    let record_offset = size.next_multiple_of(PAGE);

    // SAFETY: region and NVS area are free RAM below 4 GiB, overlap nothing else that is in use,
    // and these are the only references to them.
    let (memory, nvs_memory) = unsafe { (writable(region), writable(nvs)) };
    let (image, rest) = memory.split_at_mut(size as usize);
    let (_, behind) = rest.split_at_mut((record_offset - size) as usize);
    let loaded = object.load_kernel(image, DIRECT + region.start);

    let kernel = MemoryRange { length: size, ..region };
    let record = BootRecord {
        version: BOOT_RECORD_VERSION,
        memory: memory_map::complete(&handover.memory, &place)?,
        region,
        kernel,
        segments: kernel_file::segments(bundle.kernel, kernel)?,
        nvs,
        rsdp: keep_root_pointer(handover.rsdp, nvs, nvs_memory)?,
        gate: processors::start_others(&apic_ids, &handover.memory)?,
        apic_ids,
        options,
        modules: bundle.modules,
        framebuffer: handover.framebuffer,
        efi: handover.efi,
    };
    write_record(&record, behind)?;
    if !entry::stack_suffices() {
        return Err(BootError::StackTooSmall);
    }
    let record_at = region.start + record_offset;
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
    // SAFETY: `raw` is in the region, behind the record and aligned; the region ends with room for
    // a stack; the entry point is that of the image just loaded.
    unsafe {
        raw.write(information);
        enter(raw, loaded.entry_point, DIRECT + region.end())
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
    memory: &mut [MaybeUninit<u8>],
) -> Result<u64, BootError> {
    let copy = match rsdp {
        RootPointer::At(address) => return Ok(address),
        RootPointer::Copy(copy) => copy,
    };
    let (_, end) = memory.split_last_chunk_mut::<ROOT_POINTER_MAX>().ok_or(BootError::NoRoom)?;
    for (place, byte) in end.iter_mut().zip(copy) {
        place.write(*byte);
    }
    Ok(nvs.end() - ROOT_POINTER_MAX as u64)
}

/// Writes the record with its length before it.
fn write_record(record: &BootRecord, to: &mut [MaybeUninit<u8>]) -> Result<(), BootError> {
    let mut buffer = [0; RECORD_MAX];
    let length = message::encode(record, &mut buffer).map_err(|_| BootError::RecordTooLong)?;
    let head = (length as u32).to_le_bytes();
    let bytes = head.iter().chain(buffer.iter().take(length));
    for (place, byte) in to.iter_mut().zip(bytes) {
        place.write(*byte);
    }
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
/// The range is free RAM in reach of the stub's tables, and there is no other reference to it.
unsafe fn writable(range: MemoryRange) -> &'static mut [MaybeUninit<u8>] {
    let start = (DIRECT + range.start) as *mut MaybeUninit<u8>;
    // SAFETY: as the caller promises.
    unsafe { slice::from_raw_parts_mut(start, range.length as usize) }
}
