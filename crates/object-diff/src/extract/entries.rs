//! The entries of the kernel's tables about functions that go along.

use super::cutter::{Cutter, KEPT_FLAGS, Use};
use crate::correlation::blank_links;
use crate::tables::{self, Carry};
use crate::view::{Entry, Link, Role};
use crate::writer::Placed;

impl Cutter<'_, '_> {
    /// Takes an entry of a table along.
    pub(super) fn carry(&mut self, entry: &Entry) {
        let subject = self.subject;
        let Some(Role::Table(table)) = subject.patched.roles.get(entry.section) else { return };
        let Some(home) = subject.patched.section(entry.section) else { return };
        match table.carry {
            Carry::No | Carry::BootConstant => return,
            Carry::Orc => self.carry_orc(entry),
            Carry::Yes => {}
        }
        let links = subject.patched.links(entry.section, entry.start, entry.end);
        let mut bytes = home.bytes(entry.start, entry.end).to_vec();
        blank_links(&mut bytes, entry.start, links);
        let placed = self.writer.place(home.name, home.flags & KEPT_FLAGS, &bytes, home.align);
        for (position, link) in links.iter().enumerate() {
            let at = link.offset - entry.start;
            if home.name == tables::ALTERNATIVES && position == 1 {
                self.carry_replacement(entry, link, at, placed);
            } else if home.name == tables::JUMP_LABELS && self.has_read_only_key(link) {
                self.copy_key(entry, link, at, placed);
            } else if home.name.starts_with(tables::NOTES) {
                self.note(link, at, placed);
            } else {
                self.relocate_link(link, at, placed, Use::Table);
            }
        }
    }

    /// A note for the kernel's object checker, which takes places only by their sections and skips
    /// the whole object otherwise.
    fn note(&mut self, link: &Link, at: u64, placed: Placed) {
        let Some((symbol, distance)) = self.destination(link.target, Use::Table) else { return };
        let (symbol, distance) = match self.writer.in_section(symbol) {
            Some((section, offset)) => (section, distance.wrapping_add_unsigned(offset)),
            None => (symbol, distance),
        };
        let addend = distance.wrapping_sub(link.bias);
        if let Err(error) = self.writer.relocate(placed, at, link.kind, symbol, addend) {
            self.fail(error.to_string());
        }
    }

    fn carry_replacement(&mut self, entry: &Entry, link: &Link, at: u64, placed: Placed) {
        let found = self.subject.patched.replacement(entry.section, entry.start, entry.end);
        let Some((section, start, end)) = found else {
            self.fail("has an alternative without a replacement");
            return;
        };
        let Some(code) = self.copy_nameless(section, start, end) else { return };
        let symbol = self.writer.section_symbol(code.section);
        let addend = (code.offset as i64).wrapping_sub(link.bias);
        if let Err(error) = self.writer.relocate(placed, at, link.kind, symbol, addend) {
            self.fail(error.to_string());
        }
    }

    /// The unwind table has its addresses in one section and the rest in another.
    fn carry_orc(&mut self, entry: &Entry) {
        let size = self.subject.input.sizes.orc_entry;
        let sections = &self.subject.patched.file.sections;
        let Some(home) = sections.iter().find(|section| section.name == tables::ORC) else {
            self.fail("has addresses to unwind from and no table of how");
            return;
        };
        let index = entry.start / (entry.end - entry.start).max(1);
        let bytes = home.bytes(index * size, (index + 1) * size).to_vec();
        if bytes.len() as u64 != size {
            self.fail("has an unwind table that is too short");
            return;
        }
        self.writer.place(home.name, home.flags & KEPT_FLAGS, &bytes, 1);
    }
}
