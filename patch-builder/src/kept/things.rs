//! What a patch has of its own in memory: functions, variables, constants.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SymbolKind, elf,
};
use serde::Serialize;

/// What new versions of functions are called, in front of their old names.
const NEW: &str = "lucos_new_";
/// Most characters of a text that are shown.
const SHOWN: usize = 40;

/// What sort of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A function.
    Function,
    /// A text.
    Text,
    /// Data that is not written to.
    Constant,
    /// Data that may be written to.
    Variable,
}

/// Something of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thing {
    pub(super) place: Place,
    pub(super) end: u64,
    pub(super) name: String,
    /// What it is called in the cut-out; empty for what has no symbol.
    pub(super) symbol: String,
    pub(super) kind: Kind,
}

/// Bytes of a cut-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) payload: usize,
    pub(super) section: usize,
    pub(super) offset: u64,
}

/// What a field refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// Something of the patch.
    Own(Place),
    /// What the kernel has, by the symbol's name.
    Other(String),
}

/// A field that a linker fills in.
#[derive(Debug, Clone)]
pub(super) struct Field {
    symbol: usize,
    addend: i64,
    /// The distance counts from the end of the instruction.
    is_relative: bool,
}

#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) bytes: Vec<u8>,
    pub(super) fields: BTreeMap<u64, Field>,
    is_code: bool,
    is_writable: bool,
    is_loaded: bool,
}

#[derive(Debug, Clone, Default)]
struct Symbol {
    name: String,
    /// Section and offset.
    place: Option<(usize, u64)>,
    size: u64,
    is_function: bool,
    is_section: bool,
    is_undefined: bool,
    is_global: bool,
}

#[derive(Debug)]
struct Payload {
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
}

/// The cut-outs of a patch.
#[derive(Debug)]
pub(super) struct Things {
    payloads: Vec<Payload>,
    /// Things by where they begin.
    list: BTreeMap<Place, Thing>,
    /// Symbols that the cut-outs share.
    shared: BTreeMap<String, Place>,
}

impl Things {
    /// Reads cut-outs.
    pub(super) fn read(payloads: &[Vec<u8>]) -> Result<Self, String> {
        let payloads: Vec<Payload> =
            payloads.iter().map(|bytes| Payload::read(bytes)).collect::<Result<_, _>>()?;
        let mut things = Self { payloads, list: BTreeMap::new(), shared: BTreeMap::new() };
        things.add_named();
        things.add_nameless();
        Ok(things)
    }

    pub(super) fn section(&self, place: Place) -> Option<&Section> {
        self.payloads.get(place.payload)?.sections.get(place.section)
    }

    /// All things, in an order that stays.
    pub(super) fn all(&self) -> impl Iterator<Item = &Thing> {
        self.list.values()
    }

    /// Where symbols that the cut-outs share are.
    pub(super) fn symbols(&self, names: &BTreeSet<&str>) -> BTreeSet<Place> {
        let known = self.shared.iter().filter(|(name, _)| names.contains(name.as_str()));
        known.map(|(_, place)| *place).collect()
    }

    /// The parts that were split off a function.
    pub(super) fn parts_of(&self, function: &Thing) -> Vec<&Thing> {
        let start = format!("{}.cold", function.symbol);
        let is_part =
            |thing: &&Thing| thing.place.payload == function.place.payload && thing.symbol == start;
        self.functions().filter(is_part).collect()
    }

    /// The functions, those split off others included.
    pub(super) fn functions(&self) -> impl Iterator<Item = &Thing> {
        self.list.values().filter(|thing| thing.kind == Kind::Function)
    }

    pub(super) fn at(&self, place: Place) -> Option<&Thing> {
        self.list.get(&place)
    }

    /// The thing that bytes belong to; of code only a function's start.
    pub(super) fn around(&self, place: Place) -> Option<&Thing> {
        let (start, thing) = self.list.range(..=place).next_back()?;
        let is_same = start.payload == place.payload && start.section == place.section;
        let is_inside = place.offset < thing.end || place.offset == start.offset;
        let is_start = thing.kind != Kind::Function || start.offset == place.offset;
        (is_same && is_inside && is_start).then_some(thing)
    }

