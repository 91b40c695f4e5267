//! One step fails, or all from one step on.

use super::world::{Shared, TRAP, Trouble, check, expected, roll_all_back};
use crate::Engine;
use crate::engine::{Rollback, Which};
use crate::patch::value::ValuePlan;
use crate::patch::{PatchState, Plan};
use lucos_guest_interface::Fault;

type Operation = fn(&Shared, &mut Engine<Shared>) -> Result<u32, Fault>;

/// Two patches, one of them half converted, one on top of it, and one that changes values only.
pub(super) fn prepared() -> (Shared, Vec<u8>, Engine<Shared>) {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    shared.apply(&mut engine, "one", &[0, 1, 2], 0x7000).unwrap();
    engine.jump(&mut shared.clone(), 1, Which::One(1)).unwrap();
    shared.apply(&mut engine, "two", &[0, 1, 3], 0x8000).unwrap();
    let values =
        [shared.value(0, 16, 0x5a), shared.bits(20, 0x0f, true), shared.bits(21, 0x81, false)];
    apply_values(&shared, &mut engine, "set", &values).unwrap();
    (shared, original, engine)
}

fn apply_values(
    shared: &Shared,
    engine: &mut Engine<Shared>,
    name: &str,
    values: &[ValuePlan],
) -> Result<u32, Fault> {
    let plan = Plan { name, dependencies: &[], values, ..Plan::default() };
    engine.apply(&mut shared.clone(), &[plan])
}

/// Functions and values, of which some stand on those that are in force.
fn apply_both(shared: &Shared, engine: &mut Engine<Shared>) -> Result<u32, Fault> {
    let functions = shared.plan(&[1, 4], 0x9000);
    let if_default = ValuePlan { if_default: true, ..shared.value(40, 8, 0x77) };
    let values = [shared.value(0, 16, 0x33), shared.bits(20, 0xf0, true), if_default];
    let plan = Plan {
        name: "both",
        dependencies: &["one"],
        functions: &functions,
        values: &values,
        ..Plan::default()
    };
    engine.apply(&mut shared.clone(), &[plan])
}

/// Three patches in one step, each on the one before.
fn apply_group(shared: &Shared, engine: &mut Engine<Shared>) -> Result<u32, Fault> {
    let first = shared.plan(&[1, 4], 0x9000);
    let mut second = shared.plan(&[4, 5], 0xa000);
    // The trap of the first stands there by then.
    if let Some(byte) = second[0].found.first_mut() {
        *byte = TRAP;
    }
    let plans = [
        Plan {
            name: "a",
            dependencies: &[],
            functions: &first,
            values: &[shared.value(32, 16, 0x11), shared.bits(20, 0x10, true)],
            ..Plan::default()
        },
        Plan {
            name: "b",
            dependencies: &["a", "one"],
            functions: &second,
            values: &[shared.value(32, 16, 0x22), shared.bits(20, 0x20, true)],
            ..Plan::default()
        },
        Plan {
            name: "c",
            dependencies: &["b"],
            values: &[shared.value(32, 16, 0x33), shared.value(0, 16, 0x44)],
            ..Plan::default()
        },
    ];
    engine.apply(&mut shared.clone(), &plans)
}

