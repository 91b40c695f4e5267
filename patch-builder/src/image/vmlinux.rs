//! The unpacked kernel: an ELF file without a symbol table.

use std::collections::{BTreeMap, BTreeSet};

use lucos_object_diff::SpecialSizes;
use object::LittleEndian as LE;
use object::elf::{FileHeader64, SHF_ALLOC, SHT_NOBITS};
use object::read::elf::{FileHeader, SectionHeader, SectionTable};

use super::btf::{self, Prototype};
use super::kallsyms::Symbols;
use super::wrong::Wrong;

type Header = FileHeader64<LE>;

/// An unpacked kernel.
pub struct Vmlinux {
    file: Vec<u8>,
    sections: Vec<Section>,
    symbols: Symbols,
    build_id: Vec<u8>,
    sizes: SpecialSizes,
    prototypes: BTreeMap<String, Prototype>,
}

/// A section that is in memory when the kernel runs.
struct Section {
    address: u64,
    start: usize,
    length: usize,
}

impl Vmlinux {
    /// Reads an ELF file; what follows it in `file` does not matter.
    pub(super) fn parse(file: Vec<u8>) -> Result<Self, Wrong> {
        let header = Header::parse(file.as_slice()).map_err(|error| error.to_string())?;
        let table = header.sections(LE, file.as_slice()).map_err(|error| error.to_string())?;
        let section = |name: &str| -> Result<&[u8], Wrong> {
            let (_, header) = table
                .section_by_name(LE, name.as_bytes())
                .ok_or_else(|| format!("it has no section {name}"))?;
            header.data(LE, file.as_slice()).map_err(|error| error.to_string())
        };
        let symbols = Symbols::decode(section(".rodata")?)?;
        let sizes = special_sizes(section(".BTF")?)?;
        let prototypes = btf::prototypes(section(".BTF")?)?;
        let build_id = build_id(section(".notes")?).ok_or("it has no build id")?.to_vec();
        let sections = loaded(&table);
        Ok(Self { sections, symbols, build_id, sizes, prototypes, file })
    }

    /// The kernel's symbols.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The names of what is read-only after boot.
    #[must_use]
    pub fn read_only_names(&self) -> BTreeSet<String> {
        let address = |name: &str| self.symbols.addresses(name).first().copied();
        let bounds = address("__start_ro_after_init").zip(address("__end_ro_after_init"));
        let Some((start, end)) = bounds else { return BTreeSet::new() };
        let inside = self.symbols.iter().filter(|symbol| (start..end).contains(&symbol.address));
        inside.map(|symbol| symbol.name.clone()).collect()
    }

    /// The GNU build id.
    #[must_use]
    pub fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// Sizes of the entries of the kernel's tables.
    #[must_use]
    pub fn sizes(&self) -> SpecialSizes {
        self.sizes
    }

    /// How a function is called; `None` when the kernel does not say it.
    #[must_use]
    pub fn prototype(&self, function: &str) -> Option<Prototype> {
        self.prototypes.get(function).copied()
    }

    /// The bytes from an address to the end of its section, as they are in the file: the kernel
    /// rewrites some of its code during boot. `None` when nothing is there.
    #[must_use]
    pub fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        let section = self.sections.iter().find(|section| {
            address.checked_sub(section.address).is_some_and(|at| at < section.length as u64)
        })?;
        let offset = usize::try_from(address - section.address).ok()?;
        self.file.get(section.start + offset..section.start + section.length)
    }
}

fn loaded(table: &SectionTable<'_, Header>) -> Vec<Section> {
    table
        .iter()
        .filter(|header| {
            header.sh_flags(LE).contains(SHF_ALLOC) && header.sh_type(LE) != SHT_NOBITS
        })
        .filter_map(|header| {
            Some(Section {
                address: header.sh_addr(LE),
                start: usize::try_from(header.sh_offset(LE)).ok()?,
                length: usize::try_from(header.sh_size(LE)).ok()?,
            })
        })
        // Per-CPU variables are linked to addresses from zero on.
        .filter(|section| section.address != 0)
        .collect()
}

fn special_sizes(section: &[u8]) -> Result<SpecialSizes, Wrong> {
    const NAMES: [&str; 7] = [
        "alt_instr",
        "bug_entry",
        "exception_table_entry",
        "jump_entry",
        "orc_entry",
        "paravirt_patch_site",
        "static_call_site",
    ];
    let sizes: BTreeMap<String, u64> = btf::struct_sizes(section, &NAMES)?;
    let size = |name: &str| {
        sizes.get(name).copied().ok_or_else(|| format!("its type information has no {name}"))
    };
    Ok(SpecialSizes {
        alt_instr: size("alt_instr")?,
        bug_entry: size("bug_entry")?,
        exception_entry: size("exception_table_entry")?,
        jump_entry: size("jump_entry")?,
        orc_entry: size("orc_entry")?,
        // Gone since Linux 6.8.
        paravirt_site: size("paravirt_patch_site").unwrap_or(SpecialSizes::LINUX_6_1.paravirt_site),
        static_call_site: size("static_call_site")?,
    })
}

/// The GNU build id among ELF notes.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const GNU_BUILD_ID: u32 = 3;
    loop {
        let (header, rest) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?))
        };
        let (name_length, length, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let (name, rest) = rest.split_at_checked(name_length.next_multiple_of(4))?;
        let (value, following) =
            rest.split_at_checked(length.next_multiple_of(4)).unwrap_or((rest, &[]));
        if kind == GNU_BUILD_ID && name.get(..4) == Some(b"GNU\0") {
            return value.get(..length).filter(|id| !id.is_empty() && id.len() <= 20);
        }
        notes = following;
    }
}

#[cfg(test)]
mod tests {
    use super::build_id;

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let mut notes = Vec::new();
        let mut note = |name: &[u8], kind: u32, value: &[u8]| {
            notes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            notes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
            notes.extend(kind.to_le_bytes());
            notes.extend(name);
            notes.resize(notes.len().next_multiple_of(4), 0);
            notes.extend(value);
            notes.resize(notes.len().next_multiple_of(4), 0);
        };
        note(b"Xen\0", 3, &[9; 7]);
        note(b"GNU\0", 3, &[1; 20]);
        assert_eq!(build_id(&notes), Some([1; 20].as_slice()));
        assert_eq!(build_id(&notes[..30]), None);
        assert_eq!(build_id(&[]), None);
    }
}
