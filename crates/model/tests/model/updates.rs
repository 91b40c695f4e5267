//! What the manager asks for, and the witness and searches before it.

use lucos_data_versions::VersionState;
use lucos_data_versions::state::Code as Leaving;
use lucos_guest_interface::Fault;
use lucos_transaction::engine::{Rollback, Way};
use lucos_transaction::{PatchState, Plan};

use crate::config::{Config, Seed};
use crate::fuse::{self, Trouble};
use crate::state::State;
use crate::threads::{Code, Thread};
use crate::world::{FUNCTIONS, MENDED, Machine, NAMES, S4, S6, World, value_plans, version_plan};

/// A hypercall of the manager's, or what LUCOS does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    Apply { patch: usize, clear: bool },
    Rollback { patch: usize, way: Way },
    Drained { patch: usize, code: Leaving },
}

impl Update {
    const fn patch(self) -> usize {
        match self {
            Self::Apply { patch, .. }
            | Self::Rollback { patch, .. }
            | Self::Drained { patch, .. } => patch,
        }
    }

    /// The code that is left.
    const fn left(self) -> Code {
        match self {
            Self::Apply { patch, .. } | Self::Drained { patch, code: Leaving::Old } => patch,
            Self::Rollback { patch, .. } | Self::Drained { patch, code: Leaving::New } => patch + 1,
        }
    }
}

/// What is known of patches whose code or data is in use.
type Listed = Vec<(u32, PatchState, VersionState)>;

impl State {
    fn listed(&self) -> Listed {
        let patches = self.engine.patches().iter();
        patches
            .map(|patch| (patch.number, patch.state, patch.versions[0].state(patch.state)))
            // Others may be forgotten, to make room.
            .filter(|listed| listed.1 != PatchState::RolledBack || listed.2 != VersionState::Old)
            .collect()
    }

    /// What can be asked for now.
    pub fn updates(&self, config: &Config) -> Vec<Update> {
        if let Some(update) = self.manager.repeats {
            return vec![update];
        }
        let all = (1 << self.threads.len()) - 1;
        let mut updates = Vec::new();
        for patch in 0..if config.two_patches { 2 } else { 1 } {
            let in_force = self.is_in_force(patch);
            if self.manager.torn[patch] && in_force {
                updates.push(Update::Rollback { patch, way: Way::Withdraw });
            }
            if self.left.updates > 0 && !in_force {
                updates.extend([true, false].map(|clear| Update::Apply { patch, clear }));
            }
            if self.left.updates > 0 && in_force {
                let ways = [Way::Clear, Way::Guarded, Way::Withdraw];
                updates.extend(ways.map(|way| Update::Rollback { patch, way }));
            }
            let drained = self.manager.outside[patch] == all;
            if drained && in_force && self.version(patch) == VersionState::Both {
                updates.push(Update::Drained { patch, code: Leaving::Old });
            }
            if drained && !in_force && !self.manager.freed[patch] {
                updates.push(Update::Drained { patch, code: Leaving::New });
            }
        }
        updates
    }

