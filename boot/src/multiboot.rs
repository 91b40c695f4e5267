//! The Multiboot2 boot protocol, which GRUB uses.

use heapless::Vec;
use lucos_system_info::{Efi, Framebuffer, MemoryRange};
use multiboot2::{BootInformation, FramebufferField, FramebufferType, MaybeDynSized};

use crate::error::BootError;
use crate::handover::{Handover, RootPointer, in_use, kind, u32_at};
use crate::memory_map;

/// The command line. It comes first, because it says where to complain.
///
/// # Errors
/// It is no text.
pub fn options<'a>(info: &'a BootInformation<'a>) -> Result<&'a str, BootError> {
    match info.command_line_tag() {
        Some(tag) => tag.cmdline().map_err(|_| BootError::BadOptions),
        None => Ok(""),
    }
}

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
    let information = in_use(info.start_address() as u64, info.total_size() as u64);
    Ok(Handover {
        memory: memory_map::normalize(ranges)?,
        rsdp: RootPointer::Copy(root_pointer(info)?),
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

#[cfg(test)]
mod tests {
    use lucos_system_info::{Efi, Framebuffer, MemoryKind};
    use multiboot2::{
        BootInformation, Builder, CommandLineTag, EFIMemoryMapTag, EFISdt64Tag, FramebufferField,
        FramebufferTag, FramebufferType, MaybeDynSized, MemoryArea, MemoryAreaType, MemoryMapTag,
        ModuleTag, RsdpV1Tag, RsdpV2Tag,
    };

    use super::{options, read};
    use crate::error::BootError;
    use crate::handover::{Handover, RootPointer, in_use};

    fn grub() -> Builder {
        let areas = [
            MemoryArea::new(0x10_0000, 0x1000_0000, MemoryAreaType::Available),
            MemoryArea::new(0, 0x9_fc00, MemoryAreaType::Available),
            MemoryArea::new(0x80_0000, 0x1000, MemoryAreaType::ReservedHibernate),
        ];
        Builder::new()
            .cmdline(CommandLineTag::new("exit=0xf4"))
            .add_module(ModuleTag::new(0x20_0000, 0x30_0000, "bundle"))
            .mmap(MemoryMapTag::new(&areas))
            .rsdpv1(RsdpV1Tag::new(*b"LUCOS ", 0, 0x7fe_0000))
    }

    fn check<T>(builder: Builder, test: impl FnOnce(Result<Handover<'_>, BootError>) -> T) -> T {
        let built = builder.build();
        // SAFETY: the builder made this information, and it lives until the end of the test.
        let info = unsafe { BootInformation::load(built.as_bytes().as_ptr().cast()) };
        let info = info.unwrap();
        assert_eq!(options(&info), Ok("exit=0xf4"));
        test(read(&info))
    }

    #[test]
    fn grubs_information_is_read() {
        check(grub(), |handover| {
            let handover = handover.unwrap();
            assert_eq!(handover.bundle, in_use(0x20_0000, 0x10_0000));
            assert!(handover.taken.contains(&handover.bundle));
            assert_eq!(handover.taken.len(), 2);
            let kinds: Vec<_> = handover.memory.iter().map(|range| range.kind).collect();
            let ram = MemoryKind::Ram;
            assert_eq!(kinds, [ram, ram, MemoryKind::AcpiNvs, ram]);
            assert_eq!((handover.framebuffer, handover.efi), (None, None));
            let RootPointer::Copy(copy) = handover.rsdp else { panic!("a copy") };
            assert_eq!((&copy[..8], copy.len()), (&b"RSD PTR "[..], 20));
            assert_eq!(copy[16..20], [0, 0, 0xfe, 0x07]);
        });
    }

    #[test]
    fn the_newer_root_pointer_and_uefi_are_taken() {
        let field = |position| FramebufferField { position, size: 8 };
        let colours = FramebufferType::RGB { red: field(16), green: field(8), blue: field(0) };
        let builder = grub()
            .rsdpv2(RsdpV2Tag::new(*b"LUCOS ", 2, 0, 36, 0x7f_0000_1000))
            .efi64(EFISdt64Tag::new(0x7f5_0018))
            .efi_mmap(EFIMemoryMapTag::new_from_map(48, 1, &[7; 96]))
            .framebuffer(FramebufferTag::new(0xfd00_0000, 5120, 1280, 800, 32, colours));
        check(builder, |handover| {
            let handover = handover.unwrap();
            let RootPointer::Copy(copy) = handover.rsdp else { panic!("a copy") };
            assert_eq!((copy.len(), copy[15]), (36, 2));
            let Some(Efi { system_table, memory_map_length, descriptor_length, .. }) = handover.efi
            else {
                panic!("UEFI");
            };
            let found = (system_table, memory_map_length, descriptor_length);
            assert_eq!(found, (0x7f5_0018, 96, 48));
            let expected = Framebuffer {
                address: 0xfd00_0000,
                pitch: 5120,
                width: 1280,
                height: 800,
                bits: 32,
                fields: [(16, 8), (8, 8), (0, 8)],
            };
            assert_eq!(handover.framebuffer, Some(expected));
        });
    }

    #[test]
    fn a_text_screen_is_no_framebuffer() {
        let text = FramebufferTag::new(0xb8000, 160, 80, 25, 16, FramebufferType::Text);
        check(grub().framebuffer(text), |handover| {
            assert_eq!(handover.unwrap().framebuffer, None);
        });
    }

    #[test]
    fn there_must_be_one_module_and_acpi() {
        let another = grub().add_module(ModuleTag::new(0x40_0000, 0x40_1000, "more"));
        check(another, |handover| {
            assert_eq!(handover, Err(BootError::ModuleCount(2)));
        });
        let nothing = Builder::new().cmdline(CommandLineTag::new("exit=0xf4"));
        check(nothing, |handover| {
            assert_eq!(handover, Err(BootError::ModuleCount(0)));
        });
        let bundle = ModuleTag::new(0x20_0000, 0x30_0000, "bundle");
        let areas = [MemoryArea::new(0, 0x9_fc00, MemoryAreaType::Available)];
        let no_acpi = Builder::new()
            .cmdline(CommandLineTag::new("exit=0xf4"))
            .add_module(bundle)
            .mmap(MemoryMapTag::new(&areas));
        check(no_acpi, |handover| {
            assert_eq!(handover, Err(BootError::NoAcpi));
        });
    }
}
