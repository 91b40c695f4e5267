//! An object as functions and named data with links between them.

mod entries;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use object::elf;

use crate::input::SpecialSizes;
use crate::instructions::{self, Place as Instruction};
use crate::naming;
use crate::object_file::{ObjectFile, Place, Relocation, Section, Symbol};
use crate::refusal::Reason;
use crate::tables::{self, Table};

/// Padding in front of a function that is patched together with it (`CALL_PADDING`), in bytes.
const PADDING: u64 = 16;

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Code,
    Strings,
    Constants,
    Table(Table),
    Data,
    /// Not part of what runs.
    Other,
}

/// A function or a named piece of data. Offsets are in its section.
#[derive(Debug, Clone)]
pub(crate) struct Entity<'a> {
    pub(crate) section: usize,
    /// Where it begins, padding included.
    pub(crate) start: u64,
    /// Where its symbol is.
    pub(crate) entry: u64,
    pub(crate) end: u64,
    pub(crate) name: &'a str,
    /// All names, `name` included.
    pub(crate) names: Vec<&'a str>,
    pub(crate) is_code: bool,
    /// Its `name` is not visible outside of the object.
    pub(crate) is_local: bool,
    /// None of its names is.
    pub(crate) is_private: bool,
}

/// What a field refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A symbol of another object: its index, and a distance in bytes.
    External(usize, i64),
    /// A function or data of this object: its index, and the distance from its symbol.
    Entity(usize, i64),
    /// Something without a name: section and offset.
    Anonymous(usize, i64),
    /// A number.
    Absolute(i64),
}

/// A field that refers to something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Where the field is in its section.
    pub(crate) offset: u64,
    /// Bytes of the field.
    pub(crate) width: u64,
    pub(crate) kind: elf::RelocationType,
    pub(crate) target: Target,
    /// What has to be taken off the target's distance to make an addend.
    pub(crate) bias: i64,
    /// A call or a jump leads there.
    pub(crate) is_branch: bool,
    /// No relocation says so: the assembler knew the distance.
    pub(crate) is_implicit: bool,
}

/// An entry of a table, by the bytes of its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) section: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Which place of the function it is about, from the function's symbol.
    pub(crate) at: i64,
}

