//! The engine of guarded writes against an instruction that nobody guards.

use super::data::{KERNEL, Lists};
use super::world::{FAULT, Instruction, PAGES, Store, World};
use crate::PAGE;
use crate::note::{Note, OPEN_MAX};
use crate::pairs::{Pair, Side};
use crate::write::{Action, Event, Exception, INTERRUPTIONS_MAX, TABLES_MAX, Verdict, Write};
use proptest::prelude::*;

const ALIAS: u64 = 0x100_0000_0000;
const SIZE: usize = PAGES as usize * PAGE;

/// Counters on pages 0 and 1, their twins on 1 to 3; records on 2 and 3, their twins on 4 and 5. Both
/// sides of some counters are on page 1, and the last of many lie over an edge of pages.
fn lists() -> [Lists; 2] {
    let counters = (0..40).map(|number| Pair {
        object: KERNEL + 0x1000 - 20 * 5 + 5 * number,
        twin: KERNEL + 0x1800 + 0x80 * (number * 7 % 40),
    });
    let records = (0..20).map(|number| Pair {
        object: KERNEL + ALIAS + 0x2d00 + 48 * number,
        twin: KERNEL + ALIAS + 0x5000 - 5 * 40 - 8 + 40 * (number * 3 % 20),
    });
    [Lists::new(counters), Lists::new(records)]
}

fn memory(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed).collect()
}

/// Places near the pairs, and some that are far from all.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0xf80_u64..0x10c0,
        4 => 0x1800_u64..0x2c00,
        4 => 0x2cf0_u64..0x3100,
        4 => 0x4f00_u64..0x5400,
        1 => Just(0x1ffc_u64),
        1 => 0_u64..PAGES * PAGE as u64 - 0x1000,
    ]
}

fn store() -> impl Strategy<Value = Store> {
    let bytes = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 1..17),
        1 => prop::collection::vec(any::<u8>(), 64),
        1 => prop::collection::vec(any::<u8>(), 512..2700),
    ];
    (place(), bytes).prop_map(|(gpa, mut bytes)| {
        bytes.truncate(SIZE - gpa as usize);
        Store { gpa, bytes }
    })
}

fn pages(stores: &[Store]) -> usize {
    let mut pages: Vec<_> = stores
        .iter()
        .flat_map(|store| store.gpa / 4096..=(store.gpa + store.bytes.len() as u64 - 1) / 4096)
        .collect();
    pages.sort_unstable();
    pages.dedup();
    pages.len()
}

fn writes_both_sides(stores: &[Store]) -> bool {
    let written = |range: std::ops::Range<u64>| {
        stores.iter().any(|store| {
            let end = store.gpa + store.bytes.len() as u64;
            store.gpa < range.end && range.start < end
        })
    };
    let [counters, records] = lists();
    let counters = counters.by_object.into_iter().map(|pair| (pair, KERNEL, 4, 8));
    let records = records.by_object.into_iter().map(|pair| (pair, KERNEL + ALIAS, 24, 40));
    counters.chain(records).any(|(pair, base, object, twin)| {
        let (old, new) = (pair.object - base, pair.twin - base);
        written(old..old + object) && written(new..new + twin)
    })
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let before = prop_oneof![
        Just(Event::Interrupted),
        (0..16_u64).prop_map(|table| Event::WantsTable { gpa: 0x9_0000 + 0x1000 * table }),
    ];
    let next = prop_oneof![
        Just(Event::Stepped { debug: None }),
        Just(Event::Left),
        Just(Event::Exception(Exception { vector: 6, error_code: None, address: 0 })),
    ];
    (
        prop::collection::vec(store(), 1..7),
        any::<bool>(),
        prop::option::weighted(0.2, 0..3_usize),
        prop::collection::vec(before, 0..8),
        next,
    )
        .prop_map(|(mut stores, by_elements, faults_after, before, next)| {
            // Of an instruction that is done in parts each is carried for itself, so which side of a
            // pair is the last one is another question.
            let in_parts = !writes_both_sides(&stores);
            let (by_elements, faults_after) =
                (by_elements && in_parts, faults_after.filter(|_| in_parts));
            // More pages are written by elements only.
            while !by_elements && pages(&stores) > OPEN_MAX {
                stores.pop();
            }
            let faults_after = faults_after.filter(|&after| after <= stores.len());
            Instruction { stores, by_elements, faults_after, before, next }
        })
}

