//! Do two pieces of code or data mean the same?

use core::fmt;

use crate::correlation::{Correlation, blank_links};
use crate::naming;
use crate::object_file::Section;
use crate::tables;
use crate::view::{Entity, Entry, Link, Role, Target, View, text_at};

/// How deep nameless data may refer to nameless data.
const DEEPEST: u32 = 16;
/// Most bytes of padding behind nameless data.
const MOST_PADDING: usize = 64;

/// Where struct bug_entry has the number of the line: behind two distances.
const BUG_LINE: core::ops::Range<i64> = 8..10;

/// The first difference of two pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    Size(u64, u64),
    /// Offset from the symbol, and the bytes.
    Byte(i64, u8, u8),
    /// Offset from the symbol, and what is referred to.
    Reference(i64, String, String),
    /// A table of the kernel says something else about it.
    Table(String),
}

/// Two objects with what is known of them.
#[derive(Clone, Copy)]
pub(crate) struct Matcher<'m, 'a> {
    pub(crate) original: &'m View<'a>,
    pub(crate) patched: &'m View<'a>,
    pub(crate) correlation: &'m Correlation,
}

/// Bytes of a section.
#[derive(Clone, Copy)]
struct Piece {
    section: usize,
    start: u64,
    end: u64,
    /// What offsets in messages count from.
    base: u64,
}

impl Piece {
    fn of(entity: &Entity<'_>) -> Self {
        let Entity { section, start, end, entry, .. } = *entity;
        Self { section, start, end, base: entry }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(before, after) => write!(f, "{before} bytes become {after}"),
            Self::Byte(at, before, after) => {
                write!(f, "byte {at:+#x} from {before:#04x} to {after:#04x}")
            }
            Self::Reference(at, before, after) => write!(f, "{at:+#x} from {before} to {after}"),
            Self::Table(what) => write!(f, "{what}"),
        }
    }
}

impl Matcher<'_, '_> {
    /// The first difference of two functions, the tables about them included, or of two pieces of
    /// data.
    pub(crate) fn difference(&self, before: usize, after: usize) -> Option<Difference> {
        let old = self.original.entity(before)?;
        let new = self.patched.entity(after)?;
        if old.end - old.entry != new.end - new.entry || old.end - old.start != new.end - new.start
        {
            return Some(Difference::Size(old.end - old.entry, new.end - new.entry));
        }
        self.piece_difference(Piece::of(old), Piece::of(new), 0)
            .or_else(|| self.table_difference(before, after))
    }

    /// The first difference of two whole sections.
    pub(crate) fn section_difference(&self, before: usize, after: usize) -> Option<Difference> {
        let (old, new) = (self.original.section(before)?, self.patched.section(after)?);
        if old.size != new.size {
            return Some(Difference::Size(old.size, new.size));
        }
        let piece = |section: usize, end: u64| Piece { section, start: 0, end, base: 0 };
        self.piece_difference(piece(before, old.size), piece(after, new.size), 0)
    }

