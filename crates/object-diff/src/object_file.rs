//! An ELF relocatable object, checked and in memory.

use object::elf::{self, RelocationType, SymbolType};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use object::{Endianness, RelocationFlags, SectionFlags, SymbolFlags};

use crate::refusal::Reason;

/// Most bytes of a section; the largest of a kernel object has a few MB.
const LARGEST_SECTION: u64 = 64 << 20;

/// Largest alignment of a section in bytes: that of a large page.
const LARGEST_ALIGN: u64 = 2 << 20;

/// Where a symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Undefined,
    Absolute,
    /// Index into [`ObjectFile::sections`].
    Section(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    pub(crate) place: Place,
    /// Offset in its section.
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) kind: SymbolType,
    pub(crate) is_local: bool,
    pub(crate) is_weak: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Relocation {
    /// Offset in the section that it changes.
    pub(crate) offset: u64,
    pub(crate) kind: RelocationType,
    /// Index into [`ObjectFile::symbols`].
    pub(crate) symbol: usize,
    pub(crate) addend: i64,
}

impl Relocation {
    /// The field holds a distance from itself.
    pub(crate) fn is_relative(&self) -> bool {
        let relative = [elf::R_X86_64_PC32, elf::R_X86_64_PLT32, elf::R_X86_64_PC64];
        relative.contains(&self.kind)
    }

    /// Bytes of the field; `None` for what no kernel loader knows.
    pub(crate) fn width(&self) -> Option<u64> {
        match self.kind {
            elf::R_X86_64_64 | elf::R_X86_64_PC64 => Some(8),
            elf::R_X86_64_32 | elf::R_X86_64_32S | elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => {
                Some(4)
            }
            elf::R_X86_64_NONE => Some(0),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    /// SHF_*.
    pub(crate) flags: u64,
    pub(crate) align: u64,
    /// Bytes of an entry of a mergeable section.
    pub(crate) entry_size: u64,
    pub(crate) size: u64,
    /// Empty for a section without contents in the file.
    pub(crate) data: &'a [u8],
    /// By offset.
    pub(crate) relocations: Vec<Relocation>,
}

impl Section<'_> {
    pub(crate) fn has(&self, flag: elf::SectionFlags) -> bool {
        self.flags & flag.0 != 0
    }

    pub(crate) fn is_code(&self) -> bool {
        self.has(elf::SHF_ALLOC) && self.has(elf::SHF_EXECINSTR)
    }

    pub(crate) fn is_text(&self) -> bool {
        self.has(elf::SHF_MERGE) && self.has(elf::SHF_STRINGS)
    }

    pub(crate) fn is_mergeable(&self) -> bool {
        self.has(elf::SHF_MERGE) && !self.has(elf::SHF_STRINGS) && self.entry_size > 0
    }

    /// Where the text ends that an offset lies in, its terminator included.
    pub(crate) fn text_end(&self, offset: u64) -> u64 {
        let rest = self.bytes(offset, self.size);
        let length = rest.iter().position(|byte| *byte == 0).map_or(rest.len(), |zero| zero + 1);
        offset.saturating_add(length as u64)
    }

    /// The bytes from one offset to another, as far as there are any.
    pub(crate) fn bytes(&self, start: u64, end: u64) -> &[u8] {
        let clamp = |offset: u64| (offset.min(self.data.len() as u64)) as usize;
        self.data.get(clamp(start)..clamp(end)).unwrap_or(&[])
    }
}

#[derive(Debug)]
pub(crate) struct ObjectFile<'a> {
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) symbols: Vec<Symbol<'a>>,
}

