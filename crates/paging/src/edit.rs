//! Changing tables.
//!
//! An edit walks the tree twice with the same code: first it only counts the tables it needs and
//! looks for overlaps, then, with all frames in hand, it writes. So it happens in full or not at
//! all.

use crate::format::{ADDRESS, PRESENT, is_leaf, is_table, level_size, takes_away};
use crate::walk::{LEVELS, SPAN, index};
use crate::{Change, ENTRIES, Format, MapError, Mapping, PAGE, PageTable, TableMemory};

impl PageTable {
    /// Maps a range in which nothing is mapped yet, with the largest pages that fit.
    ///
    /// # Errors
    /// Every [`MapError`]; the tables are unchanged then.
    pub fn map_new(&self, memory: &mut impl TableMemory, mapping: Mapping) -> Result<(), MapError> {
        self.edit(memory, mapping, Kind::New).map(|_| ())
    }

    /// Maps a range, whatever was mapped there before, with the largest pages that fit.
    ///
    /// # Errors
    /// Every [`MapError`] but `Overlap`; the tables are unchanged then.
    pub fn set(&self, memory: &mut impl TableMemory, mapping: Mapping) -> Result<Change, MapError> {
        self.edit(memory, mapping, Kind::Any)
    }

    /// Maps every page of a range to the one page at the mapping's physical address, whatever was
    /// mapped there before.
    ///
    /// # Errors
    /// Every [`MapError`] but `Overlap`; the tables are unchanged then.
    pub fn set_all_to_one(
        &self,
        memory: &mut impl TableMemory,
        mapping: Mapping,
    ) -> Result<Change, MapError> {
        self.edit(memory, mapping, Kind::OnePage)
    }

    fn edit<M: TableMemory>(
        &self,
        memory: &mut M,
        mapping: Mapping,
        kind: Kind,
    ) -> Result<Change, MapError> {
        let Some((first, last)) = self.check(&mapping)? else {
            return Ok(Change::default());
        };
        let mut edit = Edit {
            memory,
            table: *self,
            mapping,
            first,
            last,
            kind,
            spare: Spare::Count(0),
            change: Change::default(),
        };
        edit.visit(Source::Table(self.root), LEVELS, 0)?;
        if let Spare::Count(needed) = edit.spare {
            edit.spare = Spare::Chain(reserve(edit.memory, needed)?);
        }
        edit.visit(Source::Table(self.root), LEVELS, 0)?;
        Ok(edit.change)
    }

    /// First and last address within the tree; `None` for an empty range.
    fn check(&self, mapping: &Mapping) -> Result<Option<(u64, u64)>, MapError> {
        let phys = if mapping.rights.read { mapping.phys } else { 0 };
        if !(mapping.virt | phys | mapping.length).is_multiple_of(PAGE) {
            return Err(MapError::Misaligned);
        }
        let Some(beyond) = mapping.length.checked_sub(1) else {
            return Ok(None);
        };
        let last = mapping.virt.checked_add(beyond);
        let last_phys = phys.checked_add(beyond);
        let (Some(last), Some(last_phys)) = (last, last_phys) else {
            return Err(MapError::OutOfRange);
        };
        let halves = self.format == Format::LongMode;
        let unused = !(if halves { SPAN / 2 } else { SPAN } - 1);
        let upper = mapping.virt & unused;
        let canonical = upper == 0 || (upper == unused && halves);
        if !canonical || last & unused != upper || last_phys >= ADDRESS + PAGE {
            return Err(MapError::OutOfRange);
        }
        Ok(Some((mapping.virt % SPAN, last % SPAN)))
    }
}

/// Takes frames and chains them by their first entries; all or none. 0 ends the chain.
fn reserve(memory: &mut impl TableMemory, needed: usize) -> Result<u64, MapError> {
    let mut chain = 0;
    for _ in 0..needed {
        let Some(frame) = memory.allocate() else {
            while chain != 0 {
                let next = memory.read(chain, 0);
                memory.free(chain);
                chain = next;
            }
            return Err(MapError::OutOfFrames);
        };
        memory.write(frame, 0, chain);
        chain = frame;
    }
    Ok(chain)
}

/// What an edit does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It maps where nothing is mapped.
    New,
    /// It replaces what is there.
    Any,
    /// Likewise, and all pages of the range become the same one.
    OnePage,
}

/// Frames for new tables: first they are counted, then they are there.
enum Spare {
    Count(usize),
    Chain(u64),
}

/// Where the entries of a table come from.
#[derive(Clone, Copy)]
enum Source {
    /// The table is there.
    Table(u64),
    /// It would replace this entry of a table one level up.
    Entry(u64),
}

