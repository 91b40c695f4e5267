//! Page tables as pure algorithms: map, protect, over any memory.
//!
//! One editor serves the kernel's and the tasks' tables and the nested tables of both vendors;
//! [`Format`] knows the bits. Everything of an entry is written at once, so a processor that walks
//! the tables meanwhile sees the old entry or the new one.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod edit;
pub mod format;

pub use format::{Format, PageSize, Rights};

/// Bytes of the smallest page, and of a table.
pub const PAGE: u64 = 4096;
/// Entries of a table.
pub const ENTRIES: usize = 512;

/// Levels of a tree.
const LEVELS: u8 = 4;
/// Addresses below this number fit in a tree.
const SPAN: u64 = format::level_size(LEVELS + 1);

/// Index of the entry for `address` in a table of `level`.
const fn index(address: u64, level: u8) -> usize {
    (address / format::level_size(level)) as usize % ENTRIES
}

/// The memory in which tables lie.
pub trait TableMemory {
    /// Entry `index` (below [`ENTRIES`]) of the table at physical address `table`.
    fn read(&self, table: u64, index: usize) -> u64;

    /// Replaces that entry in one store.
    fn write(&mut self, table: u64, index: usize, entry: u64);

    /// How many frames `allocate` has.
    fn available(&self) -> u64;

    /// A frame of [`PAGE`] bytes; `None` when there is none left.
    fn allocate(&mut self) -> Option<u64>;

    /// Takes back a frame from `allocate`.
    ///
    /// A processor may walk it until the flush that [`Change::flush`] asks for, so tables that
    /// are in use by other processors must not be handed out again before that.
    fn free(&mut self, table: u64);
}

/// A tree of tables with four levels, 48 bits of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTable {
    /// Who reads the tables.
    pub format: Format,
    /// Physical address of the root table.
    pub root: u64,
    /// Largest page that the processor can use in them.
    pub largest: PageSize,
}

/// A range of addresses onto a range of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address, page aligned.
    pub virt: u64,
    /// Physical address of the first byte, page aligned. Ignored when nothing may be read.
    pub phys: u64,
    /// Bytes, a multiple of the page size.
    pub length: u64,
    /// What may be done there; [`Rights::NONE`] unmaps.
    pub rights: Rights,
}

/// What an edit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Processors may still hold translations that are no longer true, or tables that are gone:
    /// they have to forget them before anybody relies on the new state.
    pub flush: bool,
}

/// Why an edit was refused. The tables are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// An address or the length is not a multiple of the page size.
    Misaligned,
    /// The addresses are not canonical, wrap, or do not fit in the tables.
    OutOfRange,
    /// Not enough frames for the most tables that this edit could need.
    OutOfFrames,
}

#[cfg(test)]
mod tests;
