//! The Multiboot2 boot protocol, which GRUB uses.

use heapless::Vec;
use lucos_abi::boot::{Efi, Framebuffer, MemoryRange};
use multiboot2::{BootInformation, FramebufferField, FramebufferType, MaybeDynSized};

use crate::error::BootError;
use crate::handover::{Handover, RootPointer, in_use, kind, u32_at};
use crate::memory_map;

/// Reads the boot information.
///
/// # Errors
/// What is missing or broken in it.
pub fn read<'a>(info: &'a BootInformation<'a>) -> Result<Handover<'a>, BootError> {
    let count = info.module_tags().count();
    let module = match info.module_tags().next() {
        Some(module) if count == 1 => module,
        _ => return Err(BootError::ModuleCount(count)),
    };
    let start = module.start_address();
    let length = module.end_address().saturating_sub(start);
    let bundle = in_use(start.into(), length.into());
    let map = info.memory_map_tag().ok_or(BootError::BadMemoryMap)?;
    let ranges = map.memory_areas().iter().map(|area| MemoryRange {
        start: area.start_address(),
        length: area.size(),
        kind: kind(area.typ().val()),
    });
    let options = match info.command_line_tag() {
        Some(tag) => tag.cmdline().map_err(|_| BootError::BadOptions)?,
        None => "",
    };
    let information = in_use(info.start_address() as u64, info.total_size() as u64);
    Ok(Handover {
        memory: memory_map::normalize(ranges)?,
        rsdp: RootPointer::Copy(root_pointer(info)?),
        options,
        bundle,
        framebuffer: framebuffer(info),
        efi: efi(info)?,
        taken: Vec::from_iter([information, bundle]),
    })
}

/// The loader's copy of the ACPI root pointer, the newer where there are two.
fn root_pointer<'a>(info: &'a BootInformation<'a>) -> Result<&'a [u8], BootError> {
    let new = info.rsdp_v2_tag().map(MaybeDynSized::payload);
    let old = info.rsdp_v1_tag().map(MaybeDynSized::payload);
    new.or(old).ok_or(BootError::NoAcpi)
}

fn framebuffer(info: &BootInformation<'_>) -> Option<Framebuffer> {
    let tag = info.framebuffer_tag()?.ok()?;
    let Ok(FramebufferType::RGB { red, green, blue }) = tag.buffer_type() else {
        return None;
    };
    let field = |field: FramebufferField| (field.position, field.size);
    Some(Framebuffer {
        address: tag.address(),
        pitch: tag.pitch(),
        width: tag.width(),
        height: tag.height(),
        bits: tag.bpp(),
        fields: [field(red), field(green), field(blue)],
    })
}

/// UEFI's tables; `None` when the machine was booted otherwise.
fn efi(info: &BootInformation<'_>) -> Result<Option<Efi>, BootError> {
    let (Some(table), Some(map)) = (info.efi_sdt64_tag(), info.efi_memory_map_tag()) else {
        return Ok(None);
    };
    // Length and version of a descriptor come before the map itself.
    const HEAD: usize = 8;
    let payload = map.payload();
    let map = payload.get(HEAD..).unwrap_or_default();
    Ok(Some(Efi {
        system_table: table.sdt_address() as u64,
        memory_map: map.as_ptr() as u64,
        memory_map_length: map.len() as u32,
        descriptor_length: u32_at(payload, 0)?,
        descriptor_version: u32_at(payload, 4)?,
    }))
}
