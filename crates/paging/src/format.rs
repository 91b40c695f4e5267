//! The bits of an entry.

/// Size of a page; the discriminant is the level of the table that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB.
    Small = 1,
    /// 2 MiB.
    Large = 2,
    /// 1 GiB.
    Huge = 3,
}

impl PageSize {
    /// Size in bytes.
    pub const fn bytes(self) -> u64 {
        level_size(self as u8)
    }
}

/// Bytes that one entry of a table of this level (1 to 4) covers.
pub const fn level_size(level: u8) -> u64 {
    1 << (3 + 9 * level as u32)
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Reads; a page without it is not mapped at all.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
    /// Access from ring 3. Nested tables have no such bit; there it reads back as `false`.
    pub user: bool,
    /// Accesses are not cached.
    pub uncached: bool,
}

impl Rights {
    /// Nothing: unmaps.
    pub const NONE: Self = Self::new(false, false, false);
    /// Reads only, by the kernel only.
    pub const READ: Self = Self::new(true, false, false);
    /// Reads and writes, by the kernel only.
    pub const READ_WRITE: Self = Self::new(true, true, false);
    /// Reads and instruction fetches, by the kernel only.
    pub const READ_EXECUTE: Self = Self::new(true, false, true);
    /// Everything that nested tables can give.
    pub const ALL: Self = Self::new(true, true, true);

    const fn new(read: bool, write: bool, execute: bool) -> Self {
        Self { read, write, execute, user: false, uncached: false }
    }

    /// The same, for ring 3 too.
    pub const fn user(self) -> Self {
        Self { user: true, ..self }
    }
}

/// Who reads the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A processor in 64-bit mode (APM volume 2, 5.3; EFER.NXE on).
    LongMode,
    /// AMD nested paging (APM volume 2, 15.25): the same bits, every access counts as user.
    AmdNested,
    /// Intel EPT (SDM volume 3, 29.3.2).
    IntelEpt,
}

/// Physical address bits of an entry.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The entry maps a page or names a table.
pub const PRESENT: u64 = 1;
/// Writes are allowed.
pub const WRITE: u64 = 1 << 1;
/// Ring 3 is allowed.
pub const USER: u64 = 1 << 2;
/// PWT and PCD together select the uncached type in the reset value of the PAT.
const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// Accessed and dirty are set from the start, so that no processor writes to the tables.
const USED: u64 = 1 << 5 | 1 << 6;
/// In a table above the lowest: the entry maps a page.
pub const LARGE: u64 = 1 << 7;
/// Instruction fetches are forbidden.
pub const NO_EXECUTE: u64 = 1 << 63;

const EPT_EXECUTE: u64 = 1 << 2;
const EPT_WRITE_BACK: u64 = 6 << 3;
const EPT_RIGHTS: u64 = 7;

impl Format {
    /// An entry that points to the next table and takes no right away.
    pub(crate) const fn table(self, table: u64) -> u64 {
        match self {
            Self::IntelEpt => table | EPT_RIGHTS,
            Self::LongMode | Self::AmdNested => table | PRESENT | WRITE | USER | 1 << 5,
        }
    }

    /// An entry that maps a page at `phys` in a table of this level; 0 without the right to read.
    pub const fn leaf(self, phys: u64, rights: Rights, level: u8) -> u64 {
        const fn bits(condition: bool, bits: u64) -> u64 {
            if condition { bits } else { 0 }
        }
        let common = phys | PRESENT | bits(level > 1, LARGE) | bits(rights.write, WRITE);
        match self {
            _ if !rights.read => 0,
            Self::IntelEpt => {
                let cached = bits(!rights.uncached, EPT_WRITE_BACK);
                common | cached | bits(rights.execute, EPT_EXECUTE)
            }
            Self::LongMode | Self::AmdNested => {
                let user = rights.user || matches!(self, Self::AmdNested);
                let device = bits(rights.uncached, UNCACHED);
                common | USED | device | bits(user, USER) | bits(!rights.execute, NO_EXECUTE)
            }
        }
    }

    /// What entry `index` of a table is when the table replaces `entry`, which covers all of it
    /// from a table of `level`.
    pub(crate) const fn part(entry: u64, level: u8, index: usize) -> u64 {
        if entry & PRESENT == 0 {
            return 0;
        }
        let part = entry + index as u64 * level_size(level - 1);
        if level == 2 { part & !LARGE } else { part }
    }
}

/// Whether an entry of a table of this level maps a page.
pub(crate) const fn is_leaf(entry: u64, level: u8) -> bool {
    entry & PRESENT != 0 && (level == 1 || entry & LARGE != 0)
}

/// Whether an entry of a table of this level points to another table.
pub(crate) const fn is_table(entry: u64, level: u8) -> bool {
    entry & PRESENT != 0 && level > 1 && entry & LARGE == 0
}

/// Whether somebody could do something with page entry `old` that `new` does not allow in the same
/// way: a right is gone, or the address or the memory type is another. The lowest three bits are
/// rights and the next three the memory type in every format.
pub(crate) const fn takes_away(old: u64, new: u64) -> bool {
    let rights = old & !new & 7 | new & !old & NO_EXECUTE;
    rights | (old ^ new) & (ADDRESS | 7 << 3) != 0
}
