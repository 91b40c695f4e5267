//! The task ends again while it recovers, or before the guest is stopped.

use super::failure::{OPERATIONS, prepared};
use super::world::{Shared, Trouble, check, roll_all_back};
use crate::engine::Which;
use crate::patch::{Patch, PatchState};

#[test]
fn a_crash_while_recovering_is_recovered_from() {
    for (name, operation) in OPERATIONS {
        for step in (0..140).step_by(7) {
            for second in (0..60).step_by(3) {
                for torn in [0, 3, usize::MAX] {
                    let (shared, original, mut engine) = prepared();
                    shared.set_trouble(Trouble::Crash(step, torn));
                    let _ = operation(&shared, &mut engine);
                    let mut engine = shared.restart();
                    shared.set_trouble(Trouble::Crash(second, torn));
                    let _ = engine.recover(&mut shared.clone());
                    let mut engine = shared.restart();
                    engine.recover(&mut shared.clone()).unwrap();
                    check(&shared, &engine, &original);
                    roll_all_back(&shared, &mut engine);
                    assert_eq!(shared.memory(), original, "{name} {step} {second} {torn}");
                }
            }
        }
    }
}

/// The task ends before the guest was stopped, or its traps cannot be taken back: until the patch is in
/// force its functions are not entered, not even by the trap of the patch below.
#[test]
fn nobody_enters_what_is_not_in_force_yet() {
    for jumps in [false, true] {
        for step in 0..1000 {
            let shared = Shared::sample();
            let mut engine = shared.open();
            shared.apply(&mut engine, "one", &[0, 1], 0x7000).unwrap();
            if jumps {
                engine.jump(&mut shared.clone(), 1, Which::All).unwrap();
            }
            shared.set_trouble(Trouble::Crash(step, usize::MAX));
            let _ = shared.apply(&mut engine, "two", &[0, 1], 0x8000);
            if !shared.crashed() {
                break;
            }
            let engine = shared.restart();
            let is_in_force =
                |patch: &Patch| patch.name == "two" && patch.state == PatchState::Applied;
            let entry = if engine.patches().iter().any(is_in_force) { 0x8000 } else { 0x7000 };
            let targets: Vec<_> = engine.targets().map(|(_, target)| target.entry).collect();
            assert!(targets.iter().all(|target| *target == entry), "{step} {targets:x?}");
        }
    }
}