    /// Asks for it; `None` when nothing comes of that but an error, or when there is no such step for
    /// trouble.
    pub fn update(mut self, config: &Config, update: Update, trouble: Trouble) -> Option<Self> {
        if self.world.stopped || !self.lock_is_free(config, None) {
            return None;
        }
        match trouble {
            Trouble::Nothing => {}
            Trouble::Fail(_) => self.left.errors = self.left.errors.checked_sub(1)?,
            Trouble::End(_) => self.left.ends = self.left.ends.checked_sub(1)?,
        }
        let is_first = self.manager.repeats.is_none();
        let is_free = self.manager.torn[update.patch()] || matches!(update, Update::Drained { .. });
        if is_first && !is_free {
            self.left.updates = self.left.updates.checked_sub(1)?;
        }
        let patch = update.patch();
        if update == (Update::Drained { patch, code: Leaving::Old })
            && patch == 0
            && !config.is(Seed::NoReconcile)
        {
            self.manager.second_paired &= self.world.second_lives;
        }
        self.world.clear = self.is_clear(config, update.left());
        if let Update::Apply { patch, .. } = update {
            // They are made before, and are not used before.
            self.manager.freed[patch] = false;
            if is_first {
                self.manager.torn[patch] = false;
                self.world.torn[patch] = false;
            }
        }
        if is_first {
            // The manager allocates it anew for each.
            self.world.stage[patch] = [0; 2];
        }
        // What a task's end left is mended first, whatever comes of the update.
        let was_whole = !self.engine.is_unfinished();
        let (world, listed) = (self.world.clone(), self.listed());
        let was_both = self.version(patch) == VersionState::Both;
        fuse::set(trouble);
        let result = self.ask(update);
        let (steps, ended) = fuse::burnt();
        fuse::set(Trouble::Nothing);
        self.world.clear = false;
        if matches!(trouble, Trouble::Fail(step) | Trouble::End(step) if step >= steps) {
            return None;
        }
        if ended {
            self.manager.repeats = Some(update);
            self.withdraw(update, was_both);
            self.end_task(config);
            return Some(self);
        }
        self.manager.repeats = None;
        if result.is_ok() {
            self.believe(update, was_both);
            return Some(self);
        }
        // A stage that the task's end left is wiped by who asks again.
        let stage = if is_first { world.stage } else { self.world.stage };
        let same_world =
            World { clear: false, broken: self.world.broken, stage, ..world } == self.world;
        // An error while an error was undone may leave its record for the next call to forget.
        let same = same_world && (self.listed() == listed || self.engine.is_unfinished());
        if same && is_first && !self.engine.is_unfinished() {
            return None;
        }
        if !same && was_whole {
            self.world.break_promise(S6);
        }
        if !is_first && self.engine.is_unfinished() {
            // Nothing can be said of it yet: it is asked for again.
            self.manager.repeats = Some(update);
        } else if let Update::Apply { patch, .. } = update {
            // Who is still inside a patch that was withdrawn goes on with its twins.
            self.manager.freed[patch] = !self.manager.withdrawn[patch];
        }
        Some(self)
    }

    /// How many steps it has.
    pub fn steps_of(mut self, config: &Config, update: Update) -> u8 {
        if !self.lock_is_free(config, None) {
            return 0;
        }
        self.world.clear = self.is_clear(config, update.left());
        fuse::set(Trouble::Nothing);
        let _ = self.ask(update);
        fuse::burnt().0
    }

    fn ask(&mut self, update: Update) -> Result<(), Fault> {
        let patch = update.patch();
        let number = self.patch(patch).map_or(0, |patch| patch.number);
        let functions: Vec<_> =
            (0..FUNCTIONS).map(|function| self.world.function_plan(patch, function)).collect();
        let pairs = |lives| if patch == 0 && lives { 2 } else { 1 };
        let withdraws = matches!(update, Update::Rollback { way: Way::Withdraw, .. });
        let second_lives = self.world.second_lives;
        let mut machine = Machine { world: &mut self.world, changes: patch, withdraws };
        match update {
            Update::Apply { clear, .. } => {
                let versions = [version_plan(patch, pairs(second_lives))];
                let values = value_plans(patch);
                let plan = Plan {
                    name: NAMES[patch],
                    dependencies: &NAMES[..patch],
                    functions: &functions,
                    versions: &versions,
                    clear_only: clear,
                    values: &values,
                };
                self.engine.apply(&mut machine, &[plan]).map(|_| ())
            }
            Update::Rollback { way, .. } => {
                let lists = [version_plan(patch, pairs(self.manager.second_paired)).lists];
                let rollback = Rollback { number, way, lists: &lists };
                self.engine.rollback(&mut machine, &[rollback]).map(|_| ())
            }
            Update::Drained { code, .. } => self.engine.drained(&mut machine, number, code),
        }
    }

