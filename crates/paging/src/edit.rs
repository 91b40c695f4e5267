//! Changing tables.
//!
//! An edit first makes sure that there are frames for the most tables that it can need, then walks
//! the tree once and writes. So it happens in full or not at all.

use crate::format::{ADDRESS, PRESENT, is_leaf, is_table, level_size, takes_away};
use crate::{
    Change, ENTRIES, Format, LEVELS, MapError, Mapping, PAGE, PageTable, SPAN, TableMemory, index,
};

impl PageTable {
    /// Maps a range, whatever was mapped there before, with the largest pages that fit.
    ///
    /// # Errors
    /// Every [`MapError`]; the tables are unchanged then.
    pub fn set(&self, memory: &mut impl TableMemory, mapping: Mapping) -> Result<Change, MapError> {
        self.edit(memory, mapping, false)
    }

    /// Maps every page of a range to the one page at the mapping's physical address, whatever was
    /// mapped there before.
    ///
    /// # Errors
    /// Every [`MapError`]; the tables are unchanged then.
    pub fn set_all_to_one(
        &self,
        memory: &mut impl TableMemory,
        mapping: Mapping,
    ) -> Result<Change, MapError> {
        self.edit(memory, mapping, true)
    }

    fn edit<M: TableMemory>(
        &self,
        memory: &mut M,
        mapping: Mapping,
        one_page: bool,
    ) -> Result<Change, MapError> {
        let Some((first, last)) = self.check(&mapping)? else {
            return Ok(Change::default());
        };
        let change = Change::default();
        let mut edit = Edit { memory, table: *self, mapping, first, last, one_page, change };
        if edit.memory.available() < edit.most_tables() {
            return Err(MapError::OutOfFrames);
        }
        edit.visit(self.root, LEVELS, 0)?;
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

struct Edit<'m, M> {
    memory: &'m mut M,
    table: PageTable,
    mapping: Mapping,
    first: u64,
    last: u64,
    /// All pages of the range become the same one.
    one_page: bool,
    change: Change,
}

impl<M: TableMemory> Edit<'_, M> {
    /// The most tables that the edit can need: all that hold the pages of the range, and two of
    /// each smaller kind, for its ends.
    fn most_tables(&self) -> u64 {
        let shift = self.mapping.virt.wrapping_sub(self.mapping.phys);
        let fits = |level: &u8| {
            let usable = *level <= self.table.largest as u8 && !self.one_page;
            usable && shift.is_multiple_of(level_size(*level))
        };
        let pages = match self.mapping.rights.read {
            true => (2..LEVELS).rev().find(fits).unwrap_or(1),
            false => LEVELS,
        };
        let tables = |level| {
            let covers = level_size(level + 1);
            let all = self.last / covers - self.first / covers + 1;
            if level < pages { all.min(2) } else { all }
        };
        (1..LEVELS).map(tables).sum()
    }

    /// Edits the part of the range in a table of `level` whose first address is `base`.
    fn visit(&mut self, table: u64, level: u8, base: u64) -> Result<(), MapError> {
        let size = level_size(level);
        let begin = self.first.max(base);
        let end = self.last.min(base + (size * ENTRIES as u64 - 1));
        for slot in index(begin, level)..=index(end, level) {
            let start = base + slot as u64 * size;
            let old = self.memory.read(table, slot);
            if self.fits(level, start) {
                self.replace(table, slot, old, level, start);
            } else if is_table(old, level) {
                self.visit(old & ADDRESS, level - 1, start)?;
            } else if !self.already_so(old, level, start) {
                let below = self.split(table, slot, old, level)?;
                self.visit(below, level - 1, start)?;
            }
        }
        Ok(())
    }

    /// Whether one entry of this level can do all of its part.
    fn fits(&self, level: u8, start: u64) -> bool {
        let size = level_size(level);
        if start < self.first || start + (size - 1) > self.last {
            return false;
        }
        !self.mapping.rights.read
            || level == 1
            || (!self.one_page
                && level <= self.table.largest as u8
                && self.phys(start).is_multiple_of(size))
    }

    /// Physical address for `address` of the tree. Wraps for an entry that starts before the
    /// range; the low bits are right nevertheless.
    fn phys(&self, address: u64) -> u64 {
        if self.one_page {
            return self.mapping.phys;
        }
        let offset = address.wrapping_sub(self.first);
        self.mapping.phys.wrapping_add(offset)
    }

    fn leaf(&self, level: u8, start: u64) -> u64 {
        let phys = self.phys(start);
        self.table.format.leaf(phys, self.mapping.rights, level)
    }

    fn replace(&mut self, table: u64, slot: usize, old: u64, level: u8, start: u64) {
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

    /// Puts a table that says the same in the place of an entry.
    fn split(&mut self, table: u64, slot: usize, old: u64, level: u8) -> Result<u64, MapError> {
        let fresh = self.memory.allocate().ok_or(MapError::OutOfFrames)?;
        for part in 0..ENTRIES {
            self.memory.write(fresh, part, Format::part(old, level, part));
        }
        self.memory.write(table, slot, self.table.format.table(fresh));
        Ok(fresh)
    }

    /// Whether the page (or hole) that covers a part of the range says what the range asks for.
    fn already_so(&self, old: u64, level: u8, start: u64) -> bool {
        if old & PRESENT == 0 {
            return !self.mapping.rights.read;
        }
        let alike = self.mapping.rights.read && !self.one_page;
        is_leaf(old, level) && alike && old == self.leaf(level, start)
    }
}
