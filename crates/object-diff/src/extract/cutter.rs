//! Puts pieces of the patched object into the new one, and whatever they refer to with them.

use std::collections::{BTreeMap, VecDeque};

use object::elf;
use object::write::SymbolId;

use super::origin::Origins;
use super::{Fate, Included, include_parts, new_function};
use crate::compare::Subject;
use crate::correlation::blank_links;
use crate::extraction::{BootShifts, Constant, ConstantId, CopiedKey, Links, Reference};
use crate::matching::fragment_end;
use crate::naming;
use crate::refusal::Reason;
use crate::tables;
use crate::view::{Entity, Link, Role, Target};
use crate::writer::{Naming, Placed, Writer};

/// Alignment of functions in bytes.
const FUNCTION_ALIGN: u64 = 16;
/// `ENDBR64`.
const ENDBR: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// From where something is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A call or a jump.
    Branch,
    /// An entry of a table about the code.
    Table,
    /// Anything else: it may be kept as a pointer.
    Address,
}

/// A place in the new object: symbol and distance.
pub(super) type Destination = (SymbolId, i64);

/// Bytes of the patched object that have been put into the new one.
#[derive(Debug, Clone, Copy)]
struct Moved {
    section: usize,
    start: u64,
    end: u64,
    placed: Placed,
}

/// What comes out.
pub(super) struct Cut {
    pub(super) elf: Vec<u8>,
    pub(super) references: Vec<Reference>,
    pub(super) constants: Vec<Constant>,
    pub(super) copied_keys: Vec<CopiedKey>,
    pub(super) shifts: Option<BootShifts>,
}

pub(super) struct Cutter<'s, 'a> {
    pub(super) subject: &'s Subject<'a>,
    pub(super) links: &'s Links,
    included: BTreeMap<usize, Included>,
    pub(super) origins: Origins,
    pub(super) writer: Writer,
    /// Symbols of functions and data that have been put somewhere.
    symbols: BTreeMap<usize, SymbolId>,
    /// Nameless bytes by section and start.
    nameless: BTreeMap<(usize, u64), Moved>,
    references: BTreeMap<String, Reference>,
    /// Copies of what the original object has too.
    pub(super) constants: BTreeMap<ConstantId, Constant>,
    /// Copies of keys of jump labels, by the original's symbol.
    pub(super) keys: BTreeMap<String, (SymbolId, CopiedKey)>,
    /// Bytes that hold a number of bits to shift by, and the variable that has it.
    pub(super) shifts: Vec<(Placed, SymbolId)>,
    /// Functions and data whose links are to be done.
    open: VecDeque<(usize, Placed)>,
    /// Nameless bytes whose links are to be done.
    open_nameless: VecDeque<Moved>,
    failures: Vec<Reason>,
    /// What is being worked on, for messages.
    current: String,
}

impl<'s, 'a> Cutter<'s, 'a> {
    pub(super) fn new(
        subject: &'s Subject<'a>,
        links: &'s Links,
        included: BTreeMap<usize, Included>,
    ) -> Self {
        Self {
            subject,
            links,
            included,
            origins: Origins::new(&subject.original),
            writer: Writer::new(),
            symbols: BTreeMap::new(),
            nameless: BTreeMap::new(),
            references: BTreeMap::new(),
            constants: BTreeMap::new(),
            keys: BTreeMap::new(),
            shifts: Vec::new(),
            open: VecDeque::new(),
            open_nameless: VecDeque::new(),
            failures: Vec::new(),
            current: String::new(),
        }
    }

    pub(super) fn cut(mut self) -> Result<Cut, Vec<Reason>> {
        let functions: Vec<usize> = self.included.keys().copied().collect();
        for function in functions {
            self.symbol_of(function);
        }
        self.add_wanted_data();
        loop {
            if let Some((index, placed)) = self.open.pop_front() {
                self.finish_entity(index, placed);
            } else if let Some(moved) = self.open_nameless.pop_front() {
                self.relocate(moved.section, moved.start, moved.end, moved.placed);
            } else {
                break;
            }
        }
        let shifts = self.table_of_shifts();
        if !self.failures.is_empty() {
            return Err(self.failures);
        }
        let references = self.references.into_values().collect();
        let constants = self.constants.into_values().collect();
        let copied_keys = self.keys.into_values().map(|(_, key)| key).collect();
        let elf = self.writer.finish();
        elf.map(|elf| Cut { elf, references, constants, copied_keys, shifts })
            .map_err(|error| vec![Reason::Malformed(format!("cannot be written: {error}"))])
    }

