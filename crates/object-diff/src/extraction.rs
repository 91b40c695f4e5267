//! The result of a cut-out.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What an extraction knows of the rest of the patch. Empty for a patch of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Global functions that other objects of this patch replace or supersede: direct calls to them
    /// lead to their new versions (`lucos_new_NAME`).
    pub replaced: BTreeSet<String>,
    /// New global functions and data that other objects of this patch use: they go along even if
    /// nothing in their own object refers to them.
    pub wanted: BTreeSet<String>,
    /// Keys of jump labels that the kernel makes read-only after boot, for kernels whose loader
    /// writes to the key of every jump label that a module brings (those before 6.10). Such labels
    /// get a key of their own, see [`CopiedKey`].
    pub read_only_keys: BTreeSet<String>,
    /// Other names for undefined symbols, for those that are not unique in the kernel.
    pub renamed: BTreeMap<String, String>,
    /// Where the kernel has constants that would be copied otherwise, see [`Constant`].
    pub constants: BTreeMap<ConstantId, KernelPlace>,
}

/// Which constant of a patched object is meant: the number of its section, and its offset in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConstantId {
    pub(crate) section: usize,
    pub(crate) offset: u64,
}

/// A place in the kernel that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelPlace {
    /// An undefined symbol.
    pub symbol: String,
    /// Bytes behind it.
    pub distance: i64,
}

/// A constant without a name that counts (a text, `__func__`, a table of the compiler), of which
/// [`Extract::elf`] has a copy, and the original object has the same. With its place in
/// [`Links::constants`] new code refers to the kernel's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// For [`Links::constants`].
    pub id: ConstantId,
    /// What stands there.
    pub bytes: Vec<u8>,
    /// The parts of it that a linker fills in.
    pub fields: Vec<Range<usize>>,
    /// Places in the original object's code that refer to it.
    pub sites: Vec<Site>,
    /// Data of the original object that refers to it.
    pub holders: Vec<Holder>,
}

/// Data of the original object with the address of a constant in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The data.
    pub data: Reference,
    /// Where in it the eight bytes of the address are.
    pub offset: u64,
    /// What has been added to the constant's own address.
    pub addend: i64,
}

/// A cut-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extract {
    /// A relocatable ELF object.
    pub elf: Vec<u8>,
    /// Functions to redirect.
    pub replacements: Vec<Replacement>,
    /// Functions that have a new version which only new code calls, directly: their old versions
    /// stay as they are for the threads that are in their old callers, because the calling
    /// convention differs.
    pub superseded: Vec<Superseded>,
    /// Keys of jump labels that are there a second time.
    pub copied_keys: Vec<CopiedKey>,
    /// Numbers of bits to shift by that are to be filled in.
    pub shifts: Option<BootShifts>,
    /// Every undefined symbol of the object, but those of [`Links::constants`].
    pub references: Vec<Reference>,
    /// Copies of constants that the original object has too.
    pub constants: Vec<Constant>,
}

/// A table in [`Extract::elf`] of places in its code and variables of the kernel (`unsigned int`),
/// both as addresses of eight bytes. Before the patch is applied, the module must write the value of
/// each variable, which is less than 32, into the byte at the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootShifts {
    /// Global symbol of the table.
    pub symbol: String,
    /// Entries of 16 bytes.
    pub count: usize,
}

/// A `struct static_key` of the kernel that never changes again, and one in [`Extract::elf`] that
/// stands for it. Before the patch is applied, the module must enable the copy if the original is
/// enabled, and disable it otherwise (`static_key_enable`, `static_key_disable`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopiedKey {
    /// Undefined symbol of the original.
    pub original: String,
    /// Global symbol of the copy.
    pub copy: String,
}

/// A function to redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replacement {
    /// Name of the old function as the kernel shows it.
    pub name: String,
    /// It is local to its object, so other objects may have one of the same name.
    pub is_static: bool,
    /// Place among the functions of that name in the original object, by order of address, from 0.
    pub nth_in_object: usize,
    /// Bytes of the old function.
    pub size: u64,
    /// Global symbol of the new function, defined in [`Extract::elf`].
    pub new_symbol: String,
    /// The patched object takes the address of the function, or may.
    pub address_taken: bool,
}

/// A function with a new version that needs no redirection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Superseded {
    /// Name of the old function.
    pub name: String,
    /// It is local to its object.
    pub is_static: bool,
    /// Global symbol of the new version.
    pub new_symbol: String,
    /// Why.
    pub reason: String,
}

/// An undefined symbol of a cut-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// Name in [`Extract::elf`].
    pub symbol: String,
    /// Name as the kernel shows it.
    pub name: String,
    /// Defined in the original object; otherwise in another object of the kernel.
    pub in_object: bool,
    /// Local to the original object.
    pub is_static: bool,
    /// Place among the symbols of that name in the original object, from 0; 0 if it is not there.
    pub nth_in_object: usize,
    /// Bytes, if it is defined in the original object.
    pub size: u64,
    /// Section in the original object; empty if it is not there.
    pub section: String,
    /// New code takes its address, rather than only calling or reading it.
    pub address_taken: bool,
    /// The original object takes its address too.
    pub address_was_taken: bool,
    /// Places of the original object that refer to it, so that its address can be read out of the
    /// kernel that runs.
    pub sites: Vec<Site>,
}

/// A place in the original object that refers to a symbol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The function the place is in.
    pub function: String,
    /// Offset of the relocated field from the start of the function, in bytes.
    pub offset: u64,
    /// ELF relocation type (R_X86_64_*).
    pub relocation: u32,
    /// Addend, with the symbol's own address as base.
    pub addend: i64,
}
