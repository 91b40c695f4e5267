//! Where addresses go in one function: a search through its instructions for the registers and the
//! places of its frame that hold them.
//!
//! What cannot be told counts as kept. That an address is one is known of whole registers and fields
//! of eight bytes only; a shorter part of it leads nobody anywhere.

mod moves;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, OpKind};

use super::state::{CHANGED, Effect, Label, Labels, PASSED, State};

/// Most arguments on the stack that are looked at.
const STACK_PASSED: i64 = 6;

/// How an address leaves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// It is stored in memory that the patch does not own.
    Stored,
    /// It is passed to this function.
    Passed(String),
    /// It is returned.
    Returned,
    /// The function that uses it is too long to be followed.
    NotFollowed,
}

/// Where a call or a jump leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Callee {
    /// Back to the caller: the kernel's own code behind a `ret`.
    Return,
    /// To nothing that a program would notice, such as the tracer's slot.
    Nothing,
    /// To a function.
    Function(String, Effect),
}

/// An instruction with what is known of its fields.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) instruction: Instruction,
    /// What its constant is the address of.
    pub(super) constant: Labels,
    /// What the place of its memory is in, whatever registers are added.
    pub(super) memory: Labels,
    /// Where it leads, if not to another one of the function.
    pub(super) callee: Option<Callee>,
}

/// What surrounds a function.
pub(super) trait Surroundings {
    /// What data of the patch holds the addresses of.
    fn held_by(&self, own: usize) -> Labels;
}

/// What was found out of a function.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) effect: Effect,
    /// What of the patch leaves, and how.
    pub(super) leaves: BTreeSet<(Label, Way)>,
    /// What is stored in data of the patch.
    pub(super) stored: BTreeSet<(usize, Label)>,
}

/// Follows addresses through a function with so many parameters; `None` when that takes more than
/// `most` rounds through instructions.
pub(super) fn follow(
    steps: &[Step],
    parameters: usize,
    most: usize,
    around: &dyn Surroundings,
) -> Option<Found> {
    let mut flow = Flow {
        steps,
        index: steps.iter().enumerate().map(|(at, step)| (step.instruction.ip(), at)).collect(),
        around,
        states: vec![None; steps.len()],
        open: VecDeque::new(),
        left: most,
        found: Found::default(),
        information: InstructionInfoFactory::new(),
    };
    let mut start = State { depth: Some(0), ..State::default() };
    for (parameter, register) in PASSED.iter().enumerate().take(parameters) {
        if let Some(labels) = start.registers.get_mut(*register) {
            labels.insert(Label::Parameter(parameter));
        }
    }
    flow.arrive(0, &start);
    flow.run()?;
    // Places that a static branch, a table of jumps or a fault leads to.
    while let Some(at) = flow.states.iter().position(Option::is_none) {
        let mut any = State::default();
        let mut known = flow.states.iter().flatten();
        if let Some(first) = known.next() {
            any = first.clone();
            known.for_each(|state| {
                any.join(state);
            });
        }
        flow.arrive(at, &any);
        flow.run()?;
    }
    Some(flow.found)
}

struct Flow<'a> {
    steps: &'a [Step],
    index: BTreeMap<u64, usize>,
    around: &'a dyn Surroundings,
    states: Vec<Option<State>>,
    open: VecDeque<usize>,
    /// Rounds that are left.
    left: usize,
    found: Found,
    information: InstructionInfoFactory,
}