/// The processor runs the instruction until it is done, by as many writes as it takes.
fn finish(world: &mut World, first: Option<Verdict>) -> Verdict {
    let gpa = world.instruction.stores[0].gpa;
    let mut verdict = first;
    for _ in 0..20 {
        match verdict {
            Some(Verdict::Fault(exception)) => return Verdict::Fault(exception),
            _ if world.retired => return Verdict::Done,
            _ => {}
        }
        // The guarded page that it meets may be any of its own.
        verdict = world.run(Write::begin(gpa)).ok();
    }
    panic!("the instruction never ends");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_guarded_write_is_the_instruction_with_its_pairs_carried(
        instruction in instruction(),
        seed in any::<u8>(),
    ) {
        let mut world = World::new(lists(), memory(seed), instruction.clone());
        let reference = world.clone().reference();
        let verdict = finish(&mut world, None);
        world.check_coherent();
        prop_assert!(world.memory == reference);
        let faults = instruction.faults_after.is_some();
        prop_assert_eq!(verdict, if faults { Verdict::Fault(FAULT) } else { Verdict::Done });
        prop_assert!(world.torn.is_empty() && world.abandoned == 0);
    }

    #[test]
    fn a_task_that_ends_anywhere_leaves_the_same(
        instruction in instruction(),
        seed in any::<u8>(),
        ends in prop::collection::vec((0_usize..60, prop_oneof![
            Just(0_usize), Just(1), 2..70_usize, Just(usize::MAX),
        ]), 1..4),
    ) {
        let mut world = World::new(lists(), memory(seed), instruction.clone());
        let reference = world.clone().reference();
        let gpa = instruction.stores[0].gpa;
        let mut verdict = None;
        for (number, end) in ends.into_iter().enumerate() {
            world.ends_in = Some(end);
            let run = match number {
                0 => world.run(Write::begin(gpa)),
                _ => world.restart(gpa),
            };
            verdict = run.ok();
            if verdict.is_some() {
                break;
            }
        }
        world.ends_in = None;
        if verdict.is_none() {
            verdict = world.restart(gpa).ok();
        }
        let verdict = finish(&mut world, verdict);
        world.check_coherent();
        prop_assert!(world.memory == reference);
        let faults = instruction.faults_after.is_some();
        prop_assert_eq!(verdict, if faults { Verdict::Fault(FAULT) } else { Verdict::Done });
        prop_assert!(world.torn.is_empty() && world.abandoned == 0);
    }

    /// Fewer failures than are put up with change nothing.
    #[test]
    fn what_fails_is_tried_again(
        instruction in instruction(),
        seed in any::<u8>(),
        fails in prop::collection::btree_set(1_usize..40, 0..4),
    ) {
        let mut world = World::new(lists(), memory(seed), instruction);
        let reference = world.clone().reference();
        world.fails = fails.into_iter().collect();
        let gpa = world.instruction.stores[0].gpa;
        let verdict = world.run(Write::begin(gpa)).ok();
        world.fails.clear();
        let faults = world.instruction.faults_after.is_some();
        prop_assert_ne!(verdict, Some(Verdict::Fault(Exception::GENERAL_PROTECTION)));
        let verdict = finish(&mut world, verdict);
        prop_assert!(world.memory == reference);
        prop_assert_eq!(verdict, if faults { Verdict::Fault(FAULT) } else { Verdict::Done });
        prop_assert_eq!(world.abandoned, 0);
        world.check_coherent();
    }

    #[test]
    fn a_pair_that_cannot_be_carried_is_torn_and_the_others_are_carried(
        instruction in instruction(),
        seed in any::<u8>(),
        contained in prop::collection::vec(0_usize..60, 0..30),
        end in prop::option::of((0_usize..60, 0_usize..70)),
    ) {
        let mut world = World::new(lists(), memory(seed), instruction);
        let [counters, records] = &world.lists;
        let all: Vec<_> = counters.by_object.iter().chain(&records.by_object).copied().collect();
        world.contained = contained.into_iter().map(|number| all[number]).collect();
        let reference = world.clone().reference();
        world.ends_in = end;
        let gpa = world.instruction.stores[0].gpa;
        let verdict = world.run(Write::begin(gpa)).ok();
        world.ends_in = None;
        let verdict = match verdict {
            None => world.restart(gpa).ok(),
            some => some,
        };
        finish(&mut world, verdict);
        world.check_coherent();
        prop_assert!(world.memory == reference);
        prop_assert!(world.torn.iter().all(|torn| world.contained.contains(&torn.pair)));
    }
}

/// A store of four bytes at an address.
fn plain(gpa: u64) -> Instruction {
    Instruction {
        stores: vec![Store { gpa, bytes: vec![0xaa, 0xbb, 0xcc, 0xdd] }],
        by_elements: false,
        faults_after: None,
        before: Vec::new(),
        next: Event::Left,
    }
}

fn world(instruction: Instruction) -> World {
    World::new(lists(), memory(0), instruction)
}