    /// New data that other objects use.
    fn add_wanted_data(&mut self) {
        let (subject, links) = (self.subject, self.links);
        for name in &links.wanted {
            let Some(index) = subject.patched.named(name) else { continue };
            let entity = subject.patched.entity(index);
            let is_shared_data = entity.is_some_and(|entity| !entity.is_code && !entity.is_local);
            if is_shared_data && subject.correlation.original(index).is_none() {
                self.current = name.clone();
                self.data(index);
            }
        }
    }

    pub(super) fn fail(&mut self, what: impl Into<String>) {
        let reason = Reason::Unsupported { function: self.current.clone(), what: what.into() };
        if !self.failures.contains(&reason) {
            self.failures.push(reason);
        }
    }

    /// The symbol of a function or data of the patched object that goes along.
    fn symbol_of(&mut self, index: usize) -> Option<SymbolId> {
        if let Some(symbol) = self.symbols.get(&index) {
            return Some(*symbol);
        }
        let patched = &self.subject.patched;
        let entity = patched.entity(index)?;
        let home = patched.section(entity.section)?;
        let mut bytes = patched.bytes(entity).to_vec();
        bytes.resize((entity.end - entity.start) as usize, 0);
        blank_links(&mut bytes, entity.start, patched.links_of(entity));
        let (name, is_local, naming) = match self.included.get(&index) {
            Some(included) => (included.symbol.as_str(), included.is_local, Naming::Function),
            None => (entity.name, entity.is_local, Naming::Data),
        };
        let align = match naming {
            Naming::Function => home.align.max(FUNCTION_ALIGN),
            Naming::Data => home.align,
        };
        let section = new_section(home.name, entity);
        let placed = self.writer.place(section, home.flags & KEPT_FLAGS, &bytes, align);
        let entry = Placed { offset: placed.offset + (entity.entry - entity.start), ..placed };
        let size = entity.end - entity.entry;
        let symbol = self.writer.define(name, entry, size, naming, is_local);
        self.symbols.insert(index, symbol);
        self.open.push_back((index, placed));
        Some(symbol)
    }

    fn finish_entity(&mut self, index: usize, placed: Placed) {
        let subject = self.subject;
        let Some(entity) = subject.patched.entity(index) else { return };
        self.current = entity.name.to_owned();
        self.boot_constants(index, entity, placed);
        self.relocate(entity.section, entity.start, entity.end, placed);
        if !entity.is_code {
            return;
        }
        for entry in subject.patched.entries_of(index) {
            self.carry(entry);
        }
    }

    /// Gives the links between two offsets of a section new relocations.
    fn relocate(&mut self, section: usize, start: u64, end: u64, placed: Placed) {
        let subject = self.subject;
        let is_code = subject.patched.section(section).is_some_and(|home| home.is_code());
        for link in subject.patched.links(section, start, end) {
            if link.is_implicit && link.width != 4 {
                let to = subject.patched.describe(link.target);
                self.fail(format!(
                    "has a jump of {} byte to {to}, which reaches nothing outside of {}; leave it out",
                    link.width,
                    subject.patched.section(section).map_or("", |home| home.name)
                ));
                continue;
            }
            let usage = if is_code && link.is_branch { Use::Branch } else { Use::Address };
            self.relocate_link(link, link.offset - start, placed, usage);
        }
    }

    pub(super) fn relocate_link(&mut self, link: &Link, at: u64, placed: Placed, usage: Use) {
        let Some((symbol, distance)) = self.destination(link.target, usage) else { return };
        let addend = distance.wrapping_sub(link.bias);
        if let Err(error) = self.writer.relocate(placed, at, link.kind, symbol, addend) {
            self.fail(error.to_string());
        }
    }

