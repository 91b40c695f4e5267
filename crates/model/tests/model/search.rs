//! The model: what can happen next, and what must hold.

use std::collections::BTreeSet;

use lucos_data_versions::{VersionState, Write};
use lucos_transaction::PatchState;
use stateright::{Model, Property};

use crate::config::{Config, Seed};
use crate::fuse::Trouble;
use crate::state::{PROCESSORS, State, Writing};
use crate::threads::{Counting, Thread};
use crate::updates::Update;
use crate::world::{C1, DEAD, FUNCTIONS, MENDED, PATCHES, S1, S4, S6, STRAY, TRAP};
use crate::writing::{Way, gpa};

/// Most steps of what is mended.
const STEPS: u8 = 60;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A thread goes on.
    Run(usize),
    /// A thread reads A's pointer.
    ReadPointer(usize),
    /// A thread frees the second object.
    Free(usize),
    /// A processor goes on with its guarded write.
    Write(usize, Way),
    /// A processor asks again for a write whose task has ended; its last request is served, or not.
    AskAgain(usize, bool),
    /// The task ends in the middle of writes.
    TaskEnds,
    /// Guards that came too late come.
    LateGuards,
    /// The witness looks for who is inside this code.
    Look(usize),
    /// The drain of a patch looks at a thread.
    LookAt(usize, usize),
    /// An update.
    Update(Update, Trouble),
    /// The new task mends.
    Recover(Trouble),
}

