//! Compares an object without the change with the kernel that will run.
//!
//! When every instruction is the same, the object was made of the same source with the same
//! settings by the same compiler. The fields that a linker filled in then tell where the object's
//! functions and variables are, static ones of the same name too.

mod code;
mod error;
mod expected;
mod found;
mod instructions;
mod matching;
mod object_code;
mod settling;

pub use code::{Memory, Running};
pub use error::Error;
pub use expected::{Expected, at_site};
pub use found::Match;
pub(crate) use instructions::{branch_target, decode};
pub use matching::Matched;
pub use object_code::{Code, ObjectCode, Place};
