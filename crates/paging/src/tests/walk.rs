//! Reading tables of our own.

use crate::format::{ADDRESS, NO_EXECUTE, PRESENT, USER, WRITE, is_leaf, is_table, level_size};
use crate::{Format, LEVELS, PageTable, Rights, SPAN, TableMemory, index};

/// A mapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its first address.
    pub virt: u64,
    /// Physical address of its first byte.
    pub phys: u64,
    /// Its size in bytes.
    pub size: u64,
    /// What may be done with it.
    pub rights: Rights,
}

impl Leaf {
    /// Physical address of `virt`, an address in this page.
    pub const fn physical(&self, virt: u64) -> u64 {
        self.phys + virt % self.size
    }
}

impl PageTable {
    /// The page that maps `virt`, if any does.
    pub fn walk(&self, memory: &impl TableMemory, virt: u64) -> Option<Leaf> {
        if self.canonical(virt % SPAN) != virt {
            return None;
        }
        self.find(memory, virt % SPAN).ok()
    }

    /// Every mapped page, in the order of addresses.
    pub fn leaves<'m, M: TableMemory>(&self, memory: &'m M) -> Leaves<'m, M> {
        Leaves { table: *self, memory, next: 0 }
    }

    /// The page at `address` (below [`SPAN`]), or how many bytes around it are not mapped.
    fn find(&self, memory: &impl TableMemory, address: u64) -> Result<Leaf, u64> {
        let mut table = self.root;
        for level in (1..=LEVELS).rev() {
            let size = level_size(level);
            let entry = memory.read(table, index(address, level));
            if is_leaf(entry, level) {
                return Ok(Leaf {
                    virt: self.canonical(address - address % size),
                    phys: entry & ADDRESS & !(size - 1),
                    size,
                    rights: self.format.rights(entry),
                });
            }
            if !is_table(entry, level) {
                return Err(size);
            }
            table = entry & ADDRESS;
        }
        Err(level_size(1))
    }

    fn canonical(&self, address: u64) -> u64 {
        let upper = self.format == Format::LongMode && address >= SPAN / 2;
        if upper { address | !(SPAN - 1) } else { address }
    }
}

/// Iterator over all mapped pages, see [`PageTable::leaves`].
#[derive(Clone, Debug)]
pub struct Leaves<'m, M> {
    table: PageTable,
    memory: &'m M,
    next: u64,
}

impl<M: TableMemory> Iterator for Leaves<'_, M> {
    type Item = Leaf;

    fn next(&mut self) -> Option<Leaf> {
        while self.next < SPAN {
            let found = self.table.find(self.memory, self.next);
            let size = found.map_or_else(|hole| hole, |leaf| leaf.size);
            self.next = (self.next | (size - 1)) + 1;
            if let Ok(leaf) = found {
                return Some(leaf);
            }
        }
        None
    }
}

impl Format {
    /// Rights of an entry that maps a page.
    fn rights(self, entry: u64) -> Rights {
        let (execute, uncached) = match self {
            Self::IntelEpt => (entry & (1 << 2) != 0, entry & (6 << 3) == 0),
            _ => (entry & NO_EXECUTE == 0, entry & (3 << 3) == (3 << 3)),
        };
        Rights {
            read: entry & PRESENT != 0,
            write: entry & WRITE != 0,
            execute,
            user: matches!(self, Self::LongMode) && entry & USER != 0,
            uncached,
        }
    }
}
