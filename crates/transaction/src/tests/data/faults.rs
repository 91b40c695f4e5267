//! What fails or ends while data is moved.

use super::{CASES, check, listed, without_stages};
use crate::tests::world::Trouble;

#[test]
fn after_one_failure_data_is_as_before_or_as_after() {
    for case in &CASES {
        let after = case.after();
        let mut finished = false;
        for step in 0..1000 {
            let (shared, original, mut engine) = case.prepared();
            let (before, listed_before) = (shared.memory(), listed(&engine));
            let guards = shared.0.borrow().guards.clone();
            shared.set_trouble(Trouble::Fail(step));
            let result = (case.operation)(&shared, &mut engine);
            finished = shared.0.borrow().steps <= step;
            shared.set_trouble(Trouble::Nothing);
            let name = case.name;
            match result {
                Err(_) => {
                    // All of it is undone at once, the stage too.
                    assert!(!engine.is_unfinished(), "{name} {step}");
                    assert_eq!(listed(&engine), listed_before, "{name} {step}");
                    assert!(shared.memory() == before, "{name} {step}");
                    assert_eq!(shared.0.borrow().guards, guards, "{name} {step}");
                    (case.operation)(&shared, &mut engine).unwrap();
                }
                Ok(()) => engine.recover(&mut shared.clone()).unwrap(),
            }
            assert!(shared.memory() == after, "{name} {step}");
            check(&shared, &engine, &original);
            if finished {
                break;
            }
        }
        assert!(finished, "{} has more steps than were tried", case.name);
    }
}

#[test]
fn when_nothing_works_any_more_data_is_mended_later() {
    for case in &CASES {
        let after = case.after();
        let mut finished = false;
        for step in 0..1000 {
            let (shared, original, mut engine) = case.prepared();
            let before = shared.memory();
            shared.set_trouble(Trouble::FailFrom(step));
            let result = (case.operation)(&shared, &mut engine);
            finished = shared.0.borrow().steps <= step;
            shared.set_trouble(Trouble::Nothing);
            engine.recover(&mut shared.clone()).unwrap();
            check(&shared, &engine, &original);
            let memory = without_stages(shared.memory());
            let as_before = memory == without_stages(before);
            let as_after = memory == without_stages(after.clone());
            assert!(as_before && result.is_err() || as_after, "{} {step}", case.name);
            if case.name.contains("apply") && result.is_err() {
                assert!(as_before, "{} {step}", case.name);
            }
            if finished {
                break;
            }
        }
        assert!(finished, "{} has more steps than were tried", case.name);
    }
}

#[test]
fn after_a_crash_data_is_as_before_or_as_after() {
    for case in &CASES {
        let after = case.after();
        let mut finished = false;
        for step in 0..1000 {
            for torn in [0, 1, 3, 6, usize::MAX] {
                let (shared, original, mut engine) = case.prepared();
                let before = shared.memory();
                shared.set_trouble(Trouble::Crash(step, torn));
                let result = (case.operation)(&shared, &mut engine);
                finished = !shared.crashed();
                if finished {
                    assert!(result.is_ok());
                    break;
                }
                drop(engine);
                let mut engine = shared.restart();
                engine.recover(&mut shared.clone()).unwrap();
                check(&shared, &engine, &original);
                let memory = without_stages(shared.memory());
                let versions = [before, after.clone()].map(without_stages);
                assert!(versions.contains(&memory), "{} {step} {torn}", case.name);
                // The guest repeats the call.
                (case.operation)(&shared, &mut engine).unwrap();
                check(&shared, &engine, &original);
                let done = without_stages(shared.memory()) == versions[1];
                assert!(done, "{} {step} {torn}", case.name);
            }
            if finished {
                break;
            }
        }
        assert!(finished, "{} has more steps than were tried", case.name);
    }
}

#[test]
fn a_crash_while_data_is_mended_is_mended() {
    for case in &CASES {
        let after = case.after();
        for step in (0..80).step_by(5) {
            for second in (0..40).step_by(2) {
                for torn in [0, 3, usize::MAX] {
                    let (shared, original, mut engine) = case.prepared();
                    let before = shared.memory();
                    shared.set_trouble(Trouble::Crash(step, torn));
                    let _ = (case.operation)(&shared, &mut engine);
                    let mut engine = shared.restart();
                    shared.set_trouble(Trouble::Crash(second, torn));
                    let _ = engine.recover(&mut shared.clone());
                    let mut engine = shared.restart();
                    engine.recover(&mut shared.clone()).unwrap();
                    check(&shared, &engine, &original);
                    let versions = [before, after.clone()].map(without_stages);
                    let memory = without_stages(shared.memory());
                    assert!(versions.contains(&memory), "{} {step} {second} {torn}", case.name);
                }
            }
        }
    }
}
