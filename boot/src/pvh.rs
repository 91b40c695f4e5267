//! The PVH boot protocol, which QEMU uses for `-kernel` (Xen's public header `hvm/start_info.h`).

use heapless::Vec;
use lucos_system_info::MemoryRange;

use crate::error::BootError;
use crate::handover::{Handover, Physical, RootPointer, in_use, kind, u32_at, u64_at};
use crate::memory_map;

/// First field of the start information.
pub const MAGIC: u32 = 0x336e_c578;
/// The version that brought the memory map.
const VERSION: u32 = 1;
const INFO_LENGTH: u64 = 56;
const MODULE_LENGTH: u64 = 32;
const ENTRY_LENGTH: u64 = 24;
/// Longest command line that is looked at.
const COMMAND_LINE_MAX: u64 = 4096;

/// The command line. It comes first, because it says where to complain.
///
/// # Errors
/// The start information or the command line cannot be read.
pub fn options<'a>(info: u64, physical: Physical<'_, 'a>) -> Result<&'a str, BootError> {
    let header = physical(info, INFO_LENGTH).ok_or(BootError::OutOfReach(info))?;
    match u64_at(header, 24)? {
        0 => Ok(""),
        address => text(physical, address),
    }
}

/// Reads the start information at physical address `info`.
///
/// # Errors
/// What is missing or broken in it.
pub fn read<'a>(info: u64, physical: Physical<'_, 'a>) -> Result<Handover<'a>, BootError> {
    let bytes = |start, length| physical(start, length).ok_or(BootError::OutOfReach(start));
    let header = bytes(info, INFO_LENGTH)?;
    if u32_at(header, 0)? != MAGIC {
        return Err(BootError::BadBootInformation("PVH magic"));
    }
    if u32_at(header, 4)? < VERSION {
        return Err(BootError::BadBootInformation("PVH version 0 has no memory map"));
    }
    let modules = u32_at(header, 12)?;
    if modules != 1 {
        return Err(BootError::ModuleCount(modules as usize));
    }
    let module_list = u64_at(header, 16)?;
    let module = bytes(module_list, MODULE_LENGTH)?;
    let bundle = in_use(u64_at(module, 0)?, u64_at(module, 8)?);
    let rsdp = u64_at(header, 32)?;
    if rsdp == 0 {
        return Err(BootError::NoAcpi);
    }
    let map = u64_at(header, 40)?;
    let map_length = u64::from(u32_at(header, 48)?) * ENTRY_LENGTH;
    let entries = bytes(map, map_length)?.chunks_exact(ENTRY_LENGTH as usize);
    let ranges = entries.map_while(|entry| {
        Some(MemoryRange {
            start: u64_at(entry, 0).ok()?,
            length: u64_at(entry, 8).ok()?,
            kind: kind(u32_at(entry, 16).ok()?),
        })
    });
    let options = options(info, physical)?;
    let taken = [
        in_use(info, INFO_LENGTH),
        in_use(module_list, MODULE_LENGTH),
        in_use(map, map_length),
        in_use(u64_at(header, 24)?, options.len() as u64 + 1),
        bundle,
    ];
    Ok(Handover {
        memory: memory_map::normalize(ranges)?,
        rsdp: RootPointer::At(rsdp),
        bundle,
        framebuffer: None,
        efi: None,
        taken: Vec::from_iter(taken),
    })
}

/// A text that ends with a zero.
fn text<'a>(physical: Physical<'_, 'a>, address: u64) -> Result<&'a str, BootError> {
    let bytes = physical(address, COMMAND_LINE_MAX).ok_or(BootError::OutOfReach(address))?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.len() == bytes.len() {
        return Err(BootError::BadOptions);
    }
    core::str::from_utf8(text).map_err(|_| BootError::BadOptions)
}

#[cfg(test)]
mod tests {
    use lucos_system_info::MemoryKind;
    use proptest::prelude::*;

    use super::{MAGIC, options, read};
    use crate::error::BootError;
    use crate::handover::{Handover, RootPointer, in_use};

    const INFO: u64 = 0x100;
    const MODULES: u64 = 0x200;
    const MAP: u64 = 0x300;
    const LINE: u64 = 0x400;