    fn piece_difference(&self, old: Piece, new: Piece, depth: u32) -> Option<Difference> {
        let old_links = self.original.links(old.section, old.start, old.end);
        let new_links = self.patched.links(new.section, new.start, new.end);
        let bytes = |view: &View<'_>, piece: Piece, links: &[Link]| {
            let section = view.section(piece.section);
            let mut bytes =
                section.map_or(&[][..], |found| found.bytes(piece.start, piece.end)).to_vec();
            // A section without contents is all zero.
            bytes.resize((piece.end - piece.start) as usize, 0);
            blank_links(&mut bytes, piece.start, links);
            bytes
        };
        let old_bytes = bytes(self.original, old, old_links);
        let new_bytes = bytes(self.patched, new, new_links);
        let offset = |position: u64| position as i64 - old.base as i64;
        let differs = old_bytes.iter().zip(&new_bytes).position(|(old, new)| old != new);
        let byte = differs.and_then(|position| {
            let at = offset(old.start + position as u64);
            Some(Difference::Byte(at, *old_bytes.get(position)?, *new_bytes.get(position)?))
        });
        let mut others = new_links.iter();
        let mut reference = None;
        for link in old_links {
            let other = others.next();
            let is_same = other.is_some_and(|other| {
                other.offset - new.start == link.offset - old.start
                    && other.kind_is_like(link)
                    && self.same_target(link.target, other.target, depth)
            });
            if is_same {
                continue;
            }
            let now = other.map_or("nothing".into(), |other| self.patched.describe(other.target));
            let was = self.original.describe(link.target);
            reference = Some(Difference::Reference(offset(link.offset), was, now));
            break;
        }
        if reference.is_none()
            && let Some(extra) = others.next()
        {
            let at = (extra.offset - new.start + old.start) as i64 - old.base as i64;
            let now = self.patched.describe(extra.target);
            reference = Some(Difference::Reference(at, "nothing".into(), now));
        }
        // Whatever comes first, for the message.
        match (byte, reference) {
            (Some(Difference::Byte(at, ..)), Some(Difference::Reference(other, was, now)))
                if other < at =>
            {
                Some(Difference::Reference(other, was, now))
            }
            (byte, reference) => byte.or(reference),
        }
    }

    fn table_difference(&self, before: usize, after: usize) -> Option<Difference> {
        let compared = |view: &View<'_>, index: usize| -> Vec<(String, Entry)> {
            let entries = view.entries_of(index).iter().filter(|entry| {
                matches!(view.roles.get(entry.section), Some(Role::Table(table)) if table.is_compared)
            });
            let name = |entry: &Entry| view.section(entry.section).map_or("", |found| found.name);
            let mut list: Vec<_> = entries.map(|entry| (name(entry).to_owned(), *entry)).collect();
            // Of one table and one place they keep the order of the object.
            list.sort_by(|one, other| (&one.0, one.1.at).cmp(&(&other.0, other.1.at)));
            list
        };
        let olds = compared(self.original, before);
        let news = compared(self.patched, after);
        for ((name, old), (other, new)) in olds.iter().zip(&news) {
            if name != other || old.at != new.at || !self.same_entry(name, old, new) {
                return Some(Difference::Table(format!("{name} of {:+#x}", old.at)));
            }
        }
        let longest = if olds.len() > news.len() { &olds } else { &news };
        let extra = longest.get(olds.len().min(news.len()));
        extra.map(|(name, entry)| Difference::Table(format!("{name} of {:+#x}", entry.at)))
    }

    fn same_entry(&self, table: &str, old: &Entry, new: &Entry) -> bool {
        let piece = |entry: &Entry| Piece {
            section: entry.section,
            start: entry.start,
            end: entry.end,
            base: 0,
        };
        if table != tables::ALTERNATIVES {
            return match self.piece_difference(piece(old), piece(new), 0) {
                None => true,
                // Of a warning: the number of its line may move, its flags may not.
                Some(Difference::Byte(at, ..)) if table == tables::BUGS => {
                    let in_entry = at - old.start as i64;
                    BUG_LINE.contains(&in_entry) && self.same_behind_line(old, new)
                }
                Some(_) => false,
            };
        }
        // The place of the replacement counts for nothing, its code does.
        let bytes = |view: &View<'_>, entry: &Entry| {
            let section = view.section(entry.section);
            section.map(|found| found.bytes(entry.start + 8, entry.end).to_vec())
        };
        if bytes(self.original, old) != bytes(self.patched, new) {
            return false;
        }
        let code = |view: &View<'_>, entry: &Entry| {
            let found = view.replacement(entry.section, entry.start, entry.end);
            found.map(|(section, start, end)| Piece { section, start, end, base: start })
        };
        match (code(self.original, old), code(self.patched, new)) {
            (Some(old), Some(new)) => self.piece_difference(old, new, 0).is_none(),
            (old, new) => old.is_none() && new.is_none(),
        }
    }

    /// Two entries about warnings are alike in all that comes behind the number of the line.
    fn same_behind_line(&self, old: &Entry, new: &Entry) -> bool {
        let rest = |entry: &Entry| Piece {
            section: entry.section,
            start: entry.start + BUG_LINE.end as u64,
            end: entry.end,
            base: 0,
        };
        let references = |entry: &Entry| Piece {
            section: entry.section,
            start: entry.start,
            end: entry.start + BUG_LINE.start as u64,
            base: 0,
        };
        self.piece_difference(references(old), references(new), 0).is_none()
            && self.piece_difference(rest(old), rest(new), 0).is_none()
    }

    /// Do two references mean the same?
    pub(crate) fn same_target(&self, old: Target, new: Target, depth: u32) -> bool {
        match (old, new) {
            (Target::External(old, one), Target::External(new, other)) => {
                one == other
                    && self.external(self.original, old) == self.external(self.patched, new)
            }
            (Target::Entity(old, one), Target::Entity(new, other)) => {
                one == other && self.same_entity(old, new, depth)
            }
            // It moved to this object, or out of it.
            (Target::External(symbol, one), Target::Entity(entity, other)) => {
                one == other
                    && self.has_name(self.patched, entity, self.external(self.original, symbol))
            }
            (Target::Entity(entity, one), Target::External(symbol, other)) => {
                one == other
                    && self.has_name(self.original, entity, self.external(self.patched, symbol))
            }
            (Target::Anonymous(old, one), Target::Anonymous(new, other)) => {
                self.same_nameless((old, one), (new, other), depth)
            }
            (Target::Absolute(old), Target::Absolute(new)) => old == new,
            _ => false,
        }
    }

    fn external<'v>(&self, view: &'v View<'_>, symbol: usize) -> &'v str {
        view.file.symbols.get(symbol).map_or("", |symbol| symbol.name)
    }

    fn has_name(&self, view: &View<'_>, entity: usize, name: &str) -> bool {
        view.entity(entity).is_some_and(|entity| !entity.is_private && entity.names.contains(&name))
    }

    fn same_entity(&self, old: usize, new: usize, depth: u32) -> bool {
        if let Some(expected) = self.correlation.patched(old) {
            return expected == new;
        }
        let (Some(before), Some(after)) = (self.original.entity(old), self.patched.entity(new))
        else {
            return false;
        };
        let is_content = |entity: &Entity<'_>| naming::is_content_only(entity.name);
        is_content(before)
            && is_content(after)
            && depth < DEEPEST
            && before.end - before.start == after.end - after.start
            && self.piece_difference(Piece::of(before), Piece::of(after), depth + 1).is_none()
    }

    fn same_nameless(&self, old: (usize, i64), new: (usize, i64), depth: u32) -> bool {
        let (Some(before), Some(after)) =
            (self.original.section(old.0), self.patched.section(new.0))
        else {
            return false;
        };
        if before.is_text() || after.is_text() {
            return before.is_text()
                && after.is_text()
                && text_at(before, old.1) == text_at(after, new.1);
        }
        let inside = |offset: i64, section: &Section<'_>| {
            u64::try_from(offset).ok().filter(|offset| *offset < section.size)
        };
        let (Some(one), Some(other)) = (inside(old.1, before), inside(new.1, after)) else {
            return before.name == after.name && old.1 == new.1;
        };
        if depth >= DEEPEST {
            return false;
        }
        let piece = |view: &View<'_>, section: usize, start: u64| {
            let role = view.roles.get(section);
            let entry = view.section(section).map_or(0, |found| found.entry_size);
            let end = match role {
                Some(Role::Constants) => start.saturating_add(entry - start % entry.max(1)),
                Some(Role::Code) => fragment_end(view, section, start),
                _ => view.anonymous_end(section, start),
            };
            Piece { section, start, end, base: start }
        };
        let mut first = piece(self.original, old.0, one);
        let mut second = piece(self.patched, new.0, other);
        if !self.only_padding_behind(&mut first, &mut second) {
            return false;
        }
        self.piece_difference(first, second, depth + 1).is_none()
    }

    /// Makes two pieces of nameless data equally long, if what one has more is nothing but zeroes
    /// in front of the next.
    fn only_padding_behind(&self, first: &mut Piece, second: &mut Piece) -> bool {
        let length = (first.end - first.start).min(second.end - second.start);
        let rest_is_zero = |view: &View<'_>, piece: &Piece| {
            let section = view.section(piece.section);
            let rest =
                section.map_or(&[][..], |found| found.bytes(piece.start + length, piece.end));
            rest.len() < MOST_PADDING
                && rest.iter().all(|byte| *byte == 0)
                && view.links(piece.section, piece.start + length, piece.end).is_empty()
        };
        let is_padding = rest_is_zero(self.original, first) && rest_is_zero(self.patched, second);
        first.end = first.start + length;
        second.end = second.start + length;
        is_padding
    }
}

impl Link {
    /// The two relocations mean the same: a call is a call, whether by PC32 or by PLT32.
    fn kind_is_like(&self, other: &Link) -> bool {
        use object::elf::{R_X86_64_PC32, R_X86_64_PLT32};
        let distance = [R_X86_64_PC32, R_X86_64_PLT32];
        self.kind == other.kind || (distance.contains(&self.kind) && distance.contains(&other.kind))
    }
}

/// Where code ends that is no function: behind the first jump that is always taken.
pub(crate) fn fragment_end(view: &View<'_>, section: usize, start: u64) -> u64 {
    let places = view.instructions(section);
    let from = places.partition_point(|place| place.start < start);
    let last = places.iter().skip(from).find(|place| place.is_last);
    let size = view.section(section).map_or(start, |found| found.size);
    last.map_or(size, |place| place.end)
}