    /// What the manager knows when it was told that it is done.
    fn believe(&mut self, update: Update, was_both: bool) {
        let patch = update.patch();
        match update {
            Update::Apply { .. } => {
                self.manager.outside[patch] = 0;
                self.manager.withdrawn[patch] = false;
                if patch == 0 {
                    self.manager.second_paired = self.world.second_lives;
                }
            }
            Update::Rollback { way, .. } => {
                self.manager.outside[patch] = 0;
                self.manager.torn[patch] = false;
                self.withdraw(update, was_both);
                if way == Way::Clear {
                    self.free_twins(patch);
                }
            }
            Update::Drained { code: Leaving::Old, .. } => {}
            Update::Drained { code: Leaving::New, .. } => self.free_twins(patch),
        }
    }

    /// What new code that is still inside writes may be lost from now on.
    fn withdraw(&mut self, update: Update, was_both: bool) {
        if let Update::Rollback { patch, way: Way::Withdraw } = update {
            self.manager.withdrawn[patch] = true;
            self.manager.is_lossy |= was_both;
        }
    }

    fn free_twins(&mut self, patch: usize) {
        self.manager.freed[patch] = true;
        let is_used = self.is_in_force(patch)
            || self.version(patch) != VersionState::Old
            || self.anybody_inside(patch + 1);
        if is_used {
            self.world.break_promise(S4);
        }
    }

    /// Whether the witness says that nobody is inside.
    fn is_clear(&self, config: &Config, code: Code) -> bool {
        (0..self.threads.len()).all(|thread| {
            let bit = 1 << thread;
            let is_known = config.witness
                && self
                    .manager
                    .seen
                    .is_some_and(|(looked_for, seen)| looked_for == code && seen & bit != 0)
                && (config.is(Seed::NoProbe) || self.manager.noted & bit == 0);
            is_known || !self.seems_inside(config, thread, code)
        })
    }

    /// Whether a look at a thread finds it inside.
    pub fn seems_inside(&self, config: &Config, thread: usize, code: Code) -> bool {
        let dropped = config.is(Seed::DroppedPointer) && self.threads[thread] == Thread::Holding;
        self.is_inside(thread, code) && !dropped
    }

    /// The witness looks at every thread once.
    pub fn look(mut self, config: &Config, code: Code) -> Option<Self> {
        let seen = (0..self.threads.len())
            .filter(|&thread| !self.seems_inside(config, thread, code))
            .fold(0, |seen, thread| seen | 1 << thread);
        let looked = Some((code, seen));
        let is_waiting = self.manager.repeats.is_some();
        if is_waiting || self.manager.seen == looked && self.manager.noted == 0 {
            return None;
        }
        self.manager.seen = looked;
        self.manager.noted = 0;
        Some(self)
    }

    /// The drain looks at one thread.
    pub fn look_at(mut self, config: &Config, patch: usize, thread: usize) -> Option<Self> {
        let code = if self.is_in_force(patch) { patch } else { patch + 1 };
        let bit = 1 << thread;
        let waits = match self.is_in_force(patch) {
            true => self.version(patch) == VersionState::Both,
            false => !self.manager.freed[patch],
        };
        let is_new =
            waits && self.manager.repeats.is_none() && self.manager.outside[patch] & bit == 0;
        if !is_new || self.seems_inside(config, thread, code) {
            return None;
        }
        self.manager.outside[patch] |= bit;
        Some(self)
    }

    /// The new task mends what the old one left, in the stop that the old one asked for.
    pub fn recover(mut self, config: &Config, trouble: Trouble) -> Option<Self> {
        let update = self.manager.repeats?;
        if !self.engine.is_unfinished() || !self.world.stopped {
            return None;
        }
        if trouble != Trouble::Nothing {
            self.left.ends = self.left.ends.checked_sub(1)?;
        }
        let withdraws = matches!(update, Update::Rollback { way: Way::Withdraw, .. });
        let mut machine = Machine { world: &mut self.world, changes: update.patch(), withdraws };
        fuse::set(trouble);
        let result = self.engine.recover(&mut machine);
        let (steps, ended) = fuse::burnt();
        fuse::set(Trouble::Nothing);
        if matches!(trouble, Trouble::End(step) if step >= steps) {
            return None;
        }
        if ended {
            self.end_task(config);
        } else if result.is_err() {
            self.world.break_promise(MENDED);
        }
        Some(self)
    }
}
