//! One instruction of the guest, by the trap flag.

use lucos_abi::registers::{DR6_SINGLE_STEP, RFLAGS_TRAP};

/// DR6: which breakpoints were met.
pub const DR6_MET: u64 = 0xf;

/// What a step changes, as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeforeStep {
    /// RFLAGS.
    pub rflags: u64,
    /// DR6.
    pub dr6: u64,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// The instruction was not executed, or is not over.
    Not,
    /// It was executed.
    Done,
    /// It was executed, and the guest's own debug exception comes behind it: it steps by itself, or
    /// has a breakpoint on what was accessed.
    Trapped,
}

impl BeforeStep {
    /// Takes the step's flag out of RFLAGS and DR6 as they are after the exit, unless the instruction
    /// has loaded all flags. `told` is what a debug exception at the exit has said; `None`: there was
    /// none.
    pub fn end(
        self,
        told: Option<u64>,
        loads_flags: bool,
        [rflags, dr6]: [&mut u64; 2],
        dr7: u64,
    ) -> Stepped {
        // A breakpoint on the instruction comes before it, and is no single step. Bochs 2.7 says
        // nothing where AMD-V tells in DR6.
        let told = told.map(|told| told & (DR6_SINGLE_STEP | DR6_MET));
        let done = told.is_some_and(|told| told == 0 || told & DR6_SINGLE_STEP != 0);
        if !done || !loads_flags {
            *rflags = *rflags & !RFLAGS_TRAP | self.rflags & RFLAGS_TRAP;
        }
        let steps = self.rflags & RFLAGS_TRAP != 0;
        // DR6 tells of breakpoints too that are not switched on in DR7 (APM vol. 2, 13.1.1.3).
        let met = told.unwrap_or_default();
        let is_met = |number: u64| met >> number & 1 != 0 && dr7 >> (2 * number) & 3 != 0;
        let trapped = steps || (0..4).any(is_met);
        if done {
            *dr6 = *dr6 & !DR6_SINGLE_STEP | if steps { DR6_SINGLE_STEP } else { 0 };
        }
        *dr6 |= self.dr6;
        match done {
            false => Stepped::Not,
            true if trapped => Stepped::Trapped,
            true => Stepped::Done,
        }
    }
}
