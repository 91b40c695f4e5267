//! What is allowed and what is refused.

use super::world::{BASE, FUNCTION_LENGTH, FUNCTIONS, Shared, TRAP, check};
use crate::engine::{Rollback, Which};
use crate::journal::{JournalError, Presence, Registration};
use crate::patch::{PatchState, Plan, SiteState};
use lucos_guest_interface::call::DEPENDENCY_ITEMS;
use lucos_guest_interface::{ErrorCode, Fault};

fn registration(identity: u8, nonce: u64) -> Registration {
    Registration { nonce, boot_identity: [identity; 16], ..Registration::default() }
}

/// Who says that there is another kernel is not believed while a trap or a jump is where the journal
/// has it: to forget it would leave it in the text for ever, with nobody who knows where it leads.
#[test]
fn a_kernel_that_is_there_is_not_forgotten() {
    for jumps in [false, true] {
        let shared = Shared::sample();
        let original = shared.memory();
        let mut engine = shared.open();
        engine.register(&mut shared.clone(), registration(1, 10)).unwrap();
        shared.apply(&mut engine, "fix", &[0, 1], 0x7000).unwrap();
        if jumps {
            engine.jump(&mut shared.clone(), 1, Which::All).unwrap();
        }
        if !jumps {
            // Behind the trap the guest changes its code as it likes.
            shared.0.borrow_mut().memory[6] ^= 1;
        }
        let patched = shared.memory();
        let other = engine.register(&mut shared.clone(), registration(2, 20));
        assert_eq!(other, Err(Fault::new(ErrorCode::Registration, 72)));
        assert_eq!(shared.memory(), patched);
        if !jumps {
            shared.0.borrow_mut().memory[6] ^= 1;
        }
        check(&shared, &engine, &original);
        assert_eq!(engine.register(&mut shared.clone(), registration(1, 30)), Ok(1));
        engine.rollback(&mut shared.clone(), &[Rollback::of(1)]).unwrap();
        assert_eq!(shared.memory(), original);
        assert_eq!(engine.register(&mut shared.clone(), registration(2, 20)), Ok(0));
    }
}

#[test]
fn one_function_is_redirected_and_restored() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    let number = shared.apply(&mut engine, "fix", &[0], 0x7000).unwrap();
    assert_eq!(number, 1);
    assert_eq!(shared.memory()[5], TRAP);
    check(&shared, &engine, &original);
    assert_eq!(engine.jump(&mut shared.clone(), 1, Which::One(0)), Ok(1));
    assert_ne!(shared.memory()[5], TRAP);
    assert!(!shared.0.borrow().intercept);
    check(&shared, &engine, &original);
    engine.rollback(&mut shared.clone(), &[Rollback::of(1)]).unwrap();
    assert_eq!(shared.memory(), original);
    assert_eq!(engine.patches()[0].state, PatchState::RolledBack);
    let times = engine.patches()[0].times;
    assert!(times.apply > 0 && times.jump > 0 && times.rollback > 0);
    assert_eq!(times.sequence, 2);
}

#[test]
fn a_function_without_room_keeps_its_trap() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    shared.apply(&mut engine, "fix", &[0, 4], 0x7000).unwrap();
    assert_eq!(engine.jump(&mut shared.clone(), 1, Which::All), Ok(1));
    assert_eq!(
        engine.jump(&mut shared.clone(), 1, Which::One(1)),
        Err(Fault::at(ErrorCode::NoJump, 1, 9))
    );
    assert_eq!(
        engine.jump(&mut shared.clone(), 1, Which::One(2)),
        Err(Fault::at(ErrorCode::UnknownFunction, 2, 0))
    );
    // Again is fine, and changes nothing.
    assert_eq!(engine.jump(&mut shared.clone(), 1, Which::One(0)), Ok(1));
}

#[test]
fn patches_stack_and_unstack_in_order() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    for (name, entry) in [("one", 0x7000), ("two", 0x8000), ("three", 0x9001)] {
        shared.apply(&mut engine, name, &[1], entry).unwrap();
        check(&shared, &engine, &original);
    }
    let refused = engine.rollback(&mut shared.clone(), &[Rollback::of(1)]);
    assert_eq!(refused, Err(Fault::at(ErrorCode::Stacked, 0, 2)));
    let refused = engine.jump(&mut shared.clone(), 2, Which::One(0));
    assert_eq!(refused, Err(Fault::at(ErrorCode::Stacked, 0, 3)));
    engine.jump(&mut shared.clone(), 3, Which::All).unwrap();
    check(&shared, &engine, &original);
    for number in [3, 2, 1] {
        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).unwrap();
        check(&shared, &engine, &original);
    }
    assert_eq!(shared.memory(), original);
}

#[test]
fn a_patch_on_a_jump_brings_the_jump_back() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    shared.apply(&mut engine, "one", &[2], 0x7000).unwrap();
    engine.jump(&mut shared.clone(), 1, Which::All).unwrap();
    let with_jump = shared.memory();
    shared.apply(&mut engine, "two", &[2], 0x8000).unwrap();
    check(&shared, &engine, &original);
    engine.jump(&mut shared.clone(), 2, Which::All).unwrap();
    check(&shared, &engine, &original);
    engine.rollback(&mut shared.clone(), &[Rollback::of(2)]).unwrap();
    assert_eq!(shared.memory(), with_jump);
    check(&shared, &engine, &original);
}

