//! A function of an object in the code that runs.

use std::collections::BTreeMap;

/// A function that was found.
#[derive(Debug, Clone)]
pub struct Match {
    /// Its address in the code that runs.
    pub address: u64,
    /// By offset in the compiled function: the address that a field refers to, without its addend,
    /// and that addend.
    pub(super) values: BTreeMap<u64, (u64, i64)>,
    /// What it refers to of the object's own functions.
    pub(super) leads: Vec<Lead>,
}

/// A place in a function that refers to a function of the same object.
#[derive(Debug, Clone)]
pub(super) struct Lead {
    /// In bytes from the compiled function's start.
    pub(super) offset: u64,
    /// The other function.
    pub(super) function: String,
    /// Where that is, going by the code that runs.
    pub(super) address: u64,
}

impl Match {
    /// The address that a field of the compiled function refers to, and its addend, which is not
    /// part of it.
    #[must_use]
    pub fn value(&self, offset: u64) -> Option<(u64, i64)> {
        self.values.get(&offset).copied()
    }
}
