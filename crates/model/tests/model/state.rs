//! A state of guest, LUCOS and manager.

use std::collections::BTreeMap;

use lucos_data_versions::note::SLOT;
use lucos_data_versions::touched::Touched;
use lucos_data_versions::{VersionState, Write};
use lucos_transaction::{Engine, Patch, PatchState};

use crate::config::{Config, Seed};
use crate::retained::Retained;
use crate::threads::{Code, Thread};
use crate::updates::Update;
use crate::world::{Data, NAMES, PATCHES, TRAP, World};

/// Processors. Thread `n` runs on processor `n % 2`.
pub const PROCESSORS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub engine: Engine<Retained>,
    pub world: World,
    pub threads: Vec<Thread>,
    /// Who has the guest's lock.
    pub guest_lock: Option<usize>,
    /// What each processor writes to a guarded page.
    pub writes: [Option<Writing>; PROCESSORS],
    /// Which processor has the coherence lock.
    pub holder: Option<usize>,
    pub notes: [[u8; SLOT]; PROCESSORS],
    /// Copies of open pages.
    pub open: BTreeMap<u64, Data>,
    pub manager: Manager,
    pub left: Left,
    /// How often threads have counted.
    pub counted: u8,
}

/// A guarded write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writing {
    pub thread: usize,
    pub write: Write,
    /// Pairs that the comparison found and that were not told yet.
    pub found: Vec<Touched>,
    pub scratch: u8,
    /// The task that did it has ended; what it asked for last may still be done.
    pub has_ended: bool,
}

/// What the manager believes. Sets are of threads, by bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Manager {
    /// Seen outside the code that a patch leaves, since its last transaction.
    pub outside: [u8; PATCHES],
    /// Seen outside by the witness, with the code that it looked for.
    pub seen: Option<(Code, u8)>,
    /// Ran since.
    pub noted: u8,
    /// The twins of the patch are freed, or not made.
    pub freed: [bool; PATCHES],
    /// The second object has a twin.
    pub second_paired: bool,
    /// What was asked for when a task ended, and is to be asked for again.
    pub repeats: Option<Update>,
    /// Patches that LUCOS withdraws because a pair of theirs is torn.
    pub torn: [bool; PATCHES],
    /// Patches that were withdrawn.
    pub withdrawn: [bool; PATCHES],
    /// Threads may have counted in twins that nobody carries.
    pub is_lossy: bool,
}

/// What is left of the bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub writes: u8,
    pub updates: u8,
    pub ends: u8,
    pub failures: u8,
    pub errors: u8,
    pub contained: u8,
}

impl State {
    pub fn new(config: &Config) -> Self {
        let engine = Engine::open(Retained::new(), TRAP).expect("an empty journal");
        let mut world = World::new();
        world.guards_are_late = config.is(Seed::LateGuards);
        Self {
            engine,
            world,
            threads: vec![Thread::Outside; config.threads],
            guest_lock: None,
            writes: [const { None }; PROCESSORS],
            holder: None,
            notes: [[0; SLOT]; PROCESSORS],
            open: BTreeMap::new(),
            manager: Manager { freed: [true; PATCHES], ..Manager::default() },
            left: Left {
                writes: config.writes,
                updates: config.updates,
                ends: config.ends,
                failures: config.failures,
                errors: config.errors,
                contained: config.contained,
            },
            counted: 0,
        }
    }

    /// The patch that was applied last under this name.
    pub fn patch(&self, patch: usize) -> Option<&Patch> {
        self.engine.patches().iter().rev().find(|other| other.name == NAMES[patch])
    }

    pub fn is_in_force(&self, patch: usize) -> bool {
        self.patch(patch).is_some_and(|patch| patch.state == PatchState::Applied)
    }

    pub fn version(&self, patch: usize) -> VersionState {
        let Some(patch) = self.patch(patch) else { return VersionState::Old };
        patch.versions[0].state(patch.state)
    }

    /// Where a call of a function goes; `None` when a trap leads nowhere.
    pub fn called(&self, function: usize) -> Option<Code> {
        if self.world.code[function] != TRAP {
            return Some(0);
        }
        let target = self.engine.target(World::site(function))?;
        Some(World::patch_of(target.entry) + 1)
    }

    pub fn is_inside(&self, thread: usize, code: Code) -> bool {
        self.threads[thread].code() == Some(code)
    }

    pub fn anybody_inside(&self, code: Code) -> bool {
        (0..self.threads.len()).any(|thread| self.is_inside(thread, code))
    }

    /// Nobody writes, and nothing is half done.
    pub fn is_quiet(&self) -> bool {
        !self.world.stopped && self.holder.is_none() && self.notes.iter().all(|note| note[0] == 0)
    }

    /// Whether the coherence lock can be had by a processor, or by a transaction.
    pub fn lock_is_free(&self, config: &Config, processor: Option<usize>) -> bool {
        let others = (0..PROCESSORS).filter(|&other| Some(other) != processor);
        let mut notes = others.map(|other| self.notes[other][0]);
        self.holder.is_none() && (config.is(Seed::NoWaiting) || notes.all(|note| note == 0))
    }

    /// The task `liveupdate` ends and begins anew. Messages of the old one may still be served.
    pub fn end_task(&mut self, config: &Config) {
        self.engine = Engine::open(self.engine.clone().into_store(), TRAP).expect("a journal");
        self.holder = None;
        for writing in self.writes.iter_mut().flatten() {
            writing.has_ended = true;
        }
        if config.is(Seed::StopEnds) {
            self.world.stopped = false;
        }
    }
}