#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) file: ObjectFile<'a>,
    pub(crate) roles: Vec<Role>,
    pub(crate) entities: Vec<Entity<'a>>,
    by_name: HashMap<&'a str, usize>,
    /// For each section its entities by offset.
    by_section: Vec<Vec<usize>>,
    /// For each symbol the entity it belongs to and its offset from that one's symbol.
    of_symbol: Vec<Option<(usize, i64)>>,
    /// For each section of code its instructions.
    instructions: Vec<Vec<Instruction>>,
    /// For each section its links by offset.
    links: Vec<Vec<Link>>,
    /// For each section the offsets that something refers to without a name.
    anonymous: Vec<BTreeSet<u64>>,
    entries: BTreeMap<usize, Vec<Entry>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(bytes: &'a [u8], sizes: &SpecialSizes) -> Result<Self, Reason> {
        let file = ObjectFile::parse(bytes)?;
        let count = file.sections.len();
        let mut view = Self {
            roles: file.sections.iter().map(|section| role(section, sizes)).collect(),
            entities: Vec::new(),
            by_name: HashMap::new(),
            by_section: vec![Vec::new(); count],
            of_symbol: vec![None; file.symbols.len()],
            instructions: vec![Vec::new(); count],
            links: vec![Vec::new(); count],
            anonymous: vec![BTreeSet::new(); count],
            entries: BTreeMap::new(),
            file,
        };
        view.find_entities();
        view.decode();
        view.resolve_links();
        view.find_entries()?;
        Ok(view)
    }

    pub(crate) fn section(&self, index: usize) -> Option<&Section<'a>> {
        self.file.sections.get(index)
    }

    pub(crate) fn entity(&self, index: usize) -> Option<&Entity<'a>> {
        self.entities.get(index)
    }

    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn section_name(&self, entity: &Entity<'_>) -> &'a str {
        self.section(entity.section).map_or("", |section| section.name)
    }

    pub(crate) fn bytes(&self, entity: &Entity<'_>) -> &[u8] {
        self.section(entity.section).map_or(&[], |section| section.bytes(entity.start, entity.end))
    }

    /// The links of fields between two offsets of a section.
    pub(crate) fn links(&self, section: usize, start: u64, end: u64) -> &[Link] {
        let Some(links) = self.links.get(section) else { return &[] };
        let index = |offset| links.partition_point(|link| link.offset < offset);
        links.get(index(start)..index(end)).unwrap_or(&[])
    }

    pub(crate) fn links_of(&self, entity: &Entity<'_>) -> &[Link] {
        self.links(entity.section, entity.start, entity.end)
    }

    /// The entries of all tables about an entity, by table and place.
    pub(crate) fn entries_of(&self, entity: usize) -> &[Entry] {
        self.entries.get(&entity).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn instructions(&self, section: usize) -> &[Instruction] {
        self.instructions.get(section).map_or(&[], Vec::as_slice)
    }

    /// The entities of a section by offset.
    pub(crate) fn entities_in(&self, section: usize) -> &[usize] {
        self.by_section.get(section).map_or(&[], Vec::as_slice)
    }

    /// Where the nameless thing that begins at an offset ends at the latest.
    pub(crate) fn anonymous_end(&self, section: usize, offset: u64) -> u64 {
        let size = self.section(section).map_or(0, |section| section.size);
        let next = self.anonymous.get(section);
        let next = next.and_then(|set| set.range(offset.saturating_add(1)..).next().copied());
        let entities = self.entities_in(section).iter().filter_map(|index| self.entity(*index));
        let entity = entities.map(|entity| entity.start).find(|start| *start > offset);
        next.unwrap_or(size).min(entity.unwrap_or(size)).min(size)
    }

    /// A name for messages.
    pub(crate) fn describe(&self, target: Target) -> String {
        let with = |name: &str, distance: i64| match distance {
            0 => name.to_owned(),
            _ => format!("{name}{distance:+#x}"),
        };
        match target {
            Target::External(symbol, distance) => {
                with(self.file.symbols.get(symbol).map_or("", |symbol| symbol.name), distance)
            }
            Target::Entity(entity, distance) => {
                with(self.entity(entity).map_or("", |entity| entity.name), distance)
            }
            Target::Anonymous(section, offset) => {
                let Some(section) = self.section(section) else { return String::new() };
                if section.is_text() {
                    let text = text_at(section, offset);
                    return format!("{:?}", String::from_utf8_lossy(text));
                }
                format!("{}{offset:+#x}", section.name)
            }
            Target::Absolute(value) => format!("{value:#x}"),
        }
    }

    fn find_entities(&mut self) {
        let mut starts: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
        for (index, symbol) in self.file.symbols.iter().enumerate() {
            let Place::Section(section) = symbol.place else { continue };
            let role = self.roles.get(section).copied().unwrap_or(Role::Other);
            if makes_entity(symbol, role) {
                starts.entry((section, symbol.value)).or_default().push(index);
            }
        }
        let all: Vec<_> = starts.keys().copied().collect();
        for (position, ((section, value), symbols)) in starts.into_iter().enumerate() {
            let next = all.get(position + 1).filter(|next| next.0 == section);
            self.add_entity(section, value, next.map(|next| next.1), &symbols);
        }
    }

    fn add_entity(&mut self, section: usize, value: u64, next: Option<u64>, symbols: &[usize]) {
        let previous = self.by_section.get(section).and_then(|list| list.last()).copied();
        let previous_end = previous.and_then(|index| self.entity(index)).map(|last| last.end);
        if let (Some(previous), Some(end)) = (previous, previous_end)
            && value < end
        {
            // A second entry of a function, or a part of a larger object.
            let entry = self.entity(previous).map_or(0, |entity| entity.entry);
            for symbol in symbols {
                let slot = self.of_symbol.get_mut(*symbol);
                slot.into_iter().for_each(|slot| *slot = Some((previous, (value - entry) as i64)));
                self.remember_name(*symbol, previous);
            }
            return;
        }
        let list = || symbols.iter().filter_map(|index| self.file.symbols.get(*index));
        // Every module has an entry and an exit of the same names; those of the source tell which.
        let rank = |symbol: &&Symbol<'_>| {
            (symbol.is_weak, naming::is_module_entry(symbol.name), symbol.is_local)
        };
        let Some(main) = list().min_by_key(rank) else {
            return;
        };
        let Some(home) = self.section(section) else { return };
        let size = list().map(|symbol| symbol.size).max().unwrap_or(0);
        let is_code = home.is_code();
        let open_end = next.unwrap_or(home.size);
        let has_size = size > 0 || list().any(|symbol| symbol.kind == elf::STT_OBJECT);
        let end = if has_size { (value + size).min(home.size) } else { open_end };
        let floor = previous_end.unwrap_or(0);
        let start = if is_code { padding_start(home, floor, value) } else { value };
        let entity = Entity {
            section,
            start,
            entry: value,
            end,
            name: main.name,
            names: list().map(|symbol| symbol.name).collect(),
            is_code,
            is_local: main.is_local,
            is_private: list().all(|symbol| symbol.is_local),
        };
        let index = self.entities.len();
        self.entities.push(entity);
        if let Some(list) = self.by_section.get_mut(section) {
            list.push(index);
        }
        for symbol in symbols {
            if let Some(slot) = self.of_symbol.get_mut(*symbol) {
                *slot = Some((index, 0));
            }
            self.remember_name(*symbol, index);
        }
    }

    fn remember_name(&mut self, symbol: usize, entity: usize) {
        if let Some(symbol) = self.file.symbols.get(symbol) {
            self.by_name.entry(symbol.name).or_insert(entity);
        }
    }

    fn decode(&mut self) {
        for index in 0..self.file.sections.len() {
            let Some(section) = self.section(index).filter(|section| section.is_code()) else {
                continue;
            };
            let mut places = Vec::new();
            let mut done = 0;
            for entity in self.entities_in(index).iter().filter_map(|index| self.entity(*index)) {
                places.extend(instructions::decode(section.bytes(done, entity.entry), done));
                let code = section.bytes(entity.entry, entity.end);
                places.extend(instructions::decode(code, entity.entry));
                done = entity.end;
            }
            places.extend(instructions::decode(section.bytes(done, section.size), done));
            if let Some(slot) = self.instructions.get_mut(index) {
                *slot = places;
            }
        }
    }

    fn resolve_links(&mut self) {
        for index in 0..self.file.sections.len() {
            let Some(section) = self.section(index) else { continue };
            if self.roles.get(index) == Some(&Role::Other) {
                continue;
            }
            let is_code = section.is_code();
            let mut links: Vec<Link> =
                section.relocations.iter().map(|found| self.link(index, is_code, found)).collect();
            if is_code {
                let implicit = self.implicit_branches(index, section, &links);
                links.extend(implicit);
                links.sort_by_key(|link| link.offset);
            }
            for link in &links {
                if let Target::Anonymous(section, offset) = link.target
                    && let (Ok(offset), Some(set)) =
                        (u64::try_from(offset), self.anonymous.get_mut(section))
                {
                    set.insert(offset);
                }
            }
            if let Some(slot) = self.links.get_mut(index) {
                *slot = links;
            }
        }
    }

    fn link(&self, section: usize, is_code: bool, relocation: &Relocation) -> Link {
        let instruction = instructions::at(self.instructions(section), relocation.offset);
        let instruction = instruction.filter(|_| is_code);
        let width = relocation.width().unwrap_or(0);
        let bias = match instruction {
            Some(place) if relocation.is_relative() => (place.end - relocation.offset) as i64,
            // Outside of instructions distances count from the field itself.
            _ => 0,
        };
        let branch = instruction.and_then(|place| place.branch);
        let is_branch = branch.is_some_and(|branch| branch.field == relocation.offset);
        let distance = relocation.addend.wrapping_add(bias);
        let target = self.target(relocation, distance);
        let (offset, kind) = (relocation.offset, relocation.kind);
        Link { offset, width, kind, target, bias, is_branch, is_implicit: false }
    }

    /// What a relocation leads to, `distance` bytes behind its symbol.
    pub(crate) fn target(&self, relocation: &Relocation, distance: i64) -> Target {
        let Some(symbol) = self.file.symbol(relocation) else { return Target::Absolute(distance) };
        let section = match symbol.place {
            Place::Undefined if relocation.symbol == 0 => return Target::Absolute(distance),
            Place::Undefined => return Target::External(relocation.symbol, distance),
            Place::Absolute => {
                return Target::Absolute((symbol.value as i64).wrapping_add(distance));
            }
            Place::Section(section) => section,
        };
        if let Some((entity, offset)) = self.of_symbol.get(relocation.symbol).copied().flatten() {
            return Target::Entity(entity, offset.wrapping_add(distance));
        }
        let offset = (symbol.value as i64).wrapping_add(distance);
        self.at_offset(section, offset)
    }

    /// What lies at an offset of a section.
    pub(crate) fn at_offset(&self, section: usize, offset: i64) -> Target {
        let list = self.entities_in(section);
        let relative = |index: usize| {
            let entry = self.entity(index).map_or(0, |entity| entity.entry as i64);
            Target::Entity(index, offset.wrapping_sub(entry))
        };
        let is_shared = matches!(self.roles.get(section), Some(Role::Strings | Role::Constants));
        if let [only] = list
            && !is_shared
            && let Some(entity) = self.entity(*only)
            && let Some(home) = self.section(section)
            && entity.start == 0
            && entity.end == home.size
        {
            return relative(*only);
        }
        let after = list.partition_point(|index| {
            self.entity(*index).is_some_and(|entity| (entity.start as i64) <= offset)
        });
        let found = after.checked_sub(1).and_then(|position| list.get(position)).copied();
        let inside = found.filter(|index| {
            self.entity(*index).is_some_and(|entity| offset < entity.end as i64)
                || self.entity(*index).is_some_and(|entity| {
                    // One past the end, or of no size; not where something nameless begins.
                    !entity.is_code && offset == entity.end as i64 && !is_shared
                })
        });
        inside.map_or(Target::Anonymous(section, offset), relative)
    }

    /// Whether a function's symbol is there.
    fn is_entry(&self, section: usize, offset: u64) -> bool {
        let entities = self.entities_in(section).iter().filter_map(|index| self.entity(*index));
        entities.into_iter().any(|entity| entity.entry == offset)
    }

    /// Branches between functions of one section, whose distance the assembler filled in.
    fn implicit_branches(&self, index: usize, section: &Section<'_>, links: &[Link]) -> Vec<Link> {
        let mut found = Vec::new();
        for entity in self.entities_in(index).iter().filter_map(|index| self.entity(*index)) {
            let places = self.instructions(index);
            let from = places.partition_point(|place| place.start < entity.entry);
            for place in places.iter().skip(from).take_while(|place| place.start < entity.end) {
                let Some(branch) = place.branch else { continue };
                let has_link =
                    links.binary_search_by_key(&branch.field, |link| link.offset).is_ok();
                // Where another function begins right behind, a jump there leads to that one.
                let is_inside = (entity.start..entity.end).contains(&branch.target)
                    || branch.target == entity.end && !self.is_entry(index, branch.target);
                if has_link || is_inside || branch.target >= section.size {
                    continue;
                }
                found.push(Link {
                    offset: branch.field,
                    width: branch.width,
                    kind: elf::R_X86_64_PLT32,
                    target: self.at_offset(index, branch.target as i64),
                    bias: (place.end - branch.field) as i64,
                    is_branch: true,
                    is_implicit: true,
                });
            }
        }
        found
    }
}