    /// The function that code belongs to.
    pub(super) fn function_around(&self, place: Place) -> Option<&Thing> {
        let (start, thing) = self.list.range(..=place).next_back()?;
        let is_same = start.payload == place.payload && start.section == place.section;
        (is_same && thing.kind == Kind::Function && place.offset < thing.end).then_some(thing)
    }

    /// What a field refers to; `behind` is the distance from it to the end of its instruction.
    pub(super) fn target(&self, payload: usize, field: &Field, behind: u64) -> Option<Reference> {
        let symbol = self.payloads.get(payload)?.symbols.get(field.symbol)?;
        if symbol.is_undefined {
            return Some(match self.shared.get(&symbol.name) {
                Some(place) => Reference::Own(*place),
                None => Reference::Other(symbol.name.clone()),
            });
        }
        let (section, start) = symbol.place?;
        let behind = if field.is_relative { behind } else { 0 };
        let distance = field.addend.wrapping_add(behind.cast_signed());
        let is_code = self.payloads.get(payload)?.sections.get(section)?.is_code;
        // A table may be referred to by a place in front of it, with an index that makes up for it.
        let offset =
            if symbol.is_section || is_code { start.checked_add_signed(distance)? } else { start };
        Some(Reference::Own(Place { payload, section, offset }))
    }

    /// What the data of a thing refers to.
    pub(super) fn held_by<'a>(&'a self, thing: &'a Thing) -> impl Iterator<Item = &'a Thing> + 'a {
        let range = thing.place.offset..thing.end.max(thing.place.offset);
        let is_data = thing.kind != Kind::Function;
        let section = self.section(thing.place).filter(|_| is_data);
        let fields =
            section.into_iter().flat_map(move |section| section.fields.range(range.clone()));
        fields.filter_map(|(_, field)| match self.target(thing.place.payload, field, 0)? {
            Reference::Own(place) => self.around(place),
            Reference::Other(_) => None,
        })
    }

    fn add_named(&mut self) {
        for (number, payload) in self.payloads.iter().enumerate() {
            for symbol in payload.symbols.iter().filter(|symbol| !symbol.is_section) {
                let Some((section, offset)) = symbol.place else { continue };
                let Some(home) = payload.sections.get(section).filter(|home| home.is_loaded) else {
                    continue;
                };
                let place = Place { payload: number, section, offset };
                if symbol.is_global {
                    self.shared.insert(symbol.name.clone(), place);
                }
                let kind = match (symbol.is_function, home.is_writable) {
                    (true, _) => Kind::Function,
                    (false, true) => Kind::Variable,
                    (false, false) => Kind::Constant,
                };
                let bytes = range(&home.bytes, offset, offset.saturating_add(symbol.size));
                let own_name = text(bytes).filter(|_| is_functions_name(&symbol.name));
                let (name, kind) = match own_name {
                    Some(text) => (quoted(text), Kind::Text),
                    None => (shown(&symbol.name).to_owned(), kind),
                };
                let (end, symbol) = (offset.saturating_add(symbol.size), symbol.name.clone());
                let thing = Thing { place, end, name, symbol, kind };
                self.list.insert(place, thing);
            }
        }
    }

    /// Constants have no symbols: they are what fields refer to.
    fn add_nameless(&mut self) {
        let mut starts: Vec<Place> = Vec::new();
        for (payload, one) in self.payloads.iter().enumerate() {
            for (section, home) in one.sections.iter().enumerate() {
                for (at, field) in &home.fields {
                    let place = Place { payload, section, offset: *at };
                    let behind = if home.is_code { self.behind(place) } else { 0 };
                    if let Some(Reference::Own(target)) = self.target(payload, field, behind) {
                        starts.push(target);
                    }
                }
            }
        }
        starts.sort();
        starts.dedup();
        starts.retain(|place| {
            let is_data = self.section(*place).is_some_and(|home| home.is_loaded && !home.is_code);
            is_data && self.around(*place).is_none()
        });
        for (number, place) in starts.iter().enumerate() {
            let Some(home) = self.section(*place) else { continue };
            let next = starts
                .get(number + 1)
                .filter(|next| (next.payload, next.section) == (place.payload, place.section));
            let limit = next.map_or(home.bytes.len() as u64, |next| next.offset);
            let bytes = range(&home.bytes, place.offset, limit);
            let (name, kind, end) = match text(bytes) {
                Some(text) => {
                    let length = text.len() as u64 + 1;
                    (quoted(text), Kind::Text, place.offset.saturating_add(length))
                }
                None => (format!("a constant of {} bytes", bytes.len()), Kind::Constant, limit),
            };
            let symbol = String::new();
            self.list.insert(*place, Thing { place: *place, end, name, symbol, kind });
        }
    }

    /// Bytes from a field in code to the end of its instruction.
    fn behind(&self, place: Place) -> u64 {
        let function = self.function_around(place);
        let code = function.and_then(|function| {
            let bytes = &self.section(place)?.bytes;
            Some((function.place.offset, range(bytes, function.place.offset, function.end)))
        });
        let Some((start, bytes)) = code else { return 4 };
        let instructions = crate::running::decode(bytes, start, usize::MAX);
        let found = instructions.iter().find(|one| one.next_ip() > place.offset);
        found.map_or(4, |one| one.next_ip().saturating_sub(place.offset))
    }
}