    /// Where something of the patched object is for new code.
    pub(super) fn destination(&mut self, target: Target, usage: Use) -> Option<Destination> {
        if let Some(destination) = self.kernels_constant(target) {
            return Some(destination);
        }
        match target {
            Target::External(symbol, distance) => {
                let name = self.subject.patched.file.symbols.get(symbol)?.name;
                Some((self.external(name, usage), distance))
            }
            Target::Entity(index, distance) => {
                let entity = self.subject.patched.entity(index)?;
                let symbol = if entity.is_code {
                    self.function(index, distance, usage)
                } else {
                    self.data(index)
                };
                symbol.map(|symbol| (symbol, distance))
            }
            Target::Anonymous(section, offset) => self.nameless(section, offset),
            Target::Absolute(value) => Some((self.writer.absolute(value), 0)),
        }
    }

    pub(super) fn external(&mut self, name: &str, usage: Use) -> SymbolId {
        if usage == Use::Branch && self.links.replaced.contains(name) {
            return self.writer.undefined(&format!("{}{name}", super::NEW));
        }
        // It may have been in this object before.
        if let Some(symbol) =
            self.subject.original.named(name).and_then(|own| self.original(own, usage))
        {
            return symbol;
        }
        let symbol = self.links.renamed.get(name).map_or(name, String::as_str).to_owned();
        let origins = &self.origins;
        let reference = self
            .references
            .entry(symbol.clone())
            .or_insert_with(|| origins.external(name, &symbol));
        reference.address_taken |= usage == Use::Address;
        self.writer.undefined(&symbol)
    }