    /// The first pages of a machine's memory.
    struct Memory(Vec<u8>);

    impl Memory {
        fn put(&mut self, at: u64, bytes: &[u8]) {
            self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
        }

        fn u64(&mut self, at: u64, value: u64) {
            self.put(at, &value.to_le_bytes());
        }

        fn physical(&self, start: u64, length: u64) -> Option<&[u8]> {
            let end = usize::try_from(start.checked_add(length)?).ok()?;
            self.0.get(usize::try_from(start).ok()?..end)
        }

        fn options(&self) -> Result<&str, BootError> {
            options(INFO, &|start, length| self.physical(start, length))
        }

        fn read(&self) -> Result<Handover<'_>, BootError> {
            read(INFO, &|start, length| self.physical(start, length))
        }
    }

    /// What QEMU 7.2 builds for `-m 256`, with a bundle at the top.
    fn qemu() -> Memory {
        let mut memory = Memory(vec![0; 0x3000]);
        memory.u64(INFO, u64::from(MAGIC) | 1 << 32);
        memory.u64(INFO + 8, 1 << 32);
        memory.u64(INFO + 16, MODULES);
        memory.u64(INFO + 24, LINE);
        memory.u64(INFO + 32, 0xf_5230);
        memory.u64(INFO + 40, MAP);
        memory.u64(INFO + 48, 3);
        memory.u64(MODULES, 0xf00_0000);
        memory.u64(MODULES + 8, 0x2_8000);
        for (number, (start, length, kind)) in
            [(0, 0x9_fc00, 1u64), (0x10_0000, 0xfee_0000, 1), (0xfeff_c000, 0x4000, 2)]
                .into_iter()
                .enumerate()
        {
            let at = MAP + number as u64 * 24;
            memory.u64(at, start);
            memory.u64(at + 8, length);
            memory.u64(at + 16, kind);
        }
        memory.put(LINE, b"debugcon=0xe9\0");
        memory
    }

    #[test]
    fn qemus_information_is_read() {
        let memory = qemu();
        let handover = memory.read().unwrap();
        assert_eq!(memory.options(), Ok("debugcon=0xe9"));
        assert_eq!(handover.rsdp, RootPointer::At(0xf_5230));
        assert_eq!(handover.bundle, in_use(0xf00_0000, 0x2_8000));
        assert_eq!(handover.memory.len(), 3);
        assert_eq!(handover.memory[2].kind, MemoryKind::Reserved);
        let line = in_use(LINE, 14);
        assert!(handover.taken.contains(&line) && handover.taken.contains(&handover.bundle));
    }

    #[test]
    fn each_defect_has_its_error() {
        type Change = fn(&mut Memory);
        let broken = BootError::BadBootInformation;
        let cases: [(Change, BootError); 9] = [
            (|m| m.put(INFO, &[0]), broken("PVH magic")),
            (|m| m.put(INFO + 4, &[0]), broken("PVH version 0 has no memory map")),
            (|m| m.put(INFO + 12, &[0]), BootError::ModuleCount(0)),
            (|m| m.put(INFO + 12, &[2]), BootError::ModuleCount(2)),
            (|m| m.u64(INFO + 16, 0x3000), BootError::OutOfReach(0x3000)),
            (|m| m.u64(INFO + 32, 0), BootError::NoAcpi),
            (|m| m.u64(INFO + 48, 0), BootError::BadMemoryMap),
            (|m| m.put(LINE, &[0xff]), BootError::BadOptions),
            (|m| m.put(LINE, &[b'a'; 0x2000]), BootError::BadOptions),
        ];
        for (change, expected) in cases {
            let mut memory = qemu();
            change(&mut memory);
            assert_eq!(memory.read(), Err(expected));
        }
        let mut without_line = qemu();
        without_line.u64(INFO + 24, 0);
        assert_eq!(without_line.options(), Ok(""));
        assert!(without_line.read().is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_information_never_panics(bytes in prop::collection::vec(any::<u8>(), 56)) {
            let mut memory = qemu();
            memory.put(INFO + 8, &bytes[8..]);
            let _ = memory.read();
        }
    }
}
