//! The object that a cut-out becomes.

use std::collections::BTreeMap;

use object::elf;
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionFlags, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope,
};

/// Bytes that have been put somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) section: SectionId,
    pub(crate) offset: u64,
}

/// What a symbol of the new object names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    Function,
    Data,
}

/// An ELF object being made.
pub(crate) struct Writer {
    object: Object<'static>,
    sections: BTreeMap<String, SectionId>,
    undefined: BTreeMap<String, SymbolId>,
    absolute: BTreeMap<i64, SymbolId>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let mut writer = Self {
            object,
            sections: BTreeMap::new(),
            undefined: BTreeMap::new(),
            absolute: BTreeMap::new(),
        };
        // No executable stack.
        writer.section(".note.GNU-stack", 0, elf::SHT_PROGBITS.0);
        writer
    }

    /// Puts bytes into a section, which is made with these flags (SHF_*) when it is not there.
    pub(crate) fn place(&mut self, section: &str, flags: u64, bytes: &[u8], align: u64) -> Placed {
        let section = self.section(section, flags, elf::SHT_PROGBITS.0);
        let offset = self.object.append_section_data(section, bytes, align);
        Placed { section, offset }
    }

    /// Names bytes that have been put somewhere.
    pub(crate) fn define(
        &mut self,
        name: &str,
        placed: Placed,
        size: u64,
        naming: Naming,
        is_local: bool,
    ) -> SymbolId {
        let kind = match naming {
            Naming::Function => SymbolKind::Text,
            Naming::Data => SymbolKind::Data,
        };
        let scope = if is_local { SymbolScope::Compilation } else { SymbolScope::Dynamic };
        self.object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value: placed.offset,
            size,
            kind,
            scope,
            weak: false,
            section: SymbolSection::Section(placed.section),
            flags: SymbolFlags::None,
        })
    }

    /// The symbol of a section.
    pub(crate) fn section_symbol(&mut self, section: SectionId) -> SymbolId {
        self.object.section_symbol(section)
    }

    /// The place of a symbol as its section's symbol and an offset; `None` when another object
    /// defines it.
    pub(crate) fn in_section(&mut self, symbol: SymbolId) -> Option<(SymbolId, u64)> {
        let found = self.object.symbol(symbol);
        let value = found.value;
        let SymbolSection::Section(section) = found.section else { return None };
        Some((self.section_symbol(section), value))
    }

    /// The name of a symbol.
    pub(crate) fn name(&self, symbol: SymbolId) -> String {
        self.object.symbol(symbol).name().unwrap_or_default().to_owned()
    }

    /// A symbol that another object defines.
    pub(crate) fn undefined(&mut self, name: &str) -> SymbolId {
        if let Some(symbol) = self.undefined.get(name) {
            return *symbol;
        }
        let symbol = self.object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value: 0,
            size: 0,
            kind: SymbolKind::Unknown,
            scope: SymbolScope::Unknown,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        self.undefined.insert(name.to_owned(), symbol);
        symbol
    }

    /// A symbol that is a number.
    pub(crate) fn absolute(&mut self, value: i64) -> SymbolId {
        if let Some(symbol) = self.absolute.get(&value) {
            return *symbol;
        }
        let symbol = self.object.add_symbol(Symbol {
            name: format!("lucos_absolute_{value:x}").into_bytes(),
            value: value as u64,
            size: 0,
            kind: SymbolKind::Data,
            scope: SymbolScope::Compilation,
            weak: false,
            section: SymbolSection::Absolute,
            flags: SymbolFlags::None,
        });
        self.absolute.insert(value, symbol);
        symbol
    }

    /// Makes a field of bytes that have been put somewhere refer to a symbol. Nothing when the
    /// field is not in the section.
    pub(crate) fn relocate(
        &mut self,
        placed: Placed,
        at: u64,
        kind: elf::RelocationType,
        symbol: SymbolId,
        addend: i64,
    ) -> Result<(), object::write::Error> {
        let flags = RelocationFlags::Elf { r_type: kind };
        let offset = placed.offset + at;
        self.object.add_relocation(placed.section, Relocation { offset, symbol, addend, flags })
    }

    /// Changes bytes that have been put somewhere; false when they are not there.
    pub(crate) fn overwrite(&mut self, placed: Placed, at: u64, bytes: &[u8]) -> bool {
        let from = (placed.offset + at) as usize;
        let data = self.object.section_mut(placed.section).data_mut();
        let Some(field) = data.get_mut(from..from + bytes.len()) else { return false };
        field.copy_from_slice(bytes);
        true
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, object::write::Error> {
        self.object.write()
    }

    fn section(&mut self, name: &str, flags: u64, kind: u32) -> SectionId {
        if let Some(section) = self.sections.get(name) {
            return *section;
        }
        let sort = if flags & elf::SHF_EXECINSTR.0 != 0 {
            SectionKind::Text
        } else if flags & elf::SHF_WRITE.0 != 0 {
            SectionKind::Data
        } else {
            SectionKind::ReadOnlyData
        };
        let id = self.object.add_section(Vec::new(), name.as_bytes().to_vec(), sort);
        let section = self.object.section_mut(id);
        section.flags = SectionFlags::Elf {
            sh_type: elf::SectionType(kind),
            sh_flags: elf::SectionFlags(flags),
        };
        self.sections.insert(name.to_owned(), id);
        id
    }
}
