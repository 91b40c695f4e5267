//! What is compared.

/// Two builds of one object.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The object as it is in the kernel that runs: an ELF relocatable file.
    pub original: &'a [u8],
    /// The object with the change.
    pub patched: &'a [u8],
    /// Sizes of the entries of the kernel's tables.
    pub sizes: SpecialSizes,
    /// The kernel is built for indirect branch tracking.
    pub ibt: bool,
    /// The object is part of a module, not of the kernel image.
    pub module: bool,
    /// Path of the object, for messages.
    pub name: &'a str,
    /// Functions that the source change itself touches; empty when that is not known. It only
    /// decides what [`Cause`](crate::Cause) says.
    pub edited: &'a [String],
    /// The source files that the change touches. Without them a variable whose name carries the
    /// compiler's number is known by the line that declares it.
    pub sources: &'a [SourceChange<'a>],
    /// What the author says of variables.
    pub decisions: &'a [Decision],
}

/// A source file that the change touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceChange<'a> {
    /// Its path, as the compiler was given it.
    pub path: &'a str,
    /// Its text before.
    pub before: &'a str,
    /// Its text with the change, as it was compiled: `#line NUMBER` directives count. Where two
    /// lines have one number, they must have no column in common that something begins in.
    pub after: &'a str,
}

/// What the author says of a variable. The names are those of symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A variable of the patched object is one of the original.
    Same {
        /// In the original object.
        old: String,
        /// In the patched object.
        new: String,
    },
    /// A variable of the patched object is new.
    New(String),
}

/// Sizes in bytes of the entries of the kernel's tables, which differ between versions: take them
/// from the kernel's BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialSizes {
    /// `struct alt_instr`.
    pub alt_instr: u64,
    /// `struct bug_entry`.
    pub bug_entry: u64,
    /// `struct exception_table_entry`.
    pub exception_entry: u64,
    /// `struct jump_entry`.
    pub jump_entry: u64,
    /// `struct orc_entry`.
    pub orc_entry: u64,
    /// `struct paravirt_patch_site`; kernels without it have no such table.
    pub paravirt_site: u64,
    /// `struct static_call_site`.
    pub static_call_site: u64,
}

impl SpecialSizes {
    /// Those of Linux 6.1 on x86-64.
    pub const LINUX_6_1: Self = Self {
        alt_instr: 12,
        bug_entry: 12,
        exception_entry: 12,
        jump_entry: 16,
        orc_entry: 6,
        paravirt_site: 16,
        static_call_site: 8,
    };

    /// Those of Linux 6.12 on x86-64.
    pub const LINUX_6_12: Self = Self { alt_instr: 14, ..Self::LINUX_6_1 };
}
