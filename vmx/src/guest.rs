//! Putting the guest into memory.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use lucos_abi::object::FlatStart;
use lucos_guest_interface::call::{Call, register_value};
use lucos_linux_boot::acpi::{Firmware, SleepStates};
use lucos_linux_boot::efi;
use lucos_linux_boot::entry::start_state;
use lucos_linux_boot::kernel::{ENTRY_OFFSET, HEADER_BYTES, KernelError, KernelImage};
use lucos_linux_boot::nvs::{self, KEPT_AT_END, Nvs, NvsError, Source};
use lucos_linux_boot::parameters::{
    self, COMMAND_LINE_ROOM, HANDOFF_LENGTH, Machine, ParameterError, boot_parameters,
};
use lucos_linux_boot::placement::{NoRoom, Placement, place};
use lucos_service::client::Failure;
use lucos_system_info::{Efi, MemoryKind, MemoryRange, Module, SystemInfo};

use crate::platform::Platform;
use crate::{interface, ports};

/// Most bytes of a UEFI memory map.
const EFI_MAP_MAX: usize = 64 << 10;
/// Bytes of the NVS area that are made here.
const NVS_IMAGE: usize = nvs::LENGTH - KEPT_AT_END;

/// Why there is no guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The bundle has no kernel.
    NoKernel,
    /// The kernel is none that LUCOS can start.
    Kernel(KernelError),
    /// There is no room for a part of it.
    NoRoom(NoRoom),
    /// The boot parameters cannot be made.
    Parameters(ParameterError),
    /// The command line in the bundle is too long for any kernel.
    CommandLine {
        /// Its length in bytes.
        length: u64,
    },
    /// The ACPI tables and what goes with them.
    Nvs(NvsError),
    /// A part of the guest cannot be read or written.
    Memory {
        /// Which part.
        part: &'static str,
        /// Why.
        why: Failure,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel => to.write_str("the bundle has no guest/kernel"),
            Self::Kernel(error) => write!(to, "guest/kernel: {error}"),
            Self::NoRoom(error) => error.fmt(to),
            Self::Parameters(error) => error.fmt(to),
            Self::CommandLine { length } => {
                write!(to, "guest/cmdline has {length} bytes, which no kernel takes")
            }
            Self::Nvs(error) => error.fmt(to),
            Self::Memory { part, why } => write!(to, "{part}: {why}"),
        }
    }
}

impl From<KernelError> for BuildError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<NoRoom> for BuildError {
    fn from(error: NoRoom) -> Self {
        Self::NoRoom(error)
    }
}

impl From<ParameterError> for BuildError {
    fn from(error: ParameterError) -> Self {
        Self::Parameters(error)
    }
}

impl From<NvsError> for BuildError {
    fn from(error: NvsError) -> Self {
        Self::Nvs(error)
    }
}

/// Names the part of the guest to which a failure belongs.
trait Of<T> {
    fn of(self, part: &'static str) -> Result<T, BuildError>;
}

impl<T> Of<T> for Result<T, Failure> {
    fn of(self, part: &'static str) -> Result<T, BuildError> {
        self.map_err(|why| BuildError::Memory { part, why })
    }
}

/// Puts everything that the guest starts with into its memory, and says how its first processor
/// starts. Can be done again when it was interrupted: the bundle stays as it is.
///
/// # Errors
/// [`BuildError`]
// Not inlined, like the functions below it: what they need of the stack is needed once only.
#[inline(never)]
pub fn build(platform: &mut impl Platform, info: &SystemInfo) -> Result<FlatStart, BuildError> {
    let file = module(info, "guest/kernel").ok_or(BuildError::NoKernel)?;
    let mut header = [0; HEADER_BYTES];
    let part = header.len().min(file.length as usize);
    platform.read_physical(file.start, &mut header[..part]).of("guest/kernel")?;
    let kernel = KernelImage::parse(&header[..part], file.length)?;
    let initrd = module(info, "guest/initrd").map(|module| (module.start, module.length));
    let placement = find_places(platform, info, &kernel, initrd)?;

    let nvs = fill_nvs(platform, info)?;
    copy(platform, file, &kernel, &placement)?;
    hand_over(platform, info, &kernel, &placement, &nvs)?;
    platform.guard_stores(nvs.mailbox).of("mailbox")?;
    ports::start(platform, &nvs.sleep_control).of("sleep control")?;
    platform.log(format_args!(
        "kernel at {:#x}, parameters at {:#x}, ACPI at {:#x}",
        placement.kernel, placement.handoff, nvs.rsdp
    ));
    Ok(start_state(placement.kernel + ENTRY_OFFSET, placement.handoff, nvs.tables, nvs.descriptors))
}

fn module<'a>(info: &'a SystemInfo, name: &str) -> Option<&'a Module> {
    info.modules.iter().find(|module| module.name == name)
}

/// Finds the places of the guest's parts, where the firmware has left nothing if that can be.
#[inline(never)]
fn find_places(
    platform: &mut impl Platform,
    info: &SystemInfo,
    kernel: &KernelImage,
    initrd: Option<(u64, u64)>,
) -> Result<Placement, BuildError> {
    let kept = kept(info);
    if let Some(efi) = info.efi {
        let unused = unused_memory(platform, info, &efi)?;
        if let Ok(placement) = place(kernel, initrd, &unused, &kept) {
            return Ok(placement);
        }
        platform.log(format_args!("the guest is put where tables of the firmware may be"));
    }
    Ok(place(kernel, initrd, &info.memory, &kept)?)
}