#[test]
fn a_neighbours_write_carries_nothing() {
    let mut world = world(plain(0x200));
    assert!(matches!(world.run(Write::begin(0x200)), Ok(Verdict::Done)));
    assert!(world.carried.is_empty());
    world.check_coherent();
}

#[test]
fn of_two_changed_sides_the_twin_counts() {
    let pair = lists()[0].by_object[25];
    let mut instruction = plain(pair.object - KERNEL);
    let twin = Store { gpa: pair.twin - KERNEL + 4, bytes: vec![1, 2, 3, 4] };
    instruction.stores.push(twin);
    let mut world = world(instruction);
    assert_eq!(finish(&mut world, None), Verdict::Done);
    assert_eq!(world.carried.len(), 1);
    assert_eq!(world.carried[0].from, Side::Twin);
    let object = (pair.object - KERNEL) as usize;
    assert_eq!(world.memory[object..object + 4], [1, 2, 3, 4]);
}

#[test]
fn shared_fields_are_not_carried() {
    let pair = lists()[1].by_object[0];
    let object = pair.object - KERNEL - ALIAS;
    let mut instruction = plain(object + 4);
    let mut here = world(instruction.clone());
    assert_eq!(finish(&mut here, None), Verdict::Done);
    assert!(here.carried.is_empty());
    // The first byte behind it is.
    instruction.stores[0].gpa += 1;
    let mut here = world(instruction);
    assert_eq!(finish(&mut here, None), Verdict::Done);
    assert_eq!(here.carried.len(), 1);
}

/// The lock was waited for, and meanwhile the guard was taken off.
#[test]
fn a_page_that_is_not_guarded_any_more_is_left_alone() {
    let gpa = (PAGES - 1) * PAGE as u64;
    let mut world = world(plain(gpa));
    assert!(matches!(world.run(Write::begin(gpa + 8)), Ok(Verdict::Again)));
    assert_eq!(world.steps, 0);
    world.check_coherent();
}

#[test]
fn interruptions_and_tables_have_a_limit() {
    let interrupted = |count| {
        let mut instruction = plain(0x1004);
        instruction.before = vec![Event::Interrupted; count];
        let mut world = world(instruction);
        let verdict = world.run(Write::begin(0x1004)).ok();
        world.check_coherent();
        (verdict.unwrap(), world.steps)
    };
    let most = usize::from(INTERRUPTIONS_MAX);
    assert_eq!(interrupted(most - 1), (Verdict::Done, most));
    assert_eq!(interrupted(most), (Verdict::Again, most));
    let tables = |count| {
        let mut instruction = plain(0x1004);
        instruction.before = vec![Event::WantsTable { gpa: 0x9_0123 }; count];
        let mut world = world(instruction);
        let verdict = world.run(Write::begin(0x1004)).ok();
        world.check_coherent();
        (verdict.unwrap(), world.tables)
    };
    let most = usize::from(TABLES_MAX);
    assert_eq!(tables(most), (Verdict::Done, most));
    assert_eq!(tables(most + 1), (Verdict::Again, most));
}

#[test]
fn four_pages_are_open_at_once_and_no_more() {
    let stores = |count: u64| {
        let mut instruction = plain(0);
        instruction.stores =
            (0..count).map(|page| Store { gpa: 0x1000 * page + 0x40, bytes: vec![9; 4] }).collect();
        instruction.by_elements = true;
        instruction
    };
    let mut here = world(stores(4));
    assert!(matches!(here.run(Write::begin(0)), Ok(Verdict::Done)));
    // A scatter over six goes on in a second write.
    let mut here = world(stores(6));
    let reference = here.clone().reference();
    assert!(matches!(here.run(Write::begin(0)), Ok(Verdict::Again)));
    here.check_coherent();
    assert!(!here.retired);
    assert!(matches!(here.run(Write::begin(0x4000)), Ok(Verdict::Done)));
    assert!(here.memory == reference);
}

/// The answer to a write that was done got lost, so it is asked for again, and what is stepped is the
/// instruction behind it.
#[test]
fn the_next_instruction_is_left_to_the_guests_own_view() {
    let opcode = Exception { vector: 6, error_code: None, address: 0 };
    for (next, verdict) in [
        (Event::Left, Verdict::Again),
        (Event::Exception(opcode), Verdict::Again),
        (Event::Exception(FAULT), Verdict::Fault(FAULT)),
        (Event::Stepped { debug: None }, Verdict::Done),
    ] {
        let mut instruction = plain(0x1004);
        instruction.next = next;
        let mut world = world(instruction);
        assert!(matches!(world.run(Write::begin(0x1004)), Ok(Verdict::Done)));
        let memory = world.memory.clone();
        assert_eq!(world.run(Write::begin(0x1004)).ok(), Some(verdict));
        assert!(world.memory == memory);
    }
}