/// The text at an offset, without its end.
pub(crate) fn text_at<'s>(section: &'s Section<'_>, offset: i64) -> &'s [u8] {
    let Ok(start) = u64::try_from(offset) else { return &[] };
    let rest = section.bytes(start, section.size);
    rest.split(|byte| *byte == 0).next().unwrap_or(&[])
}

fn role(section: &Section<'_>, sizes: &SpecialSizes) -> Role {
    if let Some(table) = tables::table(section, sizes) {
        return Role::Table(table);
    }
    if !section.has(elf::SHF_ALLOC) || tables::is_read_once(section.name) {
        return Role::Other;
    }
    if section.is_code() {
        return Role::Code;
    }
    if section.is_text() {
        return Role::Strings;
    }
    if section.is_mergeable() {
        return Role::Constants;
    }
    Role::Data
}

fn makes_entity(symbol: &Symbol<'_>, role: Role) -> bool {
    // The latter are entries of lists that have names themselves.
    let is_label = [".L", "__BTF_ID__"].iter().any(|start| symbol.name.starts_with(start));
    if symbol.name.is_empty() || is_label {
        return false;
    }
    match role {
        Role::Code => symbol.kind == elf::STT_FUNC && symbol.size > 0,
        Role::Data => symbol.kind == elf::STT_OBJECT || symbol.kind == elf::STT_NOTYPE,
        Role::Strings | Role::Constants => symbol.kind == elf::STT_OBJECT && symbol.size > 0,
        Role::Table(_) | Role::Other => false,
    }
}

/// Where a function begins that has 16 one-byte NOPs in front of it, which belong to it.
fn padding_start(section: &Section<'_>, floor: u64, entry: u64) -> u64 {
    let Some(start) = entry.checked_sub(PADDING).filter(|start| *start >= floor) else {
        return entry;
    };
    let bytes = section.bytes(start, entry);
    let is_padding = bytes.len() as u64 == PADDING && bytes.iter().all(|byte| *byte == 0x90);
    if is_padding { start } else { entry }
}
