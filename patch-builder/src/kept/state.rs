//! Addresses of things, and which registers and places of a frame hold them.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::Register;

/// How many parameters are passed in registers.
pub(super) const PARAMETERS: usize = 6;

/// What an address is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// Something of the patch, by its number.
    Own(usize),
    /// What this parameter of the function points to.
    Parameter(usize),
    /// What is found by following pointers from there.
    Behind(usize),
    /// The function's frame.
    Frame,
}

pub(super) type Labels = BTreeSet<Label>;

/// What a function does with what it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// It may keep these parameters.
    pub(super) keeps: [bool; PARAMETERS],
    /// It may keep addresses that it finds there.
    pub(super) behind: [bool; PARAMETERS],
    /// It may keep what is passed on the stack.
    pub(super) keeps_rest: bool,
    /// What it may return.
    pub(super) returns: Labels,
    /// It copies what its second parameter points to to where the first one does.
    pub(super) copies: bool,
}

impl Effect {
    /// Of a function that nothing is known of.
    pub(super) fn unknown() -> Self {
        Self {
            keeps: [true; PARAMETERS],
            behind: [true; PARAMETERS],
            keeps_rest: true,
            ..Self::default()
        }
    }

    pub(super) fn returning_first() -> Self {
        Self { returns: [Label::Parameter(0), Label::Behind(0)].into(), ..Self::default() }
    }

    pub(super) fn keep(&mut self, parameter: usize) {
        if let (Some(keeps), Some(behind)) =
            (self.keeps.get_mut(parameter), self.behind.get_mut(parameter))
        {
            (*keeps, *behind) = (true, true);
        } else {
            self.keeps_rest = true;
        }
    }
}

/// What is where at one place of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) registers: [Labels; 16],
    /// The stack pointer, from its value at the function's start in bytes; `None`: not known.
    pub(super) depth: Option<i64>,
    /// The frame, by place.
    pub(super) slots: BTreeMap<i64, Labels>,
    /// What is somewhere in the frame.
    pub(super) somewhere: Labels,
}

impl State {
    /// Adds what is true on another way here; false when nothing is new.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for (mine, others) in self.registers.iter_mut().zip(&other.registers) {
            mine.extend(others);
        }
        if self.depth != other.depth {
            self.depth = None;
        }
        for (place, labels) in &other.slots {
            self.slots.entry(*place).or_default().extend(labels);
        }
        self.somewhere.extend(&other.somewhere);
        *self != before
    }

    pub(super) fn frame(&self) -> Labels {
        let mut all = self.somewhere.clone();
        all.extend(self.slots.values().flatten());
        all.remove(&Label::Frame);
        all
    }

    /// What is in so many places of the stack from `depth` on.
    pub(super) fn slots_from(&self, depth: i64, count: i64) -> Labels {
        let mut all: Labels =
            self.slots.range(depth..depth + 8 * count).flat_map(|(_, own)| own).copied().collect();
        all.remove(&Label::Frame);
        all
    }

    pub(super) fn register(&self, register: Register) -> Labels {
        match number(register) {
            Some(RSP) => [Label::Frame].into(),
            Some(number) => self.registers.get(number).cloned().unwrap_or_default(),
            None => Labels::new(),
        }
    }

    pub(super) fn set(&mut self, register: Register, labels: Labels) {
        if let Some(slot) = number(register).and_then(|number| self.registers.get_mut(number)) {
            *slot = labels;
        }
    }

    /// The stack pointer is not known any more.
    pub(super) fn lose_depth(&mut self) {
        self.depth = None;
        let all = std::mem::take(&mut self.slots);
        self.somewhere.extend(all.into_values().flatten());
    }

    pub(super) fn push(&mut self, labels: Labels) {
        self.depth = self.depth.map(|depth| depth - 8);
        match self.depth {
            Some(depth) => {
                self.slots.insert(depth, labels);
            }
            None => self.somewhere.extend(labels),
        }
    }

    pub(super) fn pop(&mut self) -> Labels {
        let Some(depth) = self.depth else { return self.frame() };
        self.depth = Some(depth + 8);
        let mut labels = self.slots.remove(&depth).unwrap_or_default();
        labels.extend(&self.somewhere);
        labels
    }
}

pub(super) const RSP: usize = 4;
/// Registers of the parameters, in their order: RDI, RSI, RDX, RCX, R8, R9.
pub(super) const PASSED: [usize; PARAMETERS] = [7, 6, 2, 1, 8, 9];
/// Registers that a call may change: RAX, RCX, RDX, RSI, RDI, R8 to R11.
pub(super) const CHANGED: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/// The number of a general register, if it is a whole one.
pub(super) fn number(register: Register) -> Option<usize> {
    let is_whole = register.is_gpr64();
    is_whole.then(|| register.number())
}
