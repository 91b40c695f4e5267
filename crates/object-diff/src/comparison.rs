//! The result of a comparison.

use serde::Serialize;

use crate::refusal::Reason;

/// What differs between two builds of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Functions that are in both and differ.
    pub functions: Vec<FunctionChange>,
    /// Functions that only the patched object has.
    pub new_functions: Vec<String>,
    /// Functions that only the original has. Nothing needs to be done about them.
    pub removed_functions: Vec<String>,
    /// Data that is in both and differs.
    pub data: Vec<DataChange>,
    /// Structures whose layout differs, as far as both objects have debug information.
    pub layouts: Vec<LayoutChange>,
    /// Named data that only the patched object has.
    pub new_data: Vec<String>,
    /// The variables of this object that can be written to: those that new code uses, those that are
    /// new, and those that are gone.
    pub variables: Vec<Variable>,
    /// Which of [`Input::decisions`](crate::Input::decisions) are about this object, by their number.
    pub decided: Vec<usize>,
    /// What is worth knowing and changes nothing.
    pub notes: Vec<Note>,
    /// Why no patch can be made of this; empty when one can.
    pub refusals: Vec<Reason>,
}

impl Comparison {
    /// Nothing differs that a running kernel would notice.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.data.is_empty() && self.refusals.is_empty()
    }

    /// What can be done about the change.
    #[must_use]
    pub fn class(&self) -> Class {
        let is_data = |reason: &Reason| {
            matches!(reason, Reason::Data(_) | Reason::Layout(_) | Reason::Table { .. })
        };
        if self.is_empty() {
            Class::NoEffect
        } else if self.refusals.iter().any(is_data) {
            Class::Data
        } else if self.refusals.is_empty() {
            Class::Code
        } else {
            Class::Refused
        }
    }
}

/// What can be done about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nothing: the kernel does not change by it.
    NoEffect,
    /// A patch of code.
    Code,
    /// Data that exists already would have to change with the code.
    Data,
    /// No patch, for other reasons.
    Refused,
}

/// A function that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionChange {
    /// Name in the original.
    pub name: String,
    /// Name in the patched object, where the compiler may have numbered it anew.
    pub patched_name: String,
    /// The symbol is local to its object.
    pub is_static: bool,
    /// Section in the original.
    pub section: String,
    /// Bytes in the original, without parts split off (`.cold`).
    pub size: u64,
    /// Bytes in the patched object.
    pub patched_size: u64,
    /// Why it differs.
    pub cause: Cause,
    /// The first place that differs, for a person.
    pub first_difference: String,
}

/// Why a function differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its own source changed, or nobody knows better.
    Direct,
    /// Its source did not change, that of these did, and they are inlined into it.
    Inlined(Vec<String>),
    /// Its source did not change: a type, a constant or a function that it uses did.
    Indirect,
}

/// Data that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataChange {
    /// Name in the original.
    pub name: String,
    /// Section in the original.
    pub section: String,
    /// What sort of data it is.
    pub kind: DataKind,
    /// How it differs.
    pub difference: DataDifference,
}

/// A variable that can be written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Name of its symbol in the patched object, or in the original for one that is gone.
    pub name: String,
    /// Name of its symbol in the original.
    pub original_name: Option<String>,
    /// The function that declares it, as far as debug information tells.
    pub function: Option<String>,
    /// File and line that declare it, or that use the macro which makes it.
    pub place: Option<String>,
    /// Its section.
    pub section: String,
    /// Bytes.
    pub size: u64,
    /// What becomes of it.
    pub state: State,
}

/// What becomes of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// New code uses the kernel's own, with the value that it has.
    Kept(Rule),
    /// It comes with the patch, and begins with its initial value.
    New,
    /// The source does not have it any more.
    Gone,
}

/// What tells that a variable is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The author.
    Author,
    /// Its name, which the source gives it alone.
    Name,
    /// The line that declares it.
    Declaration,
    /// The lines that use it.
    Use,
    /// One edit changes its declaration.
    Edit,
    /// The code that uses it, which is the same; only without debug information.
    Code,
}

/// A structure or union whose layout differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayoutChange {
    /// Name, with `struct` or `union` in front.
    pub name: String,
    /// What differs, for a person.
    pub fields: Vec<String>,
}

/// Sorts of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// `.data`, `.bss` and their like.
    Variable,
    /// `.rodata`.
    ReadOnly,
    /// Written during boot, then read-only.
    ReadOnlyAfterInit,
    /// One copy for each processor.
    PerCpu,
    /// Freed after boot.
    Init,
}

/// How data differs. Offsets and sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataDifference {
    /// Another size.
    Size {
        /// In the original.
        before: u64,
        /// In the patched object.
        after: u64,
    },
    /// Another initial value: the first byte that differs.
    Value {
        /// Where in the object.
        offset: u64,
        /// In the original.
        before: u8,
        /// In the patched object.
        after: u8,
    },
    /// Another pointer in its initial value.
    Pointer {
        /// Where in the object.
        offset: u64,
        /// What it points to in the original.
        before: String,
        /// In the patched object.
        after: String,
    },
    /// Another section.
    Section {
        /// In the patched object.
        after: String,
    },
}

/// What is worth knowing and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A function that runs during boot only is new, or differs because of what is inlined into it.
    InitFunction(String),
    /// A function of a part of the kernel that is not there at run time differs.
    ExitFunction(String),
    /// A new export: modules see it after a reboot only.
    NewExport(String),
    /// A table that the running kernel does not look at again differs.
    Table(String),
}
