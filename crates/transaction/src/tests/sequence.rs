//! Random sequences of operations, against a model that knows only what was asked for.

use super::world::{BASE, FUNCTION_LENGTH, FUNCTIONS, Shared, TRAP, Trouble, check};
use crate::Engine;
use crate::engine::{Rollback, Which};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Apply { functions: Vec<usize>, entry: u64 },
    Jump { patch: usize, function: Option<u32> },
    Rollback { patch: usize },
    Restart,
    Crash { step: usize, torn: usize },
    Fail { step: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let functions = prop::sample::subsequence((0..FUNCTIONS).collect::<Vec<_>>(), 1..=3);
    prop_oneof![
        4 => (functions, 0x7000..0x9000_u64)
            .prop_map(|(functions, entry)| Step::Apply { functions, entry }),
        3 => (0..8_usize, prop::option::of(0..4_u32))
            .prop_map(|(patch, function)| Step::Jump { patch, function }),
        4 => (0..8_usize).prop_map(|patch| Step::Rollback { patch }),
        1 => Just(Step::Restart),
        1 => (0..60_usize, 0..20_usize).prop_map(|(step, torn)| Step::Crash { step, torn }),
        1 => (0..60_usize).prop_map(|step| Step::Fail { step }),
    ]
}

/// What was asked for and granted: the redirections of each function, the last one counts.
#[derive(Default)]
struct Model {
    stacks: BTreeMap<usize, Vec<u32>>,
}

impl Model {
    fn may_roll_back(&self, patch: u32) -> bool {
        let mut stacks = self.stacks.values();
        let mut holding = stacks.clone().filter(|stack| stack.contains(&patch));
        stacks.any(|stack| stack.contains(&patch))
            && holding.all(|stack| stack.last() == Some(&patch))
    }
}

/// The engine after a restart, behind the call that the guest repeats then.
fn restarted(shared: &Shared) -> Engine<Shared> {
    let mut engine = shared.restart();
    engine.recover(&mut shared.clone()).unwrap();
    let unknown = engine.jump(&mut shared.clone(), u32::MAX, Which::All);
    assert!(unknown.is_err());
    engine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_engine_does_what_the_model_says(steps in prop::collection::vec(step(), 1..40)) {
        let shared = Shared::sample();
        let original = shared.memory();
        let mut engine = shared.open();
        let mut model = Model::default();
        let mut numbers: Vec<u32> = Vec::new();
        for (count, step) in steps.into_iter().enumerate() {
            match step {
                Step::Apply { functions, entry } => {
                    let name = format!("patch{count}");
                    // A function twice in one patch never comes: descriptors forbid it.
                    match shared.apply(&mut engine, &name, &functions, entry) {
                        Ok(number) => {
                            numbers.push(number);
                            for function in functions {
                                model.stacks.entry(function).or_default().push(number);
                            }
                        }
                        Err(fault) => {
                            prop_assert!(engine.patches().len() >= 8, "{fault}");
                        }
                    }
                }
                Step::Jump { patch, function } => {
                    let Some(&number) = numbers.get(patch) else { continue };
                    let which = function.map_or(Which::All, Which::One);
                    let _ = engine.jump(&mut shared.clone(), number, which);
                }
                Step::Rollback { patch } => {
                    let Some(&number) = numbers.get(patch) else { continue };
                    let done = engine.rollback(&mut shared.clone(), &[Rollback::of(number)]);
                    prop_assert_eq!(done.is_ok(), model.may_roll_back(number), "{:?}", done);
                    if done.is_ok() {
                        for stack in model.stacks.values_mut() {
                            stack.retain(|&other| other != number);
                        }
                    }
                }
                Step::Restart => {
                    engine = restarted(&shared);
                }
                Step::Crash { step, torn } => {
                    shared.set_trouble(Trouble::Crash(step, torn));
                    let indices: Vec<_> = (0..FUNCTIONS).collect();
                    let applied = shared.apply(&mut engine, "crash", &indices, 0x5000);
                    engine = restarted(&shared);
                    // When the task ended behind the commit, the patch is in force.
                    let last = engine.patches().last().filter(|patch| {
                        patch.name == "crash" && patch.is_in_memory()
                    });
                    if let Some(patch) = last {
                        let number = patch.number;
                        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).unwrap();
                    } else {
                        prop_assert!(applied.is_err());
                    }
                }
                Step::Fail { step } => {
                    shared.set_trouble(Trouble::Fail(step));
                    let indices: Vec<_> = (0..FUNCTIONS).collect();
                    let applied = shared.apply(&mut engine, "fail", &indices, 0x5000);
                    shared.set_trouble(Trouble::Nothing);
                    if let Ok(number) = applied {
                        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).unwrap();
                    }
                }
            }
            check(&shared, &engine, &original);
            for function in 0..FUNCTIONS {
                let site = BASE + (function * FUNCTION_LENGTH) as u64 + 5;
                let top = model.stacks.get(&function).and_then(|stack| stack.last().copied());
                prop_assert_eq!(engine.at_site(site).map(|(number, _)| number), top);
                let byte = shared.memory()[function * FUNCTION_LENGTH + 5];
                let first = original[function * FUNCTION_LENGTH + 5];
                prop_assert_eq!(byte == first, top.is_none(), "trap is {:#x}", TRAP);
            }
        }
    }
}
