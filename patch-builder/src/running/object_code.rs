//! The functions of a compiled object, with what its tables say about their bytes.

use std::collections::BTreeMap;

use lucos_object_diff::SpecialSizes;
use object::read::elf::{ElfFile64, ElfSymbol64, SectionHeader};
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SectionIndex, SymbolKind, elf,
};

use super::error::Error;
use super::instructions::{branch_target, decode};

/// Tables whose entries name places that the kernel rewrites during boot or later.
const REWRITTEN: [&str; 9] = [
    "__jump_table",
    ".static_call_sites",
    ".smp_locks",
    ".retpoline_sites",
    ".return_sites",
    ".call_sites",
    ".ibt_endbr_seal",
    ".altinstructions",
    ".parainstructions",
];
/// The same for values that are known after boot; the rest of the name is the variable's.
const RUNTIME_CONSTANTS: &str = "runtime_";

/// A field that a linker fills in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// ELF relocation type.
    pub kind: u32,
    /// What it refers to; empty for a section.
    pub symbol: String,
    /// What is added to the symbol's address.
    pub addend: i64,
    /// Objects share the symbol.
    pub is_global: bool,
    /// What the object has there.
    pub target: Option<Target>,
}

/// What a field's symbol stands for in the object itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A function.
    Function {
        /// Its name.
        name: String,
        /// Where it begins, in bytes from the symbol.
        start: i64,
    },
    /// Strings or constants that the linker merges.
    Constants {
        /// Number of the section, see [`ObjectCode::constants`].
        section: usize,
        /// The symbol's offset in it.
        start: u64,
    },
}

/// A section whose equal entries become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constants {
    bytes: Vec<u8>,
    /// Bytes of an entry; `None` for texts that end with a zero.
    entry: Option<u64>,
}

impl Constants {
    /// What stands from an offset to the end of its entry.
    #[must_use]
    pub fn rest_of_entry(&self, offset: u64) -> Option<&[u8]> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let length = match self.entry {
            None => rest.iter().position(|byte| *byte == 0)? + 1,
            Some(size) => usize::try_from(size - offset.checked_rem(size)?).ok()?,
        };
        rest.get(..length)
    }
}

/// A place in a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function.
    pub function: String,
    /// Bytes from its start.
    pub offset: u64,
}

/// A function of an object.
#[derive(Debug, Clone, Default)]
pub struct Code {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The fields in it, by offset.
    pub fields: BTreeMap<u64, Field>,
    /// Branches to other functions of the section whose distance the assembler knew, by the offset
    /// of the instruction.
    pub neighbours: BTreeMap<u64, Place>,
    /// Places that the kernel rewrites, by offset, with the number of bytes; 0: one instruction.
    pub rewritten: BTreeMap<u64, u64>,
    /// Another object may define it too, and win.
    pub is_weak: bool,
    /// The name of its section.
    pub section: String,
}

impl Code {
    /// It is gone after boot: a patch does not touch it, and its tables may differ.
    pub(super) fn is_boot_only(&self) -> bool {
        let starts = [".init", ".exit", ".meminit", ".cpuinit"];
        starts.iter().any(|start| self.section.starts_with(start))
    }

    /// What was found of it may be another object's.
    pub(super) fn is_uncertain(&self) -> bool {
        self.is_weak || self.is_boot_only()
    }
}

/// The functions of an object.
#[derive(Debug, Default)]
pub struct ObjectCode {
    /// By name.
    pub functions: BTreeMap<String, Code>,
    /// Strings and constants, by the number of their section.
    pub constants: BTreeMap<usize, Constants>,
}

/// Where a function is in its object.
struct Extent {
    section: SectionIndex,
    start: u64,
    end: u64,
    function: String,
}

