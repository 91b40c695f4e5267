//! The task ends again while it recovers.

use super::failure::{OPERATIONS, prepared};
use super::world::{Trouble, check, roll_all_back};

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
