//! What goes wrong in a transaction, and at which of its steps.

use std::cell::Cell;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Nothing.
    Nothing,
    /// This step fails, the next ones work.
    Fail(u8),
    /// The task ends before this step.
    End(u8),
}

#[derive(Clone, Copy)]
struct Fuse {
    trouble: Trouble,
    steps: u8,
    ended: bool,
}

thread_local! {
    /// Store and subject of a transaction count their steps together.
    static FUSE: Cell<Fuse> =
        const { Cell::new(Fuse { trouble: Trouble::Nothing, steps: 0, ended: false }) };
}

/// A transaction begins.
pub fn set(trouble: Trouble) {
    FUSE.set(Fuse { trouble, steps: 0, ended: false });
}

/// One step; an error when it does nothing.
pub fn step() -> Result<(), ()> {
    let mut fuse = FUSE.get();
    let step = fuse.steps;
    fuse.steps = fuse.steps.saturating_add(1);
    fuse.ended |= fuse.trouble == Trouble::End(step);
    let fails = fuse.ended || fuse.trouble == Trouble::Fail(step);
    FUSE.set(fuse);
    if fails { Err(()) } else { Ok(()) }
}

/// How many steps there were, and whether the task has ended.
pub fn burnt() -> (u8, bool) {
    let fuse = FUSE.get();
    (fuse.steps, fuse.ended)
}