impl Model for Config {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.world.broken.is_some() {
            return;
        }
        if state.world.stopped {
            steps.push(Step::Recover(Trouble::Nothing));
            if state.left.ends > 0 {
                steps.extend((0..STEPS).map(|step| Step::Recover(Trouble::End(step))));
            }
            return;
        }
        for thread in 0..self.threads {
            steps.push(Step::Run(thread));
            if self.pointers {
                steps.push(Step::ReadPointer(thread));
            }
            if self.frees {
                steps.push(Step::Free(thread));
            }
        }
        let mut is_writing = false;
        for processor in 0..PROCESSORS {
            let Some(writing) = &state.writes[processor] else { continue };
            is_writing = true;
            if writing.has_ended {
                steps.extend([true, false].map(|late| Step::AskAgain(processor, late)));
                continue;
            }
            steps.push(Step::Write(processor, Way::Well));
            if state.left.failures > 0 {
                steps.push(Step::Write(processor, Way::Fails));
            }
            if state.left.contained > 0 {
                steps.push(Step::Write(processor, Way::Contained));
            }
        }
        if is_writing && state.left.ends > 0 {
            steps.push(Step::TaskEnds);
        }
        if !state.world.late_guards.is_empty() {
            steps.push(Step::LateGuards);
        }
        for patch in 0..PATCHES {
            steps.extend((0..self.threads).map(|thread| Step::LookAt(patch, thread)));
        }
        if self.witness {
            steps.extend((0..=PATCHES).map(Step::Look));
        }
        for update in state.updates(self) {
            steps.push(Step::Update(update, Trouble::Nothing));
            if state.left.errors == 0 && state.left.ends == 0 {
                continue;
            }
            let all = 0..state.clone().steps_of(self, update);
            if state.left.errors > 0 {
                steps.extend(all.clone().map(|step| Step::Update(update, Trouble::Fail(step))));
            }
            if state.left.ends > 0 {
                steps.extend(all.map(|step| Step::Update(update, Trouble::End(step))));
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let state = state.clone();
        match step {
            Step::Run(thread) => state.run(self, thread),
            Step::ReadPointer(thread) => state.read_pointer(thread),
            Step::Free(thread) => state.free(thread),
            Step::Write(processor, way) => state.go_on(self, processor, way),
            Step::AskAgain(processor, late) => state.ask_again(self, processor, late),
            Step::TaskEnds => {
                let mut state = state;
                state.left.ends -= 1;
                state.end_task(self);
                Some(state)
            }
            Step::LateGuards => {
                let mut state = state;
                let late = std::mem::take(&mut state.world.late_guards);
                state.world.guards.extend(late);
                Some(state)
            }
            Step::Look(code) => state.look(self, code),
            Step::LookAt(patch, thread) => state.look_at(self, patch, thread),
            Step::Update(update, trouble) => state.update(self, update, trouble),
            Step::Recover(trouble) => state.recover(self, trouble),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(C1, |_, state: &State| state.world.broken != Some(C1)),
            Property::always(
                "C2: both sides are alike whenever nobody writes",
                |_, state: &State| {
                    !state.is_quiet() || (0..PATCHES).all(|patch| state.is_coherent(patch))
                },
            ),
            Property::always(S1, |_, state: &State| state.world.broken != Some(S1)),
            Property::always(
                "S2: nobody is inside code whose data is not there",
                |_, state: &State| {
                    state.world.stopped
                        || (0..PATCHES).all(|patch| state.is_one_sided_rightly(patch))
                },
            ),
            Property::always("S3: guards are where both sides live", |_, state: &State| {
                state.world.stopped || state.has_right_guards()
            }),
            Property::always(S4, |_, state: &State| state.world.broken != Some(S4)),
            Property::always("S5: all functions are of one version", |_, state: &State| {
                state.world.stopped
                    || (1..FUNCTIONS).all(|function| state.called(function) == state.called(0))
            }),
            Property::always(S6, |_, state: &State| state.world.broken != Some(S6)),
            Property::always("S7: a stop ends with nothing half done", |_, state: &State| {
                state.world.stopped || state.has_right_code()
            }),
            Property::always(
                "nothing is counted twice, and nothing is lost",
                |_, state: &State| !state.is_quiet() || state.counts_rightly(),
            ),
            Property::always(DEAD, |_, state: &State| state.world.broken != Some(DEAD)),
            Property::always(MENDED, |_, state: &State| state.world.broken != Some(MENDED)),
            Property::always(STRAY, |_, state: &State| state.world.broken != Some(STRAY)),
        ];
        if self.seed.is_none() {
            properties.extend(self.reached());
        }
        properties
    }
}

impl Config {
    /// What must be reached, so that a search does not say much of nothing.
    fn reached(&self) -> Vec<Property<Self>> {
        let mut reached = vec![
            Property::sometimes("a clear commit", |config: &Self, state: &State| {
                let drained = state.manager.outside[0] == (1 << config.threads) - 1;
                state.is_in_force(0) && state.version(0) == VersionState::New && !drained
            }),
            Property::sometimes("a guarded commit, and a thread inside", |_, state: &State| {
                state.is_in_force(0)
                    && state.version(0) == VersionState::Both
                    && state.anybody_inside(0)
            }),
            Property::sometimes("a drain", |config: &Self, state: &State| {
                let drained = state.manager.outside[0] == (1 << config.threads) - 1;
                state.is_in_force(0) && state.version(0) == VersionState::New && drained
            }),
        ];
        if self.counting == Counting::Atomic && self.writes > 1 {
            reached.push(Property::sometimes(
                "two processors write at once",
                |_, state: &State| {
                    state.writes.iter().all(Option::is_some) && state.holder.is_some()
                },
            ));
        }
        if self.updates > 1 {
            reached.push(Property::sometimes(
                "a withdrawal with a thread inside",
                |_, state: &State| state.manager.withdrawn[0] && state.anybody_inside(1),
            ));
            reached.push(Property::sometimes(
                "a rollback whose twins are freed",
                |_, state: &State| {
                    state.patch(0).is_some() && !state.is_in_force(0) && state.manager.freed[0]
                },
            ));
        }
        if self.ends > 0 {
            reached.push(Property::sometimes("the task ends in a stop", |_, state: &State| {
                state.world.stopped
            }));
            reached.push(Property::sometimes("a note outlives its task", |_, state: &State| {
                let ended = state.writes.iter().flatten().any(|writing| writing.has_ended);
                ended && state.notes.iter().any(|note| note[0] != 0)
            }));
        }
        if self.contained > 0 {
            reached
                .push(Property::sometimes("a torn pair", |_, state: &State| state.world.torn[0]));
        }
        if self.two_patches {
            reached.push(Property::sometimes("B in force on A's twin", |_, state: &State| {
                state.is_in_force(1) && state.counted > 0
            }));
        }
        if self.frees {
            reached
                .push(Property::sometimes("a pair whose object is freed", |_, state: &State| {
                    state.manager.second_paired && !state.world.second_lives
                }));
        }
        reached
    }
}

impl State {
    /// The next step of a thread.
    fn run(mut self, config: &Config, thread: usize) -> Option<Self> {
        let processor = thread % PROCESSORS;
        if self.writes[processor].is_some() {
            return None;
        }
        let locked = config.counting == Counting::Locked;
        let next = match self.threads[thread] {
            Thread::Outside => {
                self.left.writes = self.left.writes.checked_sub(1)?;
                let Some(code) = self.called(0) else {
                    self.world.break_promise(STRAY);
                    return Some(self);
                };
                Thread::Inside(code)
            }
            Thread::Holding => {
                self.left.writes = self.left.writes.checked_sub(1)?;
                Thread::Inside(1)
            }
            Thread::Inside(code) if locked => {
                if self.guest_lock.is_some() {
                    return None;
                }
                self.guest_lock = Some(thread);
                Thread::Locked(code)
            }
            Thread::Locked(code) => Thread::Read(code, self.world.counted(code)),
            Thread::Inside(code) | Thread::Read(code, _) => {
                return Some(self.store(config, thread, code));
            }
            Thread::Counted(_) => {
                self.guest_lock = None;
                Thread::Outside
            }
        };
        self.threads[thread] = next;
        self.manager.note(config, thread);
        Some(self)
    }