impl<'a> ObjectFile<'a> {
    /// Reads a relocatable x86-64 object.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        let file = ElfFile64::<Endianness>::parse(bytes).map_err(malformed)?;
        let header = file.elf_header();
        let is_object = header.e_type(file.endian()) == elf::ET_REL
            && header.e_machine(file.endian()) == elf::EM_X86_64;
        if !is_object {
            return Err(Reason::Malformed("not relocatable, or another machine".into()));
        }
        let mut object = Self { sections: Vec::new(), symbols: Vec::new() };
        // Index 0 stands for none in both tables, so indices can stay as they are in the file.
        object.sections.push(Section::none());
        for section in file.sections() {
            let index = section.index().0;
            while object.sections.len() < index {
                object.sections.push(Section::none());
            }
            object.sections.push(Section::read(&section)?);
        }
        object.symbols.push(Symbol::none());
        for symbol in file.symbols() {
            while object.symbols.len() < symbol.index().0 {
                object.symbols.push(Symbol::none());
            }
            let symbol = Symbol::read(&symbol, &object.sections)?;
            object.symbols.push(symbol);
        }
        object.check_relocations()?;
        Ok(object)
    }

    pub(crate) fn symbol(&self, relocation: &Relocation) -> Option<&Symbol<'a>> {
        self.symbols.get(relocation.symbol)
    }

    fn check_relocations(&self) -> Result<(), Reason> {
        for section in &self.sections {
            for relocation in section.relocations.iter().filter(|_| section.has(elf::SHF_ALLOC)) {
                let end = relocation.width().and_then(|width| relocation.offset.checked_add(width));
                let fits = end.is_some_and(|end| end <= section.size);
                if !fits || relocation.symbol >= self.symbols.len() {
                    let (offset, name) = (relocation.offset, section.name);
                    let what = format!("relocation of {name}+{offset:#x} is of no known kind");
                    return Err(Reason::Malformed(what));
                }
            }
        }
        Ok(())
    }
}

impl<'a> Section<'a> {
    fn none() -> Self {
        Self {
            name: "",
            flags: 0,
            align: 1,
            entry_size: 0,
            size: 0,
            data: &[],
            relocations: Vec::new(),
        }
    }

    fn read(section: &object::read::elf::ElfSection64<'a, '_, Endianness>) -> Result<Self, Reason> {
        let SectionFlags::Elf { sh_type, sh_flags } = section.flags() else {
            return Err(Reason::Malformed("section without flags".into()));
        };
        let header = section.elf_section_header();
        let has_bytes = sh_type != elf::SHT_NOBITS;
        let data = if has_bytes { section.data().map_err(malformed)? } else { &[] };
        let align = section.align().max(1);
        let is_sound =
            section.size() <= LARGEST_SECTION && align.is_power_of_two() && align <= LARGEST_ALIGN;
        if !is_sound {
            return Err(Reason::Malformed("section of an impossible size or alignment".into()));
        }
        let mut relocations = Vec::new();
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
            if r_type == elf::R_X86_64_NONE {
                continue;
            }
            let symbol = match relocation.target() {
                RelocationTarget::Symbol(symbol) => symbol.0,
                _ => 0,
            };
            let addend = relocation.addend();
            relocations.push(Relocation { offset, kind: r_type, symbol, addend });
        }
        relocations.sort_by_key(|relocation| relocation.offset);
        Ok(Self {
            name: section.name().map_err(malformed)?,
            flags: sh_flags.0,
            align,
            entry_size: header.sh_entsize.get(Endianness::Little),
            size: section.size(),
            data,
            relocations,
        })
    }
}

impl<'a> Symbol<'a> {
    fn none() -> Self {
        Self {
            name: "",
            place: Place::Undefined,
            value: 0,
            size: 0,
            kind: elf::STT_NOTYPE,
            is_local: true,
            is_weak: false,
        }
    }

    fn read(
        symbol: &object::read::elf::ElfSymbol64<'a, '_, Endianness>,
        sections: &[Section<'a>],
    ) -> Result<Self, Reason> {
        let SymbolFlags::Elf { st_info, .. } = symbol.flags() else {
            return Err(Reason::Malformed("symbol without kind".into()));
        };
        let mut name = symbol.name().map_err(malformed)?;
        let place = match symbol.section() {
            object::SymbolSection::Section(index) => Place::Section(index.0),
            object::SymbolSection::Undefined => Place::Undefined,
            object::SymbolSection::Common => {
                return Err(Reason::Malformed(format!("{name} is a common symbol")));
            }
            _ => Place::Absolute,
        };
        if let Place::Section(index) = place {
            let section = sections
                .get(index)
                .ok_or_else(|| Reason::Malformed(format!("{name} is in no section")))?;
            if st_info.st_type() == elf::STT_SECTION {
                name = section.name;
            }
            let end = symbol.address().checked_add(symbol.size());
            if end.is_none_or(|end| end > section.size) {
                return Err(Reason::Malformed(format!("{name} does not fit into its section")));
            }
        }
        Ok(Self {
            name,
            place,
            value: symbol.address(),
            size: symbol.size(),
            kind: st_info.st_type(),
            is_local: st_info.st_bind() == elf::STB_LOCAL,
            is_weak: st_info.st_bind() == elf::STB_WEAK,
        })
    }
}

fn malformed(error: object::read::Error) -> Reason {
    Reason::Malformed(error.to_string())
}
