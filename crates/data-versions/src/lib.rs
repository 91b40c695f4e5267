//! Data in two versions at once.
//!
//! A patch that changes the form of a kernel's data has, for each *object*, a *twin*: the same state
//! in the new form. While code of both versions runs, LUCOS guards the pages of both, so that every
//! write to one side is carried to the other. `docs/live-update.md` says why that is coherent.
//!
//! This crate is what can be said of it without a machine:
//!
//! * [`pairs`]: looking up the pairs in the guest's lists, and checking those lists;
//! * [`pages`]: which guarded page belongs to which versions, and [`changes`], the bytes of a page that
//!   a write changed; [`touched`] finds the pairs that it touched;
//! * [`write`](mod@write): one guarded write, as a machine that says what is to be done next, and
//!   [`note`], what survives of it when the task ends;
//! * [`state`]: which version a patch's data is in, and who may change that;
//! * [`transfer`]: how long a transfer function may run, and what it is ended for.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod changes;
pub mod note;
pub mod pages;
pub mod pairs;
pub mod state;
pub mod touched;
pub mod transfer;
pub mod write;

pub use changes::Changes;
pub use note::{Carrying, Note};
pub use pages::{Mapping, Pages};
pub use pairs::{List, Pair, Shape, SharedField, Side};
pub use state::{StateByte, VersionState};
pub use transfer::Cause;
pub use write::{Action, Event, Verdict, Write};

/// Bytes of a page.
pub const PAGE: usize = lucos_abi::layout::PAGE as usize;

/// A version of a patch's data: its place among those of its patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    /// The patch's number.
    pub patch: u32,
    /// The version's number in the patch, from 0.
    pub version: u32,
}

#[cfg(test)]
mod tests;
