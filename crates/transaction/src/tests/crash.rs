//! The task ends again while it recovers.

use super::failure::OPERATIONS;
use super::world::{Shared, Trouble, check, roll_all_back};
use crate::engine::Which;

#[test]
fn a_crash_while_recovering_is_recovered_from() {
    for (name, operation) in OPERATIONS {
        for step in (0..120).step_by(5) {
            for second in 0..40 {
                for torn in [0, 3, usize::MAX] {
                    let shared = Shared::sample();
                    let original = shared.memory();
                    let mut engine = shared.open();
                    shared.apply(&mut engine, "one", &[0, 1, 2], 0x7000).unwrap();
                    engine.jump(&mut shared.clone(), 1, Which::One(1)).unwrap();
                    shared.apply(&mut engine, "two", &[0, 1, 3], 0x8000).unwrap();
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
