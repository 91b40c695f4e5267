//! The kernel's ELF file: checks, and its segments.
//!
//! The loader crate stops the machine with a panic on a file that is cut off, so this looks first.
//! What is inconsistent inside a complete file is left to it: `image-builder` refuses such kernels.

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, PF_W, PF_X, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;
use heapless::Vec;
use lucos_abi::layout::{DIRECT, PAGE};
use lucos_paging::{Mapping, Rights};
use lucos_system_info::MemoryRange;

use crate::error::BootError;

/// Most segments of a kernel.
const MAX_SEGMENTS: usize = 8;

/// How the segments of a kernel that [`check`] has found complete are mapped, in whole pages, when it
/// is loaded to `image`. That it starts in its code is for [`check`] to say.
///
/// # Errors
/// [`BootError::BadKernel`] with what is wrong.
pub fn segments(file: &[u8], image: MemoryRange) -> Result<Vec<Mapping, MAX_SEGMENTS>, BootError> {
    let bad = BootError::BadKernel;
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| bad("no ELF file"))?;
    let loaded = parsed.segments().into_iter().flatten();
    let mut segments = Vec::new();
    for segment in loaded.filter(|segment| segment.p_type == PT_LOAD) {
        let rights = match (segment.p_flags & PF_W != 0, segment.p_flags & PF_X != 0) {
            (false, false) => Rights::READ,
            (false, true) => Rights::READ_EXECUTE,
            (true, false) => Rights::READ_WRITE,
            (true, true) => return Err(bad("a part of it is both written and executed")),
        };
        let outside = || bad("a part of it is outside of the image");
        let end = segment.p_vaddr.checked_add(segment.p_memsz).ok_or_else(outside)?;
        if end > image.length {
            return Err(outside());
        }
        let phys = image.start + segment.p_vaddr / PAGE * PAGE;
        let length = image.start + end.next_multiple_of(PAGE) - phys;
        let mapping = Mapping { virt: DIRECT + phys, phys, length, rights };
        segments.push(mapping).map_err(|_| bad("it has too many parts"))?;
    }
    Ok(segments)
}

/// Checks that `file` is a position-independent ELF file for this processor, and complete.
///
/// # Errors
/// [`BootError::BadKernel`] with what is wrong.
pub fn check(file: &[u8]) -> Result<(), BootError> {
    let bad = BootError::BadKernel;
    if !(file.as_ptr() as usize).is_multiple_of(8) {
        return Err(bad("it is not aligned in the bundle"));
    }
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| bad("no ELF file"))?;
    let header = &parsed.ehdr;
    if header.class != Class::ELF64 || header.e_machine != EM_X86_64 || header.e_type != ET_DYN {
        return Err(bad("it is not position-independent code for x86-64"));
    }
    let cut = |_| bad("it is cut off");
    for section in parsed.section_headers().into_iter().flatten() {
        parsed.section_data(&section).map_err(cut)?;
    }
    let (mut has_note, mut has_entry) = (false, false);
    for segment in parsed.segments().into_iter().flatten() {
        let data = parsed.segment_data(&segment).map_err(cut)?;
        has_note |= segment.p_type == PT_NOTE && !data.is_empty();
        has_entry |= is_entered(&segment, header.e_entry);
    }
    if !has_entry {
        return Err(bad("its entry point is not in its code"));
    }
    has_note.then_some(()).ok_or(bad("it has no note"))
}

/// Whether the entry point is in the bytes of an executable segment.
const fn is_entered(segment: &ProgramHeader, entry: u64) -> bool {
    segment.p_type == PT_LOAD
        && segment.p_flags & PF_X != 0
        && segment.p_vaddr <= entry
        && entry - segment.p_vaddr < segment.p_filesz
}

#[cfg(test)]
mod tests {
    use super::{check, segments};
    use crate::error::BootError;
    use crate::handover::in_use;
    use lucos_abi::layout::DIRECT;
    use lucos_paging::{Mapping, Rights};

    /// An ELF file with a note, two loadable segments and an empty section, aligned in memory.
    struct File([u64; 64]);

    const NOTE: usize = 64;
    const FIRST: usize = NOTE + 56;
    const SECOND: usize = FIRST + 56;

    impl File {
        fn put(&mut self, at: usize, bytes: &[u8]) {
            for (offset, byte) in bytes.iter().enumerate() {
                let (word, shift) = ((at + offset) / 8, (at + offset) % 8 * 8);
                self.0[word] = self.0[word] & !(0xff << shift) | u64::from(*byte) << shift;
            }
        }

        fn segment(&mut self, at: usize, kind: u32, [offset, vaddr, filesz, memsz]: [u64; 4]) {
            self.put(at, &kind.to_le_bytes());
            for (field, value) in [(8, offset), (16, vaddr), (32, filesz), (40, memsz), (48, 4096)]
            {
                self.put(at + field, &value.to_le_bytes());
            }
        }