impl Payload {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let file: ElfFile64<'_, LittleEndian> =
            ElfFile64::parse(bytes).map_err(|error| error.to_string())?;
        let mut sections = vec![Section::default()];
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            let fields = section.relocations().filter_map(|(at, found)| Some((at, field(&found)?)));
            sections.resize_with(section.index().0, Section::default);
            sections.push(Section {
                bytes: section.data().map_err(|error| error.to_string())?.to_vec(),
                fields: fields.collect(),
                is_code: sh_flags.contains(elf::SHF_EXECINSTR),
                is_writable: sh_flags.contains(elf::SHF_WRITE),
                is_loaded: sh_flags.contains(elf::SHF_ALLOC),
            });
        }
        let mut symbols = vec![Symbol::default()];
        for symbol in file.symbols() {
            symbols.resize_with(symbol.index().0, Symbol::default);
            symbols.push(Symbol {
                name: symbol.name().unwrap_or_default().to_owned(),
                place: symbol.section_index().map(|section| (section.0, symbol.address())),
                size: symbol.size(),
                is_function: symbol.kind() == SymbolKind::Text,
                is_section: symbol.kind() == SymbolKind::Section,
                is_undefined: symbol.is_undefined(),
                is_global: symbol.is_global(),
            });
        }
        Ok(Self { sections, symbols })
    }
}

fn field(relocation: &object::Relocation) -> Option<Field> {
    let RelocationFlags::Elf { r_type } = relocation.flags() else { return None };
    let RelocationTarget::Symbol(symbol) = relocation.target() else { return None };
    let relative = [elf::R_X86_64_PC32, elf::R_X86_64_PLT32, elf::R_X86_64_PC64];
    let is_relative = relative.contains(&r_type);
    Some(Field { symbol: symbol.0, addend: relocation.addend(), is_relative })
}

pub(super) fn range(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    let clamp = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(clamp(start)..clamp(end)).unwrap_or_default()
}

/// The text that bytes begin with, if it is one for people.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let text = bytes.split(|byte| *byte == 0).next().filter(|text| text.len() < bytes.len())?;
    let rest = bytes.get(text.len()..).unwrap_or_default();
    let is_padded = rest.iter().all(|byte| *byte == 0);
    // The first bytes of a message of the kernel say how important it is.
    let is_readable =
        |byte: &u8| byte.is_ascii_graphic() || b" \n\t\x01".contains(byte) || *byte >= 0x80;
    (is_padded && text.iter().all(is_readable)).then_some(text)
}

fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start_matches('\u{1}');
    let short: String = text.chars().take(SHOWN).collect();
    let rest = if short.len() < text.len() { "..." } else { "" };
    format!("\"{}{rest}\"", short.escape_default())
}

/// What C has as the name of the function that it is used in.
fn is_functions_name(symbol: &str) -> bool {
    let name = symbol.split('.').next().unwrap_or_default();
    ["__func__", "__FUNCTION__", "__PRETTY_FUNCTION__"].contains(&name)
}

/// A name as in the source, for new versions of functions.
fn shown(symbol: &str) -> &str {
    let Some(name) = symbol.strip_prefix(NEW) else { return symbol };
    let tag = name
        .rsplit_once('.')
        .filter(|(_, tag)| tag.len() == 8 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()));
    tag.map_or(name, |(name, _)| name)
}
