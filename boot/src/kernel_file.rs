//! Checks of the kernel's ELF file.
//!
//! The loader crate stops the machine with a panic on a file that is cut off or inconsistent, so
//! this looks first.

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;

use crate::error::BootError;

/// Checks that `file` is a position-independent ELF file for this processor, complete and in
/// order, and returns how many bytes of memory it needs.
///
/// # Errors
/// [`BootError::BadKernel`] with what is wrong.
pub fn check(file: &[u8]) -> Result<u64, BootError> {
    let bad = BootError::BadKernel;
    if !(file.as_ptr() as usize).is_multiple_of(8) {
        return Err(bad("it is not aligned in the bundle"));
    }
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| bad("no ELF file"))?;
    let header = &parsed.ehdr;
    if header.class != Class::ELF64 || header.e_machine != EM_X86_64 || header.e_type != ET_DYN {
        return Err(bad("it is not position-independent code for x86-64"));
    }
    let cut = bad("it is cut off");
    for section in parsed.section_headers().ok_or(cut)?.iter() {
        parsed.section_data(&section).map_err(|_| cut)?;
    }
    let mut size = 0;
    let mut has_note = false;
    for segment in parsed.segments().ok_or(cut)?.iter() {
        let data = parsed.segment_data(&segment).map_err(|_| cut)?;
        has_note |= segment.p_type == PT_NOTE && data.len() >= 12;
        if segment.p_type != PT_LOAD {
            continue;
        }
        let end = segment.p_vaddr.checked_add(segment.p_memsz);
        let (Some(end), true) = (end, segment.p_filesz <= segment.p_memsz) else {
            return Err(bad("a segment's size is impossible"));
        };
        if segment.p_vaddr < size || (size == 0 && segment.p_vaddr != 0) {
            return Err(bad("its segments are out of order"));
        }
        size = end;
    }
    if !has_note || size == 0 || header.e_entry >= size {
        return Err(bad("it has no note, no segment or no entry point"));
    }
    Ok(size)
}