impl Extent {
    fn contains(&self, offset: u64) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

impl ObjectCode {
    /// Reads an object that has a section for each function.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(name: &str, bytes: &[u8], sizes: &SpecialSizes) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { object: name.to_owned(), reason };
        let file: ElfFile64<'_, LittleEndian> =
            ElfFile64::parse(bytes).map_err(|error| malformed(error.to_string()))?;
        let constants = constants(&file);
        let targets = Targets { starts: function_starts(&file), constants: &constants };
        let mut functions = BTreeMap::new();
        let mut places: Vec<Extent> = Vec::new();
        for symbol in file.symbols() {
            let (Ok(function), Some(index)) = (symbol.name(), symbol.section_index()) else {
                continue;
            };
            if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
                continue;
            }
            let section =
                file.section_by_index(index).map_err(|error| malformed(error.to_string()))?;
            let (start, end) = (symbol.address(), symbol.address() + symbol.size());
            let data = section.data().map_err(|error| malformed(error.to_string()))?;
            let bytes = range(data, start, end)
                .ok_or_else(|| malformed(format!("{function} ends behind its section")))?;
            let fields = section
                .relocations()
                .filter(|(offset, _)| (start..end).contains(offset))
                // What is left of a static branch that the object checker has taken out.
                .filter(|(_, relocation)| !is_none(relocation))
                .map(|(offset, relocation)| (offset - start, targets.field(&file, &relocation)))
                .collect();
            let code = Code {
                bytes: bytes.to_vec(),
                fields,
                neighbours: BTreeMap::new(),
                rewritten: BTreeMap::new(),
                is_weak: symbol.is_weak(),
                section: section.name().unwrap_or_default().to_owned(),
            };
            places.push(Extent { section: index, start, end, function: function.to_owned() });
            functions.insert(function.to_owned(), code);
        }
        let mut code = Self { functions, constants };
        code.add_neighbours(&places);
        code.add_rewritten(&file, &places, sizes);
        Ok(code)
    }

    fn add_neighbours(&mut self, places: &[Extent]) {
        for own in places {
            let others: Vec<&Extent> =
                places.iter().filter(|other| other.section == own.section).collect();
            let Some(code) = self.functions.get_mut(&own.function).filter(|_| others.len() > 1)
            else {
                continue;
            };
            for one in decode(&code.bytes, own.start, usize::MAX) {
                let at = one.ip().wrapping_sub(own.start);
                let end = one.next_ip().wrapping_sub(own.start);
                let Some(target) = branch_target(&one).filter(|target| !own.contains(*target))
                else {
                    continue;
                };
                let found = others.iter().find(|other| other.contains(target));
                if let Some(other) = found.filter(|_| code.fields.range(at..end).next().is_none()) {
                    let (function, offset) = (other.function.clone(), target - other.start);
                    code.neighbours.insert(at, Place { function, offset });
                }
            }
        }
    }

    fn add_rewritten(
        &mut self,
        file: &ElfFile64<'_, LittleEndian>,
        places: &[Extent],
        sizes: &SpecialSizes,
    ) {
        for section in file.sections() {
            let name = section.name().unwrap_or_default();
            if !REWRITTEN.contains(&name) && !name.starts_with(RUNTIME_CONSTANTS) {
                continue;
            }
            let data = section.data().unwrap_or_default();
            for (offset, relocation) in section.relocations() {
                let Some((index, at)) = place_of(file, &relocation) else {
                    continue;
                };
                let length = length_of_site(name, data, offset, sizes);
                let function =
                    places.iter().find(|place| place.section == index && place.contains(at));
                if let Some(place) = function
                    && let Some(code) = self.functions.get_mut(&place.function)
                {
                    let known = code.rewritten.entry(at - place.start).or_default();
                    *known = length.max(*known);
                }
            }
        }
    }
}

fn range(data: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn is_none(relocation: &object::Relocation) -> bool {
    relocation.flags() == RelocationFlags::Elf { r_type: object::elf::R_X86_64_NONE }
}

/// Where each section's functions begin, with a name of each.
fn function_starts(file: &ElfFile64<'_, LittleEndian>) -> BTreeMap<usize, BTreeMap<u64, String>> {
    let mut starts: BTreeMap<usize, BTreeMap<u64, String>> = BTreeMap::new();
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        if let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) {
            let names = starts.entry(section.0).or_default();
            names.entry(symbol.address()).or_insert_with(|| name.to_owned());
        }
    }
    starts
}

