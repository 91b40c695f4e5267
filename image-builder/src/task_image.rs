//! A task's image: whole pages of constants, code and data, made from its ELF file.
//!
//! The kernel maps the pages as they are, and finds in the system table how many there are of each.

use lucos_abi::layout::{IMAGE, PAGE};
use lucos_abi::manifest::TaskImage;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};

/// Why an ELF file is no task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is broken, or for something else.
    #[error("it is no static ELF file for x86-64")]
    NoElf,
    /// Its segments are not constants, code and data, one behind the other.
    #[error("the segment at {0:#x} is not constants, code or data, or not where it should be")]
    Segment(u64),
    /// There are too many pages.
    #[error("it is too large")]
    TooLarge,
}

/// The pages, and what the system table says of them.
///
/// # Errors
/// When the file is not what a task's link script makes.
pub fn of_elf(file: &[u8]) -> Result<(TaskImage, Vec<u8>), Error> {
    let parsed = ElfFile64::<Endianness>::parse(file).map_err(|_| Error::NoElf)?;
    let (endian, header) = (parsed.endian(), parsed.elf_header());
    if header.e_machine(endian) != elf::EM_X86_64 || header.e_type(endian) != elf::ET_EXEC {
        return Err(Error::NoElf);
    }
    let segments = header.program_headers(endian, file).map_err(|_| Error::NoElf)?;
    let mut pages = [0_u16; 3];
    let mut bytes: Vec<u8> = Vec::new();
    let mut last = 0;
    for segment in segments {
        let length = segment.p_memsz(endian);
        if segment.p_type(endian) != elf::PT_LOAD || length == 0 {
            continue;
        }
        let start = segment.p_vaddr(endian);
        let flags = segment.p_flags(endian);
        let kind = match (flags.contains(elf::PF_W), flags.contains(elf::PF_X)) {
            (false, false) => 0,
            (false, true) => 1,
            (true, false) => 2,
            (true, true) => return Err(Error::Segment(start)),
        };
        let behind = IMAGE + bytes.len() as u64;
        if kind < last || start < behind || start - behind >= PAGE {
            return Err(Error::Segment(start));
        }
        last = kind;
        let content = segment.data(endian, file).map_err(|()| Error::NoElf)?;
        let end = start.checked_add(length).filter(|_| content.len() as u64 <= length);
        let end = end.ok_or(Error::NoElf)?.next_multiple_of(PAGE);
        let count = u16::try_from((end - behind) / PAGE).map_err(|_| Error::TooLarge)?;
        pages[kind] = pages[kind].checked_add(count).ok_or(Error::TooLarge)?;
        bytes.resize((start - IMAGE) as usize, 0);
        bytes.extend(content);
        bytes.resize((end - IMAGE) as usize, 0);
    }
    let [constants, code, data] = pages;
    Ok((TaskImage { constants, code, data, entry: header.e_entry(endian) }, bytes))
}

#[cfg(test)]
mod tests {
    use super::{Error, of_elf};
    use lucos_abi::layout::IMAGE;
    use lucos_abi::manifest::TaskImage;

    const ENTRY: u64 = IMAGE + 0x2010;

    type Segment = (u32, u64, &'static [u8], u64);

    /// An ELF file with these loadable segments: flags, address, content, length in memory.
    fn elf(segments: &[Segment]) -> Vec<u8> {
        let mut file = vec![0; 64 + segments.len() * 56];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        put(16, &[2, 0, 62, 0, 1]);
        put(24, &ENTRY.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(52, &[64, 0, 56, 0, segments.len() as u8]);
        let mut offset = 64 + segments.len() as u64 * 56;
        for (number, (flags, address, content, length)) in segments.iter().enumerate() {
            let at = 64 + number * 56;
            put(at, &1_u32.to_le_bytes());
            put(at + 4, &flags.to_le_bytes());
            let fields = [offset, *address, *address, content.len() as u64, *length, 4096];
            put(at + 8, &fields.map(u64::to_le_bytes).concat());
            offset += content.len() as u64;
        }
        file.extend(segments.iter().flat_map(|segment| segment.2));
        file
    }

    const READ: u32 = 4;
    const EXECUTE: u32 = 5;
    const WRITE: u32 = 6;

    #[test]
    fn pages_are_in_place_and_what_is_not_in_the_file_is_zero() {
        let file = elf(&[
            (READ, IMAGE, b"constants", 9),
            (READ, IMAGE + 0x1000, b"more", 4),
            (EXECUTE, IMAGE + 0x2010, b"code", 4),
            (WRITE, IMAGE + 0x3008, b"data", 0x1000),
        ]);
        let (image, bytes) = of_elf(&file).unwrap();
        assert_eq!(image, TaskImage { constants: 2, code: 1, data: 2, entry: ENTRY });
        assert_eq!(bytes.len(), 5 * 0x1000);
        for (at, content) in
            [(0, "constants"), (0x1000, "more"), (0x2010, "code"), (0x3008, "data")]
        {
            assert_eq!(&bytes[at..at + content.len()], content.as_bytes());
        }
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 9 + 4 + 4 + 4);
        let borders = [0, 0x2000, 0x3000, 0x5000].map(|offset| IMAGE + offset);
        assert_eq!(image.borders(), borders);
    }

    #[test]
    fn what_no_link_script_of_ours_makes_is_refused() {
        let code = (EXECUTE, IMAGE + 0x1000, &b"code"[..], 4);
        let cases: [(&[Segment], u64); 4] = [
            (&[code, (READ, IMAGE, b"", 4)], IMAGE + 0x1000),
            (&[(WRITE, IMAGE, b"", 4), code], IMAGE + 0x1000),
            (&[(7, IMAGE, b"", 4)], IMAGE),
            (&[(READ, IMAGE, b"", 0x1001), code], IMAGE + 0x1000),
        ];
        for (segments, at) in cases {
            assert_eq!(of_elf(&elf(segments)), Err(Error::Segment(at)));
        }
        let huge = (WRITE, IMAGE, &b""[..], 0x1000_1000);
        assert_eq!(of_elf(&elf(&[huge])), Err(Error::TooLarge));
        assert_eq!(of_elf(&elf(&[(READ, IMAGE, b"content", 3)])), Err(Error::NoElf));
        let whole = elf(&[code]);
        for length in 0..whole.len() {
            assert!(of_elf(&whole[..length]).is_err(), "{length}");
        }
    }
}