    /// The function or data of the kernel that runs.
    fn original(&mut self, index: usize, usage: Use) -> Option<SymbolId> {
        let name = self.subject.original.entity(index)?.name;
        let symbol = self.links.renamed.get(name).map_or(name, String::as_str).to_owned();
        let reference = match self.references.entry(symbol.clone()) {
            std::collections::btree_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(self.origins.own(&self.subject.original, index, &symbol)?)
            }
        };
        reference.address_taken |= usage == Use::Address;
        Some(self.writer.undefined(&symbol))
    }

    fn function(&mut self, index: usize, distance: i64, usage: Use) -> Option<SymbolId> {
        let entity = self.subject.patched.entity(index)?;
        if let Some(included) = self.included.get(&index) {
            // A pointer to a function stays the one that the kernel knows.
            if let Fate::Replaces(before) = included.fate
                && usage == Use::Address
                && distance == 0
                && self.can_be_called_indirectly(before)
            {
                return self.original(before, usage);
            }
            return self.symbol_of(index);
        }
        if let Some(before) = self.subject.correlation.original(index) {
            return self.original(before, usage);
        }
        if tables::is_boot_only(self.subject.patched.section_name(entity)) {
            self.fail(format!("uses {}, which is new and gone after boot (__init)", entity.name));
            return None;
        }
        self.included.insert(index, new_function(&self.subject.patched, index));
        include_parts(&self.subject.patched, &mut self.included);
        self.symbol_of(index)
    }

    /// With indirect branch tracking only functions whose address was taken before.
    fn can_be_called_indirectly(&self, before: usize) -> bool {
        let Some(entity) = self.subject.original.entity(before) else { return false };
        let home = self.subject.original.section(entity.section);
        let has_mark =
            home.is_some_and(|home| home.bytes(entity.entry, entity.end).starts_with(&ENDBR));
        !self.subject.input.ibt || has_mark
    }

    pub(super) fn data(&mut self, index: usize) -> Option<SymbolId> {
        let subject = self.subject;
        let entity = subject.patched.entity(index)?;
        if naming::is_content_only(entity.name) {
            return self.symbol_of(index);
        }
        if let Some(before) = subject.correlation.original(index) {
            return self.original(before, Use::Address);
        }
        let section = subject.patched.section_name(entity);
        if tables::is_boot_only(section) {
            self.fail(format!("uses {}, which is gone after boot ({section})", entity.name));
            return None;
        }
        if section == tables::TYPE_NUMBERS {
            self.fail(format!(
                "uses {}, a new list of BTF numbers, which no module can have",
                entity.name
            ));
            return None;
        }
        self.symbol_of(index)
    }

    /// Copies what has no name and is where the target is.
    fn nameless(&mut self, section: usize, offset: i64) -> Option<Destination> {
        let subject = self.subject;
        let home = subject.patched.section(section)?;
        let role = subject.patched.roles.get(section).copied()?;
        let Ok(at) = u64::try_from(offset) else {
            self.fail(format!("refers to what is in front of {}", home.name));
            return None;
        };
        let (start, end) = match role {
            Role::Strings => text_bounds(home.bytes(0, home.size), at),
            Role::Constants => {
                let start = at - at % home.entry_size;
                (start, start + home.entry_size)
            }
            Role::Code if at < home.size => (at, fragment_end(&subject.patched, section, at)),
            Role::Data if home.flags & elf::SHF_WRITE.0 == 0 => self.gap(section, at),
            _ => {
                let what = format!("refers to {}{offset:+#x}, which has no name", home.name);
                self.fail(what);
                return None;
            }
        };
        let placed = self.copy_nameless(section, start, end)?;
        let symbol = self.writer.section_symbol(placed.section);
        Some((symbol, (placed.offset + (at - start)) as i64))
    }

    /// The bytes around an offset that belong to nothing with a name.
    fn gap(&self, section: usize, at: u64) -> (u64, u64) {
        let patched = &self.subject.patched;
        let size = patched.section(section).map_or(0, |home| home.size);
        let list = patched.entities_in(section).iter().filter_map(|index| patched.entity(*index));
        let mut gap = (0, size);
        for entity in list {
            if entity.end <= at {
                gap.0 = entity.end;
            } else if entity.start > at {
                gap.1 = entity.start;
                break;
            }
        }
        gap
    }

    pub(super) fn copy_nameless(&mut self, section: usize, start: u64, end: u64) -> Option<Placed> {
        if let Some(moved) = self.nameless.get(&(section, start)).filter(|moved| moved.end == end) {
            return Some(moved.placed);
        }
        let patched = &self.subject.patched;
        let home = patched.section(section)?;
        let mut bytes = home.bytes(start, end).to_vec();
        blank_links(&mut bytes, start, patched.links(section, start, end));
        let name = match patched.roles.get(section) {
            Some(Role::Code) => home.name,
            _ => ".rodata",
        };
        // What stands at an odd place needs no more than that.
        let align =
            if start == 0 { home.align } else { home.align.min(1 << start.trailing_zeros()) };
        let placed = self.writer.place(name, home.flags & KEPT_FLAGS, &bytes, align);
        let moved = Moved { section, start, end, placed };
        self.nameless.insert((section, start), moved);
        self.open_nameless.push_back(moved);
        Some(placed)
    }
}

/// Flags that mean the same in the new object.
pub(super) const KEPT_FLAGS: u64 = elf::SHF_ALLOC.0 | elf::SHF_WRITE.0 | elf::SHF_EXECINSTR.0;

/// The section of the new object: those with a section of their own go together again.
fn new_section<'n>(name: &'n str, entity: &Entity<'_>) -> &'n str {
    let families: &[&str] = if entity.is_code {
        &[".text.unlikely", ".text"]
    } else {
        &[
            ".data..read_mostly",
            ".data..percpu",
            ".data..ro_after_init",
            ".data.once",
            ".data",
            // With contents here: the new object has no section without.
            ".bss",
            ".rodata",
        ]
    };
    if tables::is_exit_only(name) {
        return ".text";
    }
    let family = families.iter().find(|family| name.starts_with(**family));
    match family {
        Some(&".bss") => ".data",
        Some(family) => family,
        None => name,
    }
}

/// The text around an offset, its end included.
fn text_bounds(bytes: &[u8], at: u64) -> (u64, u64) {
    let at = (at as usize).min(bytes.len());
    let before = bytes.get(..at).unwrap_or(&[]);
    let start = before.iter().rposition(|byte| *byte == 0).map_or(0, |zero| zero + 1);
    let rest = bytes.get(at..).unwrap_or(&[]);
    let end = rest.iter().position(|byte| *byte == 0).map_or(bytes.len(), |zero| at + zero + 1);
    (start as u64, end as u64)
}
