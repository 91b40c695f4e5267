//! What the debug information of an object tells: layouts of structures, parameters of functions,
//! what was inlined where, the variables that are always there, and the source of each instruction.

mod field_kind;
mod lines;
mod signature;
mod types;
mod variables;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use gimli::{
    AttributeValue, DebuggingInformationEntry, Dwarf, EndianReader, EntriesTreeNode, LittleEndian,
    Reader as _, Unit, UnitOffset,
};
use object::elf;

use crate::object_file::{ObjectFile, Place, Section};

pub(crate) use field_kind::FieldKind;
pub(crate) use lines::{Lines, Place as SourcePlace};
pub(crate) use signature::Signature;
pub(crate) use variables::StaticVariable;

type Reader = EndianReader<LittleEndian, Rc<[u8]>>;
type Die<'abbrev, 'unit> = DebuggingInformationEntry<'abbrev, 'unit, Reader>;

/// How deep types may be nested.
const DEEPEST: u32 = 32;

/// A structure or union.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// In bytes.
    pub(crate) size: u64,
    /// The C file itself defines it, so that no other object knows its fields.
    pub(crate) is_private: bool,
    pub(crate) fields: Vec<Field>,
}

/// A field, those of nameless parts included. Offsets and sizes in bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) kind: Rc<FieldKind>,
}

/// What an object's debug information tells; nothing when there is none.
#[derive(Debug, Default)]
pub(crate) struct DebugInfo {
    /// By name, with `struct` or `union` in front; those without one by that of their typedef.
    pub(crate) layouts: BTreeMap<String, Layout>,
    /// By the function's name in the source.
    pub(crate) signatures: BTreeMap<String, Signature>,
    /// The functions that are inlined into a function, by names in the source.
    pub(crate) inlined: BTreeMap<String, BTreeSet<String>>,
    /// In the order of the source, as far as they are in one function.
    pub(crate) variables: Vec<StaticVariable>,
    /// The functions that are defined, with the line of their names.
    pub(crate) functions: Vec<(String, SourcePlace)>,
    pub(crate) lines: Lines,
}

impl DebugInfo {
    /// Reads it; what cannot be read is left out.
    pub(crate) fn read(file: &ObjectFile<'_>) -> Self {
        let load = |id: gimli::SectionId| -> Result<Reader, gimli::Error> {
            let section = file.sections.iter().find(|section| section.name == id.name());
            let bytes = section.map_or_else(Vec::new, |section| relocated(file, section));
            Ok(EndianReader::new(bytes.into(), LittleEndian))
        };
        let mut info = Self::default();
        let Ok(dwarf) = Dwarf::load(load) else { return info };
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            let Ok(unit) = dwarf.unit(header) else { continue };
            let walk = Walk { dwarf: &dwarf, unit: &unit, kinds: RefCell::default() };
            walk.unit(&mut info);
            walk.variables(&mut info);
            walk.lines(&mut info.lines);
        }
        info.lines.sort();
        info
    }
}

/// Bits of an address that are the offset in a section; above them is the section's number, from 1.
const SECTION_SHIFT: u32 = 40;

/// The section and the offset that an address stands for.
fn place_in_object(address: u64) -> Option<(usize, u64)> {
    let section = usize::try_from(address >> SECTION_SHIFT).ok()?.checked_sub(1)?;
    Some((section, address & ((1 << SECTION_SHIFT) - 1)))
}

fn address_of(section: usize, offset: u64) -> u64 {
    ((section as u64 + 1) << SECTION_SHIFT) | offset
}

/// The bytes of a debug section with its references to others filled in, those to code and data with
/// the number of the section.
fn relocated(file: &ObjectFile<'_>, section: &Section<'_>) -> Vec<u8> {
    if section.has(elf::SHF_COMPRESSED) {
        return Vec::new();
    }
    let mut bytes = section.data.to_vec();
    for relocation in &section.relocations {
        let Some(symbol) = file.symbol(relocation) else { continue };
        let base = match symbol.place {
            Place::Undefined => 0,
            Place::Section(home)
                if file.sections.get(home).is_some_and(|home| home.has(elf::SHF_ALLOC)) =>
            {
                address_of(home, symbol.value) as i64
            }
            _ => symbol.value as i64,
        };
        let value = base.wrapping_add(relocation.addend).to_le_bytes();
        let width = relocation.width().unwrap_or(0) as usize;
        let start = relocation.offset as usize;
        let field = start.checked_add(width).and_then(|end| bytes.get_mut(start..end));
        if let (Some(field), Some(value)) = (field, value.get(..width)) {
            field.copy_from_slice(value);
        }
    }
    bytes
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

struct Walk<'d> {
    dwarf: &'d Dwarf<Reader>,
    unit: &'d Unit<Reader>,
    /// Of types that were met already.
    kinds: RefCell<BTreeMap<UnitOffset, Rc<FieldKind>>>,
}