#[test]
fn the_guests_own_debug_exception_comes_behind_the_write() {
    let debug = Exception { vector: 1, error_code: None, address: 0 };
    let mut instruction = plain(0x1004);
    instruction.next = Event::Stepped { debug: Some(debug) };
    let mut world = world(instruction);
    world.retired = true;
    let verdict = world.run(Write::begin(0x1004)).ok();
    assert_eq!(verdict, Some(Verdict::Fault(debug)));
    assert_eq!(debug.event(), lucos_abi::object::Event::SINGLE_STEP);
    world.check_coherent();
}

/// The machine of actions alone, with answers that nobody gave.
fn drive(mut write: Write, mut answer: impl FnMut(Action) -> Event) -> Vec<Action> {
    let mut actions = Vec::new();
    loop {
        let action = write.action();
        actions.push(action);
        if let Action::End(_) = action {
            return actions;
        }
        assert!(actions.len() < 100, "no end: {actions:?}");
        write.advance(answer(action));
    }
}

#[test]
fn what_never_works_is_given_up_and_leaves_no_note() {
    let usual = |action| match action {
        Action::Lock => Event::Locked { guarded: true },
        Action::Step => Event::Stepped { debug: None },
        Action::Find => Event::NoMore,
        _ => Event::Done,
    };
    let refused = Action::End(Verdict::Fault(Exception::GENERAL_PROTECTION));
    for (failing, end, abandoned) in [
        (Action::Lock, Action::End(Verdict::Again), 0),
        (Action::Note, refused, 0),
        (Action::Open { gpa: 0x3000 }, refused, 0),
        (Action::Step, refused, 0),
        (Action::Compare, Action::End(Verdict::Done), 1),
        (Action::Find, Action::End(Verdict::Done), 1),
        (Action::Close, Action::End(Verdict::Done), 1),
        (Action::ClearNote, Action::End(Verdict::Done), 0),
    ] {
        let fail = |action| if action == failing { Event::Failed } else { usual(action) };
        let actions = drive(Write::begin(0x3123), fail);
        assert_eq!(actions.last(), Some(&end), "{failing:?}");
        let given_up = actions.iter().filter(|action| **action == Action::Abandon).count();
        assert_eq!(given_up, abandoned, "{failing:?}");
        if failing != Action::Lock {
            let last = &actions[actions.len() - 3..actions.len() - 1];
            assert_eq!(last, [Action::ClearNote, Action::Unlock], "{failing:?}");
        }
    }
}

#[test]
fn a_page_that_is_open_and_still_wanted_is_not_opened_again() {
    let actions = drive(Write::begin(0x3123), |action| match action {
        Action::Lock => Event::Locked { guarded: true },
        Action::Step => Event::Wants { gpa: 0x3ff8 },
        Action::Find => Event::NoMore,
        _ => Event::Done,
    });
    let opened = actions.iter().filter(|action| matches!(action, Action::Open { .. })).count();
    assert_eq!(opened, 1);
    let refused = Action::End(Verdict::Fault(Exception::GENERAL_PROTECTION));
    assert_eq!(actions.last(), Some(&refused));
}

#[test]
fn a_note_is_finished_whether_its_page_is_guarded_or_not() {
    let note = Note { pages: [0x3000].into_iter().collect(), carrying: None };
    let actions = drive(Write::finish(note), |action| match action {
        Action::Lock => Event::Locked { guarded: false },
        Action::Find => Event::NoMore,
        _ => Event::Done,
    });
    let whole = [
        Action::Lock,
        Action::Compare,
        Action::Find,
        Action::Close,
        Action::ClearNote,
        Action::Unlock,
        Action::End(Verdict::Done),
    ];
    assert_eq!(actions, whole);
}

proptest! {
    /// Any answers at all come to an end.
    #[test]
    fn wrong_answers_end(
        events in prop::collection::vec(prop_oneof![
            Just(Event::Done), Just(Event::Failed), Just(Event::Interrupted), Just(Event::Left),
            Just(Event::NoMore), Just(Event::Locked { guarded: true }),
            Just(Event::Stepped { debug: None }), Just(Event::Wants { gpa: 0x7000 }),
            Just(Event::WantsTable { gpa: 0x7000 }),
        ], 0..200),
    ) {
        let mut write = Write::begin(0x5000);
        for event in events {
            write.advance(event);
        }
        for _ in 0..100 {
            write.advance(Event::Failed);
        }
        prop_assert!(matches!(write.action(), Action::End(_)));
    }
}
