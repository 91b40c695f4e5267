//! What a search looks at.

use crate::threads::Counting;

/// What is wrong with the machine, so that a search must find a broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seed {
    /// Writes are carried without the coherence lock.
    NoLock,
    /// Guards are set when the guest runs again.
    LateGuards,
    /// A stop ends with the task that asked for it.
    StopEnds,
    /// The witness does not ask again those that ran since it looked.
    NoProbe,
    /// Who holds a pointer to new code does not count as inside.
    DroppedPointer,
    /// DRAINED is said before the pairs of dead objects are dropped.
    NoReconcile,
    /// The note of a write is cleared before what it carries is published.
    EarlyClear,
    /// A processor that finds another's note does not wait for it.
    NoWaiting,
    /// The page that is open for one processor is writable for all.
    OpenForAll,
}

/// Bounds of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Threads of the guest.
    pub threads: usize,
    pub counting: Counting,
    /// How often threads count.
    pub writes: u8,
    /// How many updates are done.
    pub updates: u8,
    /// How often a task ends.
    pub ends: u8,
    /// How often a step of a write fails, or is interrupted.
    pub failures: u8,
    /// How often a step of a transaction fails.
    pub errors: u8,
    /// How often a transfer function is ended.
    pub contained: u8,
    /// B is applied too.
    pub two_patches: bool,
    /// The witness has looked before, and asks those again that ran since; else it asks all.
    pub witness: bool,
    /// A's pointers are read, and called later.
    pub pointers: bool,
    /// The second object is freed.
    pub frees: bool,
    /// All sides lie on one page.
    pub one_page: bool,
    pub seed: Option<Seed>,
}

impl Config {
    /// Three threads and one patch.
    pub const SMALL: Self = Self {
        threads: 3,
        counting: Counting::Atomic,
        writes: 2,
        updates: 2,
        ends: 0,
        failures: 0,
        errors: 0,
        contained: 0,
        two_patches: false,
        witness: false,
        pointers: false,
        frees: false,
        one_page: false,
        seed: None,
    };

    pub fn is(&self, seed: Seed) -> bool {
        self.seed == Some(seed)
    }
}