/// The sections whose entries a linker merges.
fn constants(file: &ElfFile64<'_, LittleEndian>) -> BTreeMap<usize, Constants> {
    let list = file.sections().filter_map(|section| {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { return None };
        let size = section.elf_section_header().sh_entsize(LittleEndian);
        if !sh_flags.contains(elf::SHF_MERGE) || size == 0 {
            return None;
        }
        let is_text = sh_flags.contains(elf::SHF_STRINGS);
        if is_text && size != 1 {
            return None;
        }
        let bytes = section.data().ok()?.to_vec();
        Some((section.index().0, Constants { bytes, entry: (!is_text).then_some(size) }))
    });
    list.collect()
}

/// What fields can refer to in the object.
struct Targets<'a> {
    starts: BTreeMap<usize, BTreeMap<u64, String>>,
    constants: &'a BTreeMap<usize, Constants>,
}

impl Targets<'_> {
    fn field(&self, file: &ElfFile64<'_, LittleEndian>, relocation: &object::Relocation) -> Field {
        let kind = match relocation.flags() {
            RelocationFlags::Elf { r_type } => r_type.0,
            _ => 0,
        };
        let addend = relocation.addend();
        let symbol = match relocation.target() {
            RelocationTarget::Symbol(index) => file.symbol_by_index(index).ok(),
            _ => None,
        };
        let Some(symbol) = symbol else {
            return Field { kind, symbol: String::new(), addend, is_global: false, target: None };
        };
        let is_section = symbol.kind() == SymbolKind::Section;
        let name = if is_section { "" } else { symbol.name().unwrap_or_default() };
        let is_global = !name.is_empty() && !symbol.is_local();
        Field { kind, symbol: name.to_owned(), addend, is_global, target: self.target(&symbol) }
    }

    fn target(&self, symbol: &ElfSymbol64<'_, '_, LittleEndian>) -> Option<Target> {
        let section = symbol.section_index()?;
        if self.constants.contains_key(&section.0) {
            return Some(Target::Constants { section: section.0, start: symbol.address() });
        }
        if symbol.kind() == SymbolKind::Text {
            let name = symbol.name().ok()?.to_owned();
            return Some(Target::Function { name, start: 0 });
        }
        // Functions of one section may be elsewhere in the code that runs.
        let starts = self.starts.get(&section.0).filter(|starts| starts.len() == 1)?;
        let (start, name) = starts.first_key_value()?;
        let start = start.cast_signed().wrapping_sub(symbol.address().cast_signed());
        Some(Target::Function { name: name.clone(), start })
    }
}

/// The section and offset that an entry's relocation refers to.
fn place_of(
    file: &ElfFile64<'_, LittleEndian>,
    relocation: &object::Relocation,
) -> Option<(SectionIndex, u64)> {
    let RelocationTarget::Symbol(index) = relocation.target() else {
        return None;
    };
    let symbol = file.symbol_by_index(index).ok()?;
    let at = symbol.address().checked_add_signed(relocation.addend())?;
    Some((symbol.section_index()?, at))
}

/// How many bytes of the code an entry is about, as far as the entry says.
fn length_of_site(table: &str, data: &[u8], offset: u64, sizes: &SpecialSizes) -> u64 {
    let (entry, length_at) = match table {
        // struct alt_instr ends with the length of the site and that of the replacement.
        ".altinstructions" => (sizes.alt_instr, sizes.alt_instr.saturating_sub(2)),
        // struct paravirt_patch_site: the address, a type, the length.
        ".parainstructions" => (sizes.paravirt_site, 9),
        ".smp_locks" => return 1,
        _ => return 0,
    };
    // Only the first field of an entry is the site.
    if entry == 0 || !offset.is_multiple_of(entry) {
        return 0;
    }
    let at = usize::try_from(offset + length_at).ok();
    at.and_then(|at| data.get(at)).map_or(0, |length| u64::from(*length))
}
