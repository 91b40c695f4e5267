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
pub(crate) const fn level_size(level: u8) -> u64 {
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
    pub const NONE: Self = Self {
        read: false,
        write: false,
        execute: false,
        user: false,
        uncached: false,
    };
    /// Reads only, by the kernel only.
    pub const READ: Self = Self {
        read: true,
        ..Self::NONE
    };
    /// Reads and writes, by the kernel only.
    pub const READ_WRITE: Self = Self {
        write: true,
        ..Self::READ
    };
    /// Reads and instruction fetches, by the kernel only.
    pub const READ_EXECUTE: Self = Self {
        execute: true,
        ..Self::READ
    };
    /// Everything that nested tables can give.
    pub const ALL: Self = Self {
        execute: true,
        ..Self::READ_WRITE
    };

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
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
pub(crate) const PRESENT: u64 = 1;
pub(crate) const WRITE: u64 = 1 << 1;
pub(crate) const USER: u64 = 1 << 2;
/// PWT and PCD together select the uncached type in the reset value of the PAT.
const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// Accessed and dirty are set from the start, so that no processor writes to the tables.
const USED: u64 = 1 << 5 | 1 << 6;
pub(crate) const LARGE: u64 = 1 << 7;
pub(crate) const NO_EXECUTE: u64 = 1 << 63;

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
    pub(crate) const fn leaf(self, phys: u64, rights: Rights, level: u8) -> u64 {
        if !rights.read {
            return 0;
        }
        let mut entry = phys | if level > 1 { LARGE } else { 0 };
        if rights.write {
            entry |= WRITE;
        }
        if matches!(self, Self::IntelEpt) {
            entry |= if rights.uncached { 0 } else { EPT_WRITE_BACK };
            return entry | PRESENT | if rights.execute { EPT_EXECUTE } else { 0 };
        }
        if rights.uncached {
            entry |= UNCACHED;
        }
        if rights.user || matches!(self, Self::AmdNested) {
            entry |= USER;
        }
        entry | PRESENT | USED | if rights.execute { 0 } else { NO_EXECUTE }
    }

    /// Rights of an entry that maps a page.
    pub(crate) const fn rights(self, entry: u64) -> Rights {
        let ept = matches!(self, Self::IntelEpt);
        let read = entry & PRESENT != 0;
        Rights {
            read,
            write: entry & WRITE != 0,
            execute: read
                && match ept {
                    true => entry & EPT_EXECUTE != 0,
                    false => entry & NO_EXECUTE == 0,
                },
            user: matches!(self, Self::LongMode) && entry & USER != 0,
            uncached: read
                && match ept {
                    true => entry & EPT_WRITE_BACK == 0,
                    false => entry & UNCACHED == UNCACHED,
                },
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