pub(super) const OPERATIONS: [(&str, Operation); 11] = [
    ("apply", |shared, engine| shared.apply(engine, "three", &[4, 5], 0x9000)),
    ("apply on top", |shared, engine| shared.apply(engine, "three", &[0, 1, 2, 4], 0x9000)),
    ("apply values", |shared, engine| {
        apply_values(shared, engine, "more", &[shared.value(32, 7, 0x66), shared.bits(21, 2, true)])
    }),
    ("apply both", apply_both),
    ("apply group", apply_group),
    ("rollback of values", |shared, engine| {
        engine.rollback(&mut shared.clone(), &[Rollback::of(3)]).map(|_| 0)
    }),
    ("rollback of a group", |shared, engine| {
        engine.rollback(&mut shared.clone(), &[Rollback::of(3), Rollback::of(2)]).map(|_| 0)
    }),
    ("jump one", |shared, engine| engine.jump(&mut shared.clone(), 2, Which::One(1))),
    ("jump all", |shared, engine| engine.jump(&mut shared.clone(), 2, Which::All)),
    ("rollback", |shared, engine| {
        engine.rollback(&mut shared.clone(), &[Rollback::of(2)]).map(|_| 0)
    }),
    ("rollback of jumps", |shared, engine| {
        engine.jump(&mut shared.clone(), 2, Which::All)?;
        engine.rollback(&mut shared.clone(), &[Rollback::of(2)]).map(|_| 0)
    }),
];

/// Every function's bytes are those of one of the versions.
fn is_between(memory: &[u8], versions: &[Vec<u8>]) -> bool {
    use super::world::{FUNCTION_LENGTH, FUNCTIONS};
    (0..FUNCTIONS).all(|index| {
        let range = index * FUNCTION_LENGTH..(index + 1) * FUNCTION_LENGTH;
        versions.iter().any(|version| memory[range.clone()] == version[range.clone()])
    })
}

#[test]
fn after_one_failure_memory_is_as_before_or_as_after() {
    for (name, operation) in OPERATIONS {
        let mut finished = false;
        for step in 0..1000 {
            let (shared, original, mut engine) = prepared();
            let before = shared.memory();
            let numbers = |engine: &Engine<Shared>| {
                let patches = engine.patches().iter();
                patches.map(|patch| (patch.number, patch.state)).collect::<Vec<_>>()
            };
            let listed = numbers(&engine);
            shared.set_trouble(Trouble::Fail(step));
            let result = operation(&shared, &mut engine);
            finished = shared.0.borrow().steps <= step;
            shared.set_trouble(Trouble::Nothing);
            // Nothing was left over: one failure is always undone at once.
            assert!(!engine.is_unfinished(), "{name} {step}");
            assert_eq!(shared.memory(), expected(&original, engine.patches()), "{name} {step}");
            let partial = name.contains("jump");
            if result.is_err() && !partial {
                assert_eq!(shared.memory(), before, "{name} {step}");
                assert_eq!(numbers(&engine), listed, "{name} {step}");
            }
            // It works when it is tried again, and all the rest too.
            if result.is_err() {
                operation(&shared, &mut engine).unwrap();
            }
            roll_all_back(&shared, &mut engine);
            assert_eq!(shared.memory(), original, "{name} {step}");
            check(&shared, &engine, &original);
            if finished {
                break;
            }
        }
        assert!(finished, "{name} has more steps than were tried");
    }
}

#[test]
fn when_nothing_works_any_more_the_rest_is_mended_later() {
    for (name, operation) in OPERATIONS {
        let mut finished = false;
        for step in 0..1000 {
            let (shared, original, mut engine) = prepared();
            let before = shared.memory();
            shared.set_trouble(Trouble::FailFrom(step));
            let result = operation(&shared, &mut engine);
            finished = shared.0.borrow().steps <= step;
            shared.set_trouble(Trouble::Nothing);
            engine.recover(&mut shared.clone()).unwrap();
            assert_eq!(shared.memory(), expected(&original, engine.patches()), "{name} {step}");
            // An apply that failed left nothing; the others may have been completed.
            if result.is_err() && name.starts_with("apply") {
                assert_eq!(shared.memory(), before, "{name} {step}");
            }
            roll_all_back(&shared, &mut engine);
            check(&shared, &engine, &original);
            assert_eq!(shared.memory(), original, "{name} {step}");
            if finished {
                break;
            }
        }
        assert!(finished, "{name} has more steps than were tried");
    }
}