struct Edit<'m, M> {
    memory: &'m mut M,
    table: PageTable,
    mapping: Mapping,
    first: u64,
    last: u64,
    kind: Kind,
    spare: Spare,
    change: Change,
}

impl<M: TableMemory> Edit<'_, M> {
    /// Edits the part of the range in the table of `level` whose first address is `base`.
    fn visit(&mut self, source: Source, level: u8, base: u64) -> Result<(), MapError> {
        let size = level_size(level);
        let begin = self.first.max(base);
        let end = self.last.min(base + (size * ENTRIES as u64 - 1));
        for slot in index(begin, level)..=index(end, level) {
            let start = base + slot as u64 * size;
            let old = match source {
                Source::Table(table) => self.memory.read(table, slot),
                Source::Entry(entry) => Format::part(entry, level + 1, slot),
            };
            if self.kind == Kind::New && is_leaf(old, level) {
                let virt = self.mapping.virt + (start.max(self.first) - self.first);
                return Err(MapError::Overlap { virt });
            }
            if self.fits(old, level, start) {
                self.replace(source, slot, old, level, start);
            } else {
                self.descend(source, slot, old, level, start)?;
            }
        }
        Ok(())
    }

    /// Whether one entry of this level can do all of its part.
    fn fits(&self, old: u64, level: u8, start: u64) -> bool {
        let size = level_size(level);
        let whole = self.first <= start && start + (size - 1) <= self.last;
        if !whole || (self.kind == Kind::New && is_table(old, level)) {
            return false;
        }
        !self.mapping.rights.read
            || level == 1
            || (self.kind != Kind::OnePage
                && level <= self.table.largest as u8
                && self.phys(start).is_multiple_of(size))
    }

    /// Physical address for `address` of the tree. Wraps for an entry that starts before the
    /// range; the low bits are right nevertheless.
    fn phys(&self, address: u64) -> u64 {
        if self.kind == Kind::OnePage {
            return self.mapping.phys;
        }
        let offset = address.wrapping_sub(self.first);
        self.mapping.phys.wrapping_add(offset)
    }

    fn leaf(&self, level: u8, start: u64) -> u64 {
        let phys = self.phys(start);
        self.table.format.leaf(phys, self.mapping.rights, level)
    }

    fn replace(&mut self, source: Source, slot: usize, old: u64, level: u8, start: u64) {
        let (Spare::Chain(_), Source::Table(table)) = (&self.spare, source) else {
            return;
        };
        let new = self.leaf(level, start);
        if new == old {
            return;
        }
        self.memory.write(table, slot, new);
        if is_table(old, level) {
            self.drop_table(old & ADDRESS, level - 1);
        } else if is_leaf(old, level) && takes_away(old, new) {
            self.change.flush = true;
        }
    }

    fn drop_table(&mut self, table: u64, level: u8) {
        for slot in 0..ENTRIES {
            let entry = self.memory.read(table, slot);
            if is_table(entry, level) {
                self.drop_table(entry & ADDRESS, level - 1);
            }
        }
        self.memory.free(table);
        self.change.flush = true;
    }

    fn descend(
        &mut self,
        source: Source,
        slot: usize,
        old: u64,
        level: u8,
        start: u64,
    ) -> Result<(), MapError> {
        if is_table(old, level) {
            return self.visit(Source::Table(old & ADDRESS), level - 1, start);
        }
        if self.already_so(old, level, start) {
            return Ok(());
        }
        let below = match (&mut self.spare, source) {
            (Spare::Chain(chain), Source::Table(table)) => {
                let fresh = *chain;
                *chain = self.memory.read(fresh, 0);
                for part in 0..ENTRIES {
                    let entry = Format::part(old, level, part);
                    self.memory.write(fresh, part, entry);
                }
                let entry = self.table.format.table(fresh);
                self.memory.write(table, slot, entry);
                Source::Table(fresh)
            }
            (Spare::Count(needed), _) => {
                *needed += 1;
                Source::Entry(old)
            }
            (Spare::Chain(_), Source::Entry(_)) => return Ok(()),
        };
        self.visit(below, level - 1, start)
    }

    /// Whether the page (or hole) that covers a part of the range says what the range asks for.
    fn already_so(&self, old: u64, level: u8, start: u64) -> bool {
        if old & PRESENT == 0 {
            return !self.mapping.rights.read;
        }
        let alike = self.mapping.rights.read && self.kind != Kind::OnePage;
        is_leaf(old, level) && alike && old == self.leaf(level, start)
    }
}