#[test]
fn the_same_code_at_another_place_is_refused() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    shared.apply(&mut engine, "one", &[1], 0x7000).unwrap();
    let mut function = shared.function(1, 0x8000);
    function.site -= 5;
    let plan = Plan {
        name: "two",
        dependencies: &[],
        functions: &[shared.function(0, 0x8000), function],
        ..Plan::default()
    };
    let refused = Err(Fault::at(ErrorCode::SiteOwned, 1, 1));
    assert_eq!(engine.check(&mut shared.clone(), &[plan]), refused.clone());
    assert_eq!(engine.apply(&mut shared.clone(), &[plan]), refused.map(|_| 0));
}

#[test]
fn names_and_dependencies_are_obeyed() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    let functions = shared.plan(&[0], 0x7000);
    let other = shared.plan(&[1], 0x7000);
    let needing = Plan {
        name: "needs",
        dependencies: &["other", "base"],
        functions: &functions,
        ..Plan::default()
    };
    let missing = |item| Err(Fault::at(ErrorCode::DependencyMissing, DEPENDENCY_ITEMS + item, 0));
    assert_eq!(engine.apply(&mut shared.clone(), &[needing]), missing(0));
    shared.apply(&mut engine, "other", &[2], 0x7000).unwrap();
    assert_eq!(engine.apply(&mut shared.clone(), &[needing]), missing(1));
    let base = Plan { name: "base", dependencies: &[], functions: &other, ..Plan::default() };
    engine.apply(&mut shared.clone(), &[base]).unwrap();
    engine.apply(&mut shared.clone(), &[needing]).unwrap();
    let refused = engine.rollback(&mut shared.clone(), &[Rollback::of(1)]);
    assert_eq!(refused, Err(Fault::new(ErrorCode::DependencyInUse, 3)));
    let twice = engine.apply(&mut shared.clone(), &[needing]);
    assert_eq!(twice, Err(Fault::new(ErrorCode::AlreadyApplied, 3)));
    engine.rollback(&mut shared.clone(), &[Rollback::of(3)]).unwrap();
    engine.rollback(&mut shared.clone(), &[Rollback::of(1)]).unwrap();
    let again = engine.rollback(&mut shared.clone(), &[Rollback::of(1)]);
    assert_eq!(again, Err(Fault::new(ErrorCode::NotApplied, 1)));
    let unknown = engine.rollback(&mut shared.clone(), &[Rollback::of(9)]);
    assert_eq!(unknown, Err(Fault::new(ErrorCode::UnknownPatch, 9)));
}

#[test]
fn what_changed_since_the_check_is_noticed() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    let functions = shared.plan(&[0, 1], 0x7000);
    let site = FUNCTION_LENGTH + 5;
    shared.0.borrow_mut().memory[site + 6] ^= 1;
    let before = shared.memory();
    let plan = Plan { name: "late", dependencies: &[], functions: &functions, ..Plan::default() };
    let address = BASE + site as u64 + 6;
    assert_eq!(
        engine.apply(&mut shared.clone(), &[plan]),
        Err(Fault::at(ErrorCode::SiteForeign, 1, address))
    );
    assert_eq!(shared.memory(), before);
    check(&shared, &engine, &before);
}

#[test]
fn an_overwritten_redirection_stays_and_is_named() {
    for jump in [false, true] {
        let shared = Shared::sample();
        let mut engine = shared.open();
        shared.apply(&mut engine, "fix", &[0, 3], 0x7000).unwrap();
        if jump {
            engine.jump(&mut shared.clone(), 1, Which::All).unwrap();
        }
        let site = 3 * FUNCTION_LENGTH + 5;
        shared.0.borrow_mut().memory[site] = 0xcc;
        let before = shared.memory();
        let refused = engine.rollback(&mut shared.clone(), &[Rollback::of(1)]);
        let address = BASE + site as u64;
        assert_eq!(refused, Err(Fault::at(ErrorCode::SiteChanged, 1, address)));
        assert_eq!(shared.memory(), before);
    }
}

#[test]
fn the_guests_own_changes_behind_a_trap_survive() {
    let shared = Shared::sample();
    let mut original = shared.memory();
    let mut engine = shared.open();
    shared.apply(&mut engine, "fix", &[0], 0x7000).unwrap();
    shared.0.borrow_mut().memory[7] = 0xcc;
    original[7] = 0xcc;
    let refused = engine.jump(&mut shared.clone(), 1, Which::One(0));
    assert_eq!(refused, Err(Fault::at(ErrorCode::SiteChanged, 0, BASE + 7)));
    check(&shared, &engine, &original);
    engine.rollback(&mut shared.clone(), &[Rollback::of(1)]).unwrap();
    assert_eq!(shared.memory(), original);
}

