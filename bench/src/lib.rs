//! What LUCOS costs, in counts: the figures of a guest under LUCOS beside those of the same guest
//! without, what they must not exceed, and what they were before.
//!
//! The machine runs in QEMU's deterministic mode, in which every run is the same and a tick of the
//! time-stamp counter is an instruction.

#![forbid(unsafe_code)]

mod cost;
pub mod data;
pub mod figures;
mod judge;
mod output;
mod recorded;
pub mod script;
mod table;
pub mod updates;

pub use figures::{Figures, Sizes};
pub use judge::{Problem, judge};
pub use output::{Missing, Output};
pub use recorded::{Pair, Recorded};
pub use table::table;
