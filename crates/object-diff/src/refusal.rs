//! Why something cannot be compared, or no patch can be made of it.

use core::fmt;

use serde::Serialize;

use crate::comparison::{DataChange, DataDifference, DataKind, LayoutChange};

/// Why there is no patch of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{object}: {}", Reasons(.reasons))]
pub struct Refusal {
    /// Path of the object.
    pub object: String,
    /// At least one.
    pub reasons: Vec<Reason>,
}

/// One reason, with what the author can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The file is not what it should be.
    #[error("not an x86-64 object as the kernel's build makes it: {0}")]
    Malformed(String),
    /// The builds are not comparable.
    #[error("built without -ffunction-sections -fdata-sections: {0} shares a section")]
    SharedSection(String),
    /// Data differs.
    #[error("{}", Changed(.0))]
    Data(DataChange),
    /// A structure's layout differs.
    #[error(
        "{} changes: {}; objects of the old layout exist already, and only code is patched: leave \
         the field out, or keep what it holds elsewhere", .0.name, .0.fields.join(", ")
    )]
    Layout(LayoutChange),
    /// A function that runs during boot only differs.
    #[error("{0} runs during boot only (__init), so a change to it does nothing: leave it out")]
    InitFunction(String),
    /// A function that the kernel calls once is new, while other code changes.
    #[error(
        "{0} is new and called during boot (an initcall), which the running kernel has done: code \
         that changes with it may need what it sets up; leave it out, or set it up from a function"
    )]
    NewInitcall(String),
    /// A function is called in another way than before, and not all of its callers change with it.
    #[error(
        "{function} is called in another way: {before} becomes {after}, and {why}; leave it as it \
         is, and give the new version another name"
    )]
    CalledDifferently {
        /// The function.
        function: String,
        /// Its result and parameters in the original.
        before: String,
        /// Those in the patched object.
        after: String,
        /// Who still calls the old one.
        why: String,
    },
    /// Code outside any function differs.
    #[error(
        "code in {section} that belongs to no C function changes: assembly is not patched; leave it \
         out, or replace the C functions that call it"
    )]
    Assembly {
        /// The section.
        section: String,
    },
    /// A table of the kernel differs.
    #[error(
        "{section} changes: {what}; the kernel has read it already, and only code is patched: leave \
         out what makes this entry"
    )]
    Table {
        /// The section.
        section: String,
        /// What is in it.
        what: String,
    },
    /// A variable that changed code uses may be one that the kernel has, or new.
    #[error(
        "{variable} may be {}, which the kernel has, or a new variable, and nothing tells which: say \
         --same {}={name}, or --new {name}",
        .candidates.join(" or "),
        .candidates.first().and_then(|old| old.split(' ').next()).unwrap_or("OLD")
    )]
    Ambiguous {
        /// Its symbol in the patched object.
        name: String,
        /// What it is called and where it is declared.
        variable: String,
        /// The same of those of the original that it may be.
        candidates: Vec<String>,
    },
    /// The object is not part of the kernel that runs.
    #[error("{0} is not part of the running kernel's code: leave it out")]
    Outside(&'static str),
    /// The code of a function uses something that has no counterpart in a module.
    #[error("{function}: {what}")]
    Unsupported {
        /// The function.
        function: String,
        /// What, and what the author can do.
        what: String,
    },
}

struct Reasons<'a>(&'a [Reason]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{reason}")?;
        }
        Ok(())
    }
}

struct Changed<'a>(&'a DataChange);

impl fmt::Display for Changed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DataChange { name, section, kind, difference } = self.0;
        let kind = match kind {
            DataKind::Variable => "variable",
            DataKind::ReadOnly => "constant",
            DataKind::ReadOnlyAfterInit => "variable (read-only after boot)",
            DataKind::PerCpu => "per-CPU variable",
            DataKind::Init => "boot-time data",
        };
        write!(f, "{kind} {name} ({section}) changes: ")?;
        match difference {
            DataDifference::Size { before, after } => {
                write!(f, "{before} bytes become {after}")?;
            }
            DataDifference::Value { offset, before, after } => {
                write!(f, "byte {offset} from {before:#04x} to {after:#04x}")?;
            }
            DataDifference::Pointer { offset, before, after } => {
                write!(f, "the pointer at byte {offset} from {before} to {after}")?;
            }
            DataDifference::Section { after } => write!(f, "it moves to {after}")?,
        }
        write!(f, "; only code is patched: leave this part out, or set it from a function")
    }
}
