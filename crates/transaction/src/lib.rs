//! The update transaction.
//!
//! An update replaces functions: at the *site* of each old function it places a redirection to the
//! new one, first a one-byte trap, later a jump. And it changes *values*: a few bytes of an object.
//! The transaction is all or nothing, also over several updates at once, and what it did can be taken
//! back:
//!
//! * [`Engine::apply`]: intent in the journal, stop, verify, write all values and traps, commit in
//!   the journal, resume;
//! * [`Engine::jump`]: a second stop that turns traps into jumps;
//! * [`Engine::rollback`]: the same with the roles exchanged.
//!
//! An error at any point before the commit undoes everything, so that the guest's memory is byte
//! for byte as it was. A crash of the task at any point is mended by [`Engine::recover`], from the
//! [`journal`] alone.
//!
//! The crate knows guest memory, processors and retained pages only as the traits [`Subject`] and
//! [`Store`], and it knows no instruction set: what to write comes with the [`Plan`].

#![cfg_attr(not(any(test, feature = "fake")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod engine;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod journal;
pub mod patch;
pub mod redirect;
pub mod subject;
pub mod version;

pub use engine::Engine;
pub use journal::Store;
pub use patch::value::{Value, ValuePlan, ValueState};
pub use patch::{Code, FunctionPlan, Patch, PatchState, Plan, SiteState};
pub use redirect::{Lookup, Redirects};
pub use subject::{DataSubject, Subject, SubjectError};
pub use version::{Half, Version, VersionPlan};

#[cfg(test)]
mod tests;