impl Flow<'_> {
    fn arrive(&mut self, at: usize, state: &State) {
        let Some(slot) = self.states.get_mut(at) else { return };
        let is_new = match slot {
            Some(known) => known.join(state),
            None => {
                *slot = Some(state.clone());
                true
            }
        };
        if is_new && !self.open.contains(&at) {
            self.open.push_back(at);
        }
    }

    /// `None` when it takes too long.
    fn run(&mut self) -> Option<()> {
        while let Some(at) = self.open.pop_front() {
            self.left = self.left.checked_sub(1)?;
            let Some(Some(state)) = self.states.get(at) else { continue };
            let state = state.clone();
            self.step(at, state);
        }
        Some(())
    }

    fn step(&mut self, at: usize, mut state: State) {
        let steps = self.steps;
        let Some(step) = steps.get(at) else { return };
        let one = &step.instruction;
        let inside = match one.op0_kind() {
            OpKind::NearBranch64 if step.callee.is_none() => {
                self.index.get(&one.near_branch_target()).copied()
            }
            _ => None,
        };
        match one.flow_control() {
            FlowControl::Return => return self.end(&state),
            FlowControl::UnconditionalBranch => match (inside, &step.callee) {
                (Some(inside), _) => return self.arrive(inside, &state),
                (None, Some(Callee::Return)) => return self.end(&state),
                (None, callee) => {
                    self.call(callee.as_ref(), &mut state);
                    return self.end(&state);
                }
            },
            FlowControl::IndirectBranch => {
                self.call(None, &mut state);
                return self.end(&state);
            }
            FlowControl::ConditionalBranch => match (inside, &step.callee) {
                (Some(inside), _) => self.arrive(inside, &state),
                (None, callee) => {
                    let mut gone = state.clone();
                    self.call(callee.as_ref(), &mut gone);
                    self.end(&gone);
                }
            },
            FlowControl::Call | FlowControl::IndirectCall => {
                // A thunk that is a part of this function is followed by what comes behind it.
                self.call(step.callee.as_ref(), &mut state);
            }
            FlowControl::Exception => return,
            _ => self.compute(step, &mut state),
        }
        let next = self.steps.get(at + 1);
        if next.is_some_and(|next| next.instruction.ip() == one.next_ip()) {
            self.arrive(at + 1, &state);
        }
    }

    fn end(&mut self, state: &State) {
        let returned = state.registers.first().cloned().unwrap_or_default();
        self.found.effect.returns.extend(returned);
    }

    /// An address leaves by the way.
    fn leave(&mut self, labels: &Labels, way: &Way) {
        for label in labels {
            match label {
                Label::Own(_) => {
                    self.found.leaves.insert((*label, way.clone()));
                }
                Label::Parameter(number) => {
                    if let Some(keeps) = self.found.effect.keeps.get_mut(*number) {
                        *keeps = true;
                    }
                }
                Label::Behind(number) => {
                    if let Some(behind) = self.found.effect.behind.get_mut(*number) {
                        *behind = true;
                    }
                }
                // It is gone when the function is left.
                Label::Frame => {}
            }
        }
    }

    /// What is found where addresses lead.
    fn contents(&self, labels: &Labels, state: &State) -> Labels {
        let mut contents = Labels::new();
        for label in labels {
            match label {
                Label::Own(number) => contents.extend(self.around.held_by(*number)),
                Label::Parameter(number) | Label::Behind(number) => {
                    contents.insert(Label::Behind(*number));
                }
                Label::Frame => contents.extend(state.frame()),
            }
        }
        contents
    }

    fn call(&mut self, callee: Option<&Callee>, state: &mut State) {
        let (name, effect) = match callee {
            Some(Callee::Nothing) => return,
            Some(Callee::Function(name, effect)) => (name.clone(), effect.clone()),
            Some(Callee::Return) | None => {
                (String::from("a function by its address"), Effect::unknown())
            }
        };
        let way = Way::Passed(name);
        let passed: Vec<Labels> = PASSED
            .iter()
            .map(|register| state.registers.get(*register).cloned().unwrap_or_default())
            .collect();
        for (number, labels) in passed.iter().enumerate() {
            if effect.keeps.get(number) == Some(&true) {
                self.leave(labels, &way);
            }
            if effect.behind.get(number) == Some(&true) {
                let contents = self.contents(labels, state);
                self.leave(&contents, &way);
            }
        }
        if effect.keeps_rest {
            let on_stack = match state.depth {
                Some(depth) => state.slots_from(depth, STACK_PASSED),
                None => state.frame(),
            };
            self.leave(&on_stack, &way);
        }
        if effect.copies
            && let [to, from, ..] = passed.as_slice()
        {
            let contents = self.contents(from, state);
            self.store(to, &contents, &way, state);
        }
        let mut returned = Labels::new();
        for label in &effect.returns {
            match label {
                Label::Parameter(number) => {
                    returned.extend(passed.get(*number).into_iter().flatten());
                }
                Label::Behind(number) => {
                    let labels = passed.get(*number).cloned().unwrap_or_default();
                    returned.extend(self.contents(&labels, state));
                }
                Label::Own(_) => {
                    returned.insert(*label);
                }
                Label::Frame => {}
            }
        }
        for register in CHANGED {
            if let Some(slot) = state.registers.get_mut(register) {
                slot.clear();
            }
        }
        if let Some(slot) = state.registers.first_mut() {
            *slot = returned;
        }
    }

    /// Addresses are stored where others lead.
    fn store(&mut self, to: &Labels, labels: &Labels, way: &Way, state: &mut State) {
        let mut is_elsewhere = to.is_empty();
        for place in to {
            match place {
                Label::Own(number) => {
                    let stored = labels.iter().map(|label| (*number, *label));
                    self.found.stored.extend(stored);
                }
                Label::Frame => state.somewhere.extend(labels),
                // What holds its own address is not kept by anybody else because of that.
                Label::Parameter(number) | Label::Behind(number) => {
                    let own = [Label::Parameter(*number), Label::Behind(*number)];
                    is_elsewhere |= labels.iter().any(|label| !own.contains(label));
                }
            }
        }
        if is_elsewhere {
            self.leave(labels, way);
        } else {
            // The caller's parameters do not come back out of the patch's data.
            let foreign = labels.iter().filter(|label| !matches!(label, Label::Own(_))).copied();
            let into_own = to.iter().any(|place| matches!(place, Label::Own(_)));
            let foreign: Labels = foreign.filter(|_| into_own).collect();
            self.leave(&foreign, way);
        }
    }
}