    /// A thread writes to a side: at once, or by way of LUCOS.
    fn store(mut self, config: &Config, thread: usize, side: usize) -> Self {
        let open_for_all = config.is(Seed::OpenForAll) && !self.open.is_empty();
        if self.is_guarded(config, side) && !open_for_all {
            self.writes[thread % PROCESSORS] = Some(Writing {
                thread,
                write: Write::begin(gpa(config, side)),
                found: Vec::new(),
                scratch: 0,
                has_ended: false,
            });
            return self;
        }
        if self.is_shared(side) {
            self.world.break_promise(C1);
        }
        self.count(thread);
        self.manager.note(config, thread);
        self
    }

    fn read_pointer(mut self, thread: usize) -> Option<Self> {
        let can =
            thread == 0 && self.threads[thread] == Thread::Outside && self.world.has_new_value();
        if !can || self.is_in_force(1) || self.left.writes == 0 {
            return None;
        }
        self.threads[thread] = Thread::Holding;
        // A pointer that is read is one more thing that the probe sees.
        self.manager.noted |= 1 << thread;
        Some(self)
    }

    /// Old code frees the second object, new code its twin as well.
    fn free(mut self, thread: usize) -> Option<Self> {
        let Thread::Inside(code) = self.threads[thread] else { return None };
        if !self.world.second_lives || self.writes[thread % PROCESSORS].is_some() {
            return None;
        }
        self.world.second_lives = false;
        if code > 0 {
            self.manager.second_paired = false;
        }
        Some(self)
    }

    fn go_on(mut self, config: &Config, processor: usize, way: Way) -> Option<Self> {
        match way {
            Way::Well => {}
            Way::Fails => self.left.failures -= 1,
            Way::Contained => self.left.contained -= 1,
        }
        let thread = self.writes[processor].as_ref()?.thread;
        let mut next = self.write_step(config, processor, way)?;
        next.manager.note(config, thread);
        Some(next)
    }

    fn is_coherent(&self, patch: usize) -> bool {
        self.version(patch) != VersionState::Both
            || self.world.torn[patch]
            || self.world.is_coherent(patch)
    }

    /// `New` only in force and with nobody in old code, `Old` only when not and with nobody in new.
    fn is_one_sided_rightly(&self, patch: usize) -> bool {
        let in_force = self.is_in_force(patch);
        match self.version(patch) {
            VersionState::Both => true,
            VersionState::New => in_force && !self.anybody_inside(patch),
            VersionState::Old => {
                !in_force && (!self.anybody_inside(patch + 1) || self.manager.withdrawn[patch])
            }
        }
    }

    fn has_right_guards(&self) -> bool {
        let both = (0..PATCHES).filter(|&patch| self.version(patch) == VersionState::Both);
        self.world.guards == both.map(|patch| patch as u32).collect::<BTreeSet<_>>()
    }

    /// Traps and values stand exactly where a patch in force has them.
    fn has_right_code(&self) -> bool {
        let any = self.engine.patches().iter().any(|patch| patch.state == PatchState::Applied);
        self.world.code.iter().all(|&byte| (byte == TRAP) == any)
            && self.world.has_new_value() == self.is_in_force(0)
    }

    fn counts_rightly(&self) -> bool {
        let live = (0..PATCHES).rev().find(|&patch| self.is_in_force(patch));
        let side = live.map_or(0, |patch| patch + 1);
        self.manager.is_lossy || self.world.counted(side) == self.counted
    }
}

impl crate::state::Manager {
    /// The probe sees that a thread runs.
    fn note(&mut self, config: &Config, thread: usize) {
        if config.witness && self.seen.is_some() {
            self.noted |= 1 << thread;
        }
    }
}