/// RAM that UEFI's boot services did not use either, in the order of addresses.
fn unused_memory(
    platform: &mut impl Platform,
    info: &SystemInfo,
    efi: &Efi,
) -> Result<Vec<MemoryRange>, BuildError> {
    let mut map = vec![0; (efi.memory_map_length as usize).min(EFI_MAP_MAX)];
    platform.read_physical(efi.memory_map, &mut map).of("UEFI memory map")?;
    let free = efi::free(&map, efi.descriptor_length as usize).map_err(NvsError::Efi)?;
    let mut unused: Vec<MemoryRange> = Vec::new();
    let mut free: Vec<_> = free.collect();
    free.sort_unstable();
    for (start, end) in free {
        for ram in info.memory.iter().filter(|range| range.kind == MemoryKind::Ram) {
            let (start, end) = (start.max(ram.start), end.min(ram.end()));
            if start >= end {
                continue;
            }
            match unused.last_mut() {
                Some(last) if last.end() == start => last.length += end - start,
                _ => unused.push(MemoryRange { start, length: end - start, kind: ram.kind }),
            }
        }
    }
    Ok(unused)
}

/// Memory that nothing may be put into.
fn kept(info: &SystemInfo) -> Vec<MemoryRange> {
    let modules = info.modules.iter().map(|module| (module.start, module.length));
    let efi_map = info.efi.map(|efi| (efi.memory_map, u64::from(efi.memory_map_length)));
    modules
        .chain(efi_map)
        .map(|(start, length)| MemoryRange { start, length, kind: MemoryKind::Reserved })
        .chain([info.region, info.nvs])
        .collect()
}

/// Writes boot parameters and command line.
#[inline(never)]
fn hand_over(
    platform: &mut impl Platform,
    info: &SystemInfo,
    kernel: &KernelImage,
    placement: &Placement,
    nvs: &Nvs,
) -> Result<(), BuildError> {
    let part = "boot parameters";
    let no_room = BuildError::Memory { part, why: Failure::Protocol };
    let mut bytes = vec![0; HANDOFF_LENGTH as usize];
    let (page, rest) = bytes.split_first_chunk_mut().ok_or(no_room)?;
    let line = rest.first_chunk_mut().ok_or(no_room)?;
    let machine = Machine {
        memory: &info.memory,
        rsdp: nvs.rsdp,
        framebuffer: info.framebuffer,
        efi: nvs.efi,
    };
    boot_parameters(kernel, placement, &machine, page)?;
    command_line(platform, info, kernel, line)?;
    platform.write_physical(placement.handoff, &bytes).of(part)
}

fn command_line(
    platform: &mut impl Platform,
    info: &SystemInfo,
    kernel: &KernelImage,
    to: &mut [u8; COMMAND_LINE_ROOM],
) -> Result<(), BuildError> {
    let Some(module) = module(info, "guest/cmdline") else {
        return Ok(());
    };
    if module.length > COMMAND_LINE_ROOM as u64 {
        return Err(BuildError::CommandLine { length: module.length });
    }
    let mut text = vec![0; module.length as usize];
    platform.read_physical(module.start, &mut text).of("guest/cmdline")?;
    Ok(parameters::command_line(kernel, &text, to)?)
}

/// Makes the NVS area: the guest's ACPI tables, mailbox, page tables.
#[inline(never)]
fn fill_nvs(platform: &mut impl Platform, info: &SystemInfo) -> Result<Nvs, BuildError> {
    let source = Source {
        area: &info.nvs,
        region: &info.region,
        rsdp: info.rsdp,
        efi: info.efi,
        // The upper half of the register is 0.
        park_call: register_value(Call::Park) as u32,
        instruction: interface::call_instruction(info),
    };
    let wanted = info.efi.map_or(0, |efi: Efi| efi.memory_map_length as usize);
    let mut efi_map = vec![0; wanted.min(EFI_MAP_MAX)];
    let mut image = vec![0; NVS_IMAGE];
    let unusable = NvsError::Area { start: info.nvs.start, length: info.nvs.length };
    let image = image.first_chunk_mut::<NVS_IMAGE>().ok_or(unusable)?;
    let mut read = |gpa: u64, to: &mut [u8]| platform.read_physical(gpa, to).is_ok();
    let nvs = nvs::fill(&source, &mut Firmware::new(&mut read), image, &mut efi_map)?;
    platform.write_physical(info.nvs.start, image).of("NVS area")?;
    if nvs.sleep_control.is_open {
        platform.log(format_args!(
            "the sleep control is not intercepted: it is no port, or no table tells how to switch off"
        ));
    }
    if let SleepStates::Visible { signature, length } = nvs.sleep_states {
        platform.log(format_args!(
            "S3 and S4 stay visible: table {} with {length} bytes does not fit in the NVS area",
            signature.escape_ascii()
        ));
    }
    Ok(nvs)
}

/// Copies kernel and initial RAM disk to their places.
fn copy(
    platform: &mut impl Platform,
    file: &Module,
    kernel: &KernelImage,
    placement: &Placement,
) -> Result<(), BuildError> {
    let from = file.start + kernel.code_offset;
    platform.copy_physical(from, placement.kernel, kernel.code_length).of("guest/kernel")?;
    if let Some(initrd) = placement.initrd
        && let Some(from) = initrd.copy_from
    {
        platform.copy_physical(from, initrd.start, initrd.length).of("guest/initrd")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
