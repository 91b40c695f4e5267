//! Checks of the kernel's ELF file.
//!
//! The loader crate stops the machine with a panic on a file that is cut off, so this looks first.
//! What is inconsistent inside a complete file is left to it: `image-builder` refuses such kernels.

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, PT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;

use crate::error::BootError;

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
    let cut = bad("it is cut off");
    for section in parsed.section_headers().into_iter().flatten() {
        parsed.section_data(&section).map_err(|_| cut)?;
    }
    let mut has_note = false;
    for segment in parsed.segments().into_iter().flatten() {
        let data = parsed.segment_data(&segment).map_err(|_| cut)?;
        has_note |= segment.p_type == PT_NOTE && !data.is_empty();
    }
    has_note.then_some(()).ok_or(bad("it has no note"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::error::BootError;

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
        let cases: [(Change, &'static str); 7] = [
            (|f| f.put(0, &[0]), "no ELF file"),
            (|f| f.put(4, &[1]), "no ELF file"),
            (|f| f.put(16, &[2]), position),
            (|f| f.put(18, &[3]), position),
            (|f| f.put(NOTE, &[0]), "it has no note"),
            (|f| f.segment(NOTE, 4, [0x100, 0x100, 0, 0]), "it has no note"),
            (|f| f.segment(SECOND, 1, [u64::MAX, 0x1000, 0x80, 0x80]), cut),
        ];
        for (change, expected) in cases {
            let mut file = File::good();
            change(&mut file);
            assert_eq!(file.check(512), Err(BootError::BadKernel(expected)));
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
