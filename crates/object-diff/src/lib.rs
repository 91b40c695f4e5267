//! What changed between two builds of one kernel object, and the cut-out of it.
//!
//! * [`compare`] tells which functions differ and why, which are new, and which data differs.
//! * [`extract`] cuts the changed and new functions out of the patched object, with all they need
//!   of their own, as a relocatable object whose other references are undefined symbols.
//!
//! Both builds come from the same compiler with `-ffunction-sections -fdata-sections`; `objtool`
//! may have been over them. Code is compared by what it does: bytes, and what every relocation
//! means. Names that a compiler numbers anew with every build count for nothing.
//!
//! Objects are read as hostile input: any bytes whatever end in an error at worst.

#![forbid(unsafe_code)]

mod calling;
mod compare;
mod comparison;
mod correlation;
mod debug_info;
mod extract;
mod extraction;
mod identity;
mod initcalls;
mod input;
mod instructions;
mod layouts;
mod matching;
mod nameless;
mod naming;
mod object_file;
mod refusal;
mod tables;
mod variables;
mod view;
mod writer;

pub use calling::users_left;
pub use compare::compare;
pub use comparison::{
    Cause, Class, Comparison, DataChange, DataDifference, DataKind, FunctionChange, LayoutChange,
    Note, Rule, State, Variable,
};
pub use extract::extract;
pub use extraction::{
    BootShifts, Constant, ConstantId, CopiedKey, Extract, Holder, KernelPlace, Links, Reference,
    Replacement, Site, Superseded,
};
pub use input::{Decision, Input, SourceChange, SpecialSizes};
pub use refusal::{Reason, Refusal};