        fn good() -> Self {
            let mut file = Self([0; 64]);
            file.put(0, b"\x7fELF\x02\x01\x01");
            file.put(16, &[3, 0, 62, 0, 1]);
            file.put(24, &0x1010u64.to_le_bytes());
            file.put(32, &64u64.to_le_bytes());
            file.put(40, &232u64.to_le_bytes());
            file.put(52, &[64, 0, 56, 0, 3, 0, 64, 0, 1, 0]);
            file.segment(NOTE, 4, [0x100, 0x100, 24, 24]);
            file.segment(FIRST, 1, [0, 0, 0x180, 0x180]);
            file.segment(SECOND, 1, [0x180, 0x1000, 0x80, 0x2000]);
            file.put(SECOND + 4, &[5]);
            file
        }

        fn bytes(&self) -> Vec<u8> {
            self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
        }

        fn check(&self, length: usize) -> Result<(), BootError> {
            let bytes = self.bytes();
            let mut aligned = vec![0; bytes.len() + 8];
            let start = aligned.as_ptr().align_offset(8);
            aligned[start..start + bytes.len()].copy_from_slice(&bytes);
            check(&aligned[start..start + length])
        }
    }

    #[test]
    fn a_whole_file_is_accepted() {
        assert_eq!(File::good().check(512), Ok(()));
    }

    #[test]
    fn every_cut_is_noticed() {
        let file = File::good();
        for length in 0..512 {
            assert!(file.check(length).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn each_defect_is_named() {
        type Change = fn(&mut File);
        let position = "it is not position-independent code for x86-64";
        let cut = "it is cut off";
        let entry = "its entry point is not in its code";
        let cases: [(Change, &'static str); 12] = [
            (|f| f.put(0, &[0]), "no ELF file"),
            (|f| f.put(4, &[1]), "no ELF file"),
            (|f| f.put(16, &[2]), position),
            (|f| f.put(18, &[3]), position),
            (|f| f.put(NOTE, &[0]), "it has no note"),
            (|f| f.segment(NOTE, 4, [0x100, 0x100, 0, 0]), "it has no note"),
            (|f| f.put(24, &[0; 8]), entry),
            (|f| f.put(24, &0x1080u64.to_le_bytes()), entry),
            (|f| f.put(24, &u64::MAX.to_le_bytes()), entry),
            (|f| f.put(SECOND + 4, &[6]), entry),
            (|f| f.put(SECOND, &[2]), entry),
            (|f| f.segment(SECOND, 1, [u64::MAX, 0x1000, 0x80, 0x80]), cut),
        ];
        for (change, expected) in cases {
            let mut file = File::good();
            change(&mut file);
            assert_eq!(file.check(512), Err(BootError::BadKernel(expected)));
        }
    }

    #[test]
    fn segments_are_whole_pages_with_the_rights_of_the_file() {
        let image = in_use(0x70_0000, 0x3000);
        let mapping = |phys, length, rights| Mapping { virt: DIRECT + phys, phys, length, rights };
        let code = mapping(0x70_1000, 0x2000, Rights::READ_EXECUTE);
        for (flags, rights) in [
            (4, Rights::READ),
            (5, Rights::READ_EXECUTE),
            (6, Rights::READ_WRITE),
            (2, Rights::READ_WRITE),
        ] {
            let mut file = File::good();
            file.put(FIRST + 4, &[flags]);
            let first = mapping(0x70_0000, 0x1000, rights);
            assert_eq!(segments(&file.bytes(), image).unwrap(), [first, code]);
        }
    }

    #[test]
    fn segments_that_cannot_be_mapped_are_refused() {
        let refused = |flags, place| {
            let mut file = File::good();
            file.segment(SECOND, 1, place);
            file.put(SECOND + 4, &[flags]);
            segments(&file.bytes(), in_use(0x70_0000, 0x3000)).unwrap_err()
        };
        let good = [0x180, 0x1000, 0x80, 0x2000];
        let both = BootError::BadKernel("a part of it is both written and executed");
        assert_eq!(refused(7, good), both);
        let outside = BootError::BadKernel("a part of it is outside of the image");
        for (start, length) in [(0x1000, 0x2001), (0x3000, 1), (u64::MAX, 1), (2, u64::MAX)] {
            assert_eq!(refused(4, [0x180, start, 0x80, length]), outside);
        }
    }

    #[test]
    fn the_file_must_be_aligned() {
        let bytes = File::good().bytes();
        let mut buffer = vec![0; bytes.len() + 16];
        let start = buffer.as_ptr().align_offset(8) + 1;
        buffer[start..start + bytes.len()].copy_from_slice(&bytes);
        let result = check(&buffer[start..start + bytes.len()]);
        let expected = BootError::BadKernel("it is not aligned in the bundle");
        assert_eq!(result, Err(expected));
    }
}