impl Walk<'_> {
    fn unit(&self, info: &mut DebugInfo) {
        let Ok(mut tree) = self.unit.entries_tree(None) else { return };
        let Ok(root) = tree.root() else { return };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            self.top_level(child, info);
        }
    }

    fn top_level(&self, node: EntriesTreeNode<'_, '_, '_, Reader>, info: &mut DebugInfo) {
        let die = node.entry();
        match die.tag() {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => {
                let kind = if die.tag() == gimli::DW_TAG_union_type { "union" } else { "struct" };
                if let Some(name) = self.name(die)
                    && let Some(layout) = self.layout(die.offset())
                {
                    info.layouts.entry(format!("{kind} {name}")).or_insert(layout);
                }
            }
            gimli::DW_TAG_typedef => {
                if let Some(name) = self.name(die)
                    && let Some(kind) = self.reference(die, gimli::DW_AT_type)
                    && self.is_nameless(kind)
                    && let Some(layout) = self.layout(kind)
                {
                    info.layouts.entry(name).or_insert(layout);
                }
            }
            gimli::DW_TAG_subprogram => self.function(node, info),
            _ => {}
        }
    }

    fn function(&self, node: EntriesTreeNode<'_, '_, '_, Reader>, info: &mut DebugInfo) {
        let die = node.entry();
        let origin = self.reference(die, gimli::DW_AT_abstract_origin);
        let Some(name) = self.name(die).or_else(|| self.name_at(origin?)) else { return };
        if origin.is_none() {
            let signature = self.signature(die, 0);
            info.signatures.entry(name.clone()).or_insert(signature);
        }
        let inlined = info.inlined.entry(name).or_default();
        self.find_inlined(node, inlined, 0);
    }

    fn find_inlined(
        &self,
        node: EntriesTreeNode<'_, '_, '_, Reader>,
        found: &mut BTreeSet<String>,
        depth: u32,
    ) {
        if depth > DEEPEST {
            return;
        }
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let die = child.entry();
            if die.tag() == gimli::DW_TAG_inlined_subroutine {
                let origin = self.reference(die, gimli::DW_AT_abstract_origin);
                found.extend(origin.and_then(|origin| self.name_at(origin)));
            }
            self.find_inlined(child, found, depth + 1);
        }
    }

    fn layout(&self, offset: UnitOffset) -> Option<Layout> {
        let die = self.unit.entry(offset).ok()?;
        // A declaration has no size.
        let size = self.number(&die, gimli::DW_AT_byte_size)?;
        let is_private = self.is_in_main_file(&die);
        let mut layout = Layout { size, is_private, fields: Vec::new() };
        self.fields((offset, 0, ""), &mut layout.fields, 0);
        Some(layout)
    }

    /// Adds the fields of a structure at an offset in bits, with a prefix to their names.
    fn fields(
        &self,
        (structure, base, prefix): (UnitOffset, u64, &str),
        fields: &mut Vec<Field>,
        depth: u32,
    ) {
        let mut nameless = Vec::new();
        self.for_children(structure, |member| {
            if member.tag() != gimli::DW_TAG_member {
                return;
            }
            let byte = self.number(member, gimli::DW_AT_data_member_location).unwrap_or(0);
            let bit = self.number(member, gimli::DW_AT_data_bit_offset);
            let offset = base.wrapping_add(bit.unwrap_or(byte.wrapping_mul(8)));
            let kind = self.reference(member, gimli::DW_AT_type);
            let Some(name) = self.name(member) else {
                nameless.extend(kind.map(|kind| (kind, offset, prefix.to_owned())));
                return;
            };
            let bits = self.number(member, gimli::DW_AT_bit_size);
            let whole = || kind.map_or(0, |kind| self.size(kind, 0).wrapping_mul(8));
            let name = format!("{prefix}{name}");
            let inner = kind.and_then(|kind| self.nameless_element(kind));
            nameless.extend(inner.map(|(kind, mark)| (kind, offset, format!("{name}{mark}."))));
            let size = bits.unwrap_or_else(whole);
            fields.push(Field { name, offset, size, kind: self.field_kind(kind, bits.is_some()) });
        });
        for (kind, offset, prefix) in nameless.into_iter().filter(|_| depth < DEEPEST) {
            self.fields((kind, offset, &prefix), fields, depth + 1);
        }
    }

    /// The C file of this unit declares it, not a header.
    fn is_in_main_file(&self, die: &Die<'_, '_>) -> bool {
        let declared = || {
            let AttributeValue::FileIndex(index) =
                die.attr_value(gimli::DW_AT_decl_file).ok()??
            else {
                return None;
            };
            let header = self.unit.line_program.as_ref()?.header();
            let path = header.file(index)?.path_name();
            let path = self.dwarf.attr_string(self.unit, path).ok()?;
            Some(file_name(&path.to_string_lossy().ok()?).to_owned())
        };
        let main = || Some(file_name(&self.unit.name.as_ref()?.to_string_lossy().ok()?).to_owned());
        declared().is_some_and(|declared| main() == Some(declared))
    }

    /// The structure without a name that a member is, or whose first one it holds: with `[]` then.
    fn nameless_element(&self, mut kind: UnitOffset) -> Option<(UnitOffset, &'static str)> {
        let mut mark = "";
        for _ in 0..DEEPEST {
            let die = self.unit.entry(kind).ok()?;
            match die.tag() {
                gimli::DW_TAG_array_type => mark = "[]",
                gimli::DW_TAG_const_type | gimli::DW_TAG_volatile_type => {}
                _ => return self.is_nameless(kind).then_some((kind, mark)),
            }
            kind = self.reference(&die, gimli::DW_AT_type)?;
        }
        None
    }

    /// A structure or union that has no name itself.
    fn is_nameless(&self, kind: UnitOffset) -> bool {
        self.unit.entry(kind).is_ok_and(|die| {
            let is_aggregate =
                [gimli::DW_TAG_structure_type, gimli::DW_TAG_union_type].contains(&die.tag());
            is_aggregate && self.name(&die).is_none()
        })
    }

    /// Bytes of a type.
    fn size(&self, kind: UnitOffset, depth: u32) -> u64 {
        let Ok(die) = self.unit.entry(kind) else { return 0 };
        if let Some(size) = self.number(&die, gimli::DW_AT_byte_size) {
            return size;
        }
        let inner = self.reference(&die, gimli::DW_AT_type).filter(|_| depth < DEEPEST);
        let size = inner.map_or(0, |inner| self.size(inner, depth + 1));
        if die.tag() != gimli::DW_TAG_array_type {
            return size;
        }
        let mut count = 1_u64;
        self.for_children(kind, |range| {
            if range.tag() != gimli::DW_TAG_subrange_type {
                return;
            }
            count = count.wrapping_mul(self.count(range).unwrap_or(0));
        });
        size.wrapping_mul(count)
    }

    /// Elements of one dimension of an array.
    fn count(&self, range: &Die<'_, '_>) -> Option<u64> {
        let last = self.number(range, gimli::DW_AT_upper_bound).map(|last| last.wrapping_add(1));
        last.or_else(|| self.number(range, gimli::DW_AT_count))
    }

    fn for_children(&self, offset: UnitOffset, mut work: impl FnMut(&Die<'_, '_>)) {
        let Ok(mut tree) = self.unit.entries_tree(Some(offset)) else { return };
        let Ok(root) = tree.root() else { return };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            work(child.entry());
        }
    }

    fn name(&self, die: &Die<'_, '_>) -> Option<String> {
        let value = die.attr_value(gimli::DW_AT_name).ok()??;
        let text = self.dwarf.attr_string(self.unit, value).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }

    fn name_at(&self, offset: UnitOffset) -> Option<String> {
        let die = self.unit.entry(offset).ok()?;
        // A copy of a function may refer to the function by way of another copy.
        let name = self.name(&die);
        name.or_else(|| {
            let origin = self.reference(&die, gimli::DW_AT_abstract_origin)?;
            self.name(&self.unit.entry(origin).ok()?)
        })
    }

    fn number(&self, die: &Die<'_, '_>, attribute: gimli::DwAt) -> Option<u64> {
        die.attr_value(attribute).ok()??.udata_value()
    }

    fn reference(&self, die: &Die<'_, '_>, attribute: gimli::DwAt) -> Option<UnitOffset> {
        match die.attr_value(attribute).ok()?? {
            AttributeValue::UnitRef(offset) => Some(offset),
            AttributeValue::DebugInfoRef(offset) => offset.to_unit_offset(&self.unit.header),
            _ => None,
        }
    }
}