#[test]
fn a_processor_in_the_window_postpones_the_jump() {
    let site = BASE + 5;
    for (rip, occupied) in
        [(site - 1, false), (site, false), (site + 1, true), (site + 4, true), (site + 5, false)]
    {
        let shared = Shared::sample();
        let original = shared.memory();
        let mut engine = shared.open();
        shared.apply(&mut engine, "fix", &[0, 1], 0x7000).unwrap();
        shared.0.borrow_mut().processors[1] = rip;
        let answer = engine.jump(&mut shared.clone(), 1, Which::One(0));
        if occupied {
            assert_eq!(answer, Err(Fault::at(ErrorCode::WindowOccupied, 0, rip)));
            // The other function is not held up.
            assert_eq!(engine.jump(&mut shared.clone(), 1, Which::All), Ok(1));
            assert_eq!(engine.patches()[0].functions[0].state, SiteState::Trap);
        } else {
            assert_eq!(answer, Ok(1), "{rip:#x}");
        }
        check(&shared, &engine, &original);
    }
}

#[test]
fn rolled_back_patches_make_room() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    let all: Vec<_> = (0..FUNCTIONS).collect();
    for round in 0..200_u32 {
        let name = format!("patch{round}");
        let number = shared.apply(&mut engine, &name, &all, 0x7000).unwrap();
        assert_eq!(number, round + 1);
        assert!(engine.patches().len() <= engine.capacity());
        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).unwrap();
        assert_eq!(shared.memory(), original);
    }
    // A patch that comes again takes the place of its former self.
    let listed = engine.patches().len();
    for _ in 0..3 {
        let number = shared.apply(&mut engine, "patch199", &all, 0x7000).unwrap();
        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).unwrap();
        assert_eq!(engine.patches().len(), listed);
    }
    // What is in force stays, and when all room is taken by it, that is said.
    let shared = Shared::sample();
    let mut engine = shared.open();
    let mut applied = 0;
    let full = loop {
        let name = format!("patch{applied}");
        match shared.apply(&mut engine, &name, &all, 0x7000 + applied) {
            Ok(_) => applied += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!(full, Fault::new(ErrorCode::JournalFull, 0));
    assert!(applied >= 6);
    check(&shared, &engine, &original);
}

#[test]
fn the_same_kernel_finds_its_patches_another_does_not() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    let mut subject = shared.clone();
    assert_eq!(engine.register(&mut subject, registration(1, 11)), Ok(0));
    shared.apply(&mut engine, "fix", &[0], 0x7000).unwrap();
    engine.unregister(false).unwrap();
    assert_eq!(engine.head().presence, Presence::Kernel);
    check(&shared, &engine, &original);
    assert_eq!(engine.register(&mut subject, registration(1, 12)), Ok(1));
    assert_eq!(engine.head().registration.nonce, 12);

    // A kernel that goes down is redirected to its end, but its patches are not shown.
    engine.unregister(true).unwrap();
    assert_eq!(engine.patches().len(), 0);
    assert!(shared.0.borrow().intercept);
    let hidden = engine.rollback(&mut subject, &[Rollback::of(1)]);
    assert_eq!(hidden, Err(Fault::new(ErrorCode::UnknownPatch, 1)));

    // The next one starts empty; its memory is not touched.
    shared.0.borrow_mut().memory.fill(0x55);
    let memory = shared.memory();
    assert_eq!(engine.register(&mut subject, registration(2, 13)), Ok(0));
    assert_eq!(shared.memory(), memory);
    assert!(!shared.0.borrow().intercept);
    assert_eq!(shared.0.borrow().redirects.len(), 0);
    assert_eq!(shared.restart().patches().len(), 0);
}

#[test]
fn the_registration_survives_a_restart() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    engine.register(&mut shared.clone(), registration(1, 11)).unwrap();
    shared.apply(&mut engine, "fix", &[0, 1], 0x7000).unwrap();
    engine.jump(&mut shared.clone(), 1, Which::One(1)).unwrap();
    let before: Vec<_> = engine.patches().to_vec();
    let mut after = shared.restart();
    after.recover(&mut shared.clone()).unwrap();
    assert_eq!(after.head().registration, registration(1, 11));
    assert_eq!(after.patches().len(), 1);
    assert_eq!(after.patches()[0].times, before[0].times);
    for (old, new) in before[0].functions.iter().zip(&after.patches()[0].functions) {
        assert_eq!((&old.plan, old.state), (&new.plan, new.state));
    }
}

#[test]
fn a_damaged_journal_is_refused() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    shared.apply(&mut engine, "fix", &[0], 0x7000).unwrap();
    let slot = engine.patches()[0].slot;
    let place = 512 + slot * 256 + 9;
    shared.0.borrow_mut().store[place] ^= 0x40;
    let error = crate::Engine::open(shared.clone(), TRAP).err();
    assert_eq!(error, Some(JournalError::Damaged { slot }));
}

#[test]
fn stops_are_measured() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    let (done, longest) = engine.measure(&mut shared.clone(), 1000).unwrap();
    assert_eq!(done, 1000);
    assert!(longest > 0);
}