#[test]
fn after_a_crash_memory_is_as_before_or_as_after() {
    for (name, operation) in OPERATIONS {
        // The versions between which a function may choose, without any trouble.
        let (shared, original, mut engine) = prepared();
        let before = shared.memory();
        let mut versions = vec![before.clone()];
        if name == "rollback of jumps" {
            engine.jump(&mut shared.clone(), 2, Which::All).unwrap();
            versions.push(shared.memory());
            engine.rollback(&mut shared.clone(), &[Rollback::of(2)]).unwrap();
        } else {
            operation(&shared, &mut engine).unwrap();
        }
        versions.push(shared.memory());

        let mut finished = false;
        for step in 0..1000 {
            for torn in [0, 1, 2, 4, 6, 18, usize::MAX] {
                let (shared, _, mut engine) = prepared();
                shared.set_trouble(Trouble::Crash(step, torn));
                let result = operation(&shared, &mut engine);
                finished = !shared.crashed();
                if finished {
                    assert!(result.is_ok(), "{name} {step}");
                    break;
                }
                drop(engine);
                let mut engine = shared.restart();
                engine.recover(&mut shared.clone()).unwrap();
                let memory = shared.memory();
                if name.contains("jump") {
                    assert!(is_between(&memory, &versions), "{name} {step} {torn}");
                } else {
                    assert!(versions.contains(&memory), "{name} {step} {torn}");
                }
                check(&shared, &engine, &original);
                roll_all_back(&shared, &mut engine);
                assert_eq!(shared.memory(), original, "{name} {step} {torn}");
            }
            if finished {
                break;
            }
        }
        assert!(finished, "{name} has more steps than were tried");
    }
}

#[test]
fn a_call_that_is_repeated_after_a_crash_succeeds() {
    let is_repeated = |name: &str| !name.contains("jump");
    for (name, operation) in OPERATIONS.into_iter().filter(|(name, _)| is_repeated(name)) {
        let mut finished = false;
        for step in 0..1000 {
            let (shared, original, mut engine) = prepared();
            let call = |engine: &mut Engine<Shared>| operation(&shared, engine);
            shared.set_trouble(Trouble::Crash(step, 1));
            let _ = call(&mut engine);
            finished = !shared.crashed();
            if finished {
                break;
            }
            let mut engine = shared.restart();
            engine.recover(&mut shared.clone()).unwrap();
            call(&mut engine).unwrap();
            check(&shared, &engine, &original);
            // Only that once.
            assert!(call(&mut engine).is_err(), "{name} {step}");
        }
        assert!(finished, "{name}");
    }
}

/// Nothing can be mended, but the call was done before: to say that it failed would be wrong.
#[test]
fn a_call_that_was_done_succeeds_though_nothing_can_be_mended() {
    const FINAL: [PatchState; 2] = [PatchState::Applied, PatchState::RolledBack];
    let is_repeated = |name: &str| !name.contains("jump");
    for (name, operation) in OPERATIONS.into_iter().filter(|(name, _)| is_repeated(name)) {
        let mut done = 0;
        for step in 0..1000 {
            let (shared, original, mut engine) = prepared();
            let before: Vec<_> = engine.patches().iter().map(|patch| patch.state).collect();
            shared.set_trouble(Trouble::Crash(step, 1));
            let _ = operation(&shared, &mut engine);
            if !shared.crashed() {
                break;
            }
            let mut engine = shared.restart();
            let after = engine.patches().iter().map(|patch| patch.state);
            let is_done = after.clone().all(|state| FINAL.contains(&state)) && !after.eq(before);
            shared.set_trouble(Trouble::FailFrom(0));
            let result = operation(&shared, &mut engine);
            assert_eq!(result.is_ok(), is_done, "{name} {step}");
            done += usize::from(is_done);
            shared.set_trouble(Trouble::Nothing);
            engine.recover(&mut shared.clone()).unwrap();
            check(&shared, &engine, &original);
        }
        assert!(done > 0, "{name}");
    }
}
