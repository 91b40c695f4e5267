//! Values and functions of several patches: what stands on what, and in which orders they may go.

use std::slice;

use super::world::{BASE, OBJECTS, Shared, TRAP, check, expected, roll_all_back};
use crate::Engine;
use crate::engine::Rollback;
use crate::patch::value::{ValuePlan, ValueState};
use crate::patch::{FunctionPlan, PatchState, Plan};
use lucos_guest_interface::call::VALUE_ITEMS;
use lucos_guest_interface::{ErrorCode, Fault};

fn apply(
    shared: &Shared,
    engine: &mut Engine<Shared>,
    name: &str,
    values: &[ValuePlan],
) -> Result<u32, Fault> {
    engine.apply(&mut shared.clone(), &[Plan { name, values, ..Plan::default() }])
}

fn poke(shared: &Shared, offset: usize, byte: u8) {
    shared.0.borrow_mut().memory[OBJECTS + offset] = byte;
}

fn back(shared: &Shared, engine: &mut Engine<Shared>, number: u32) -> Result<usize, Fault> {
    engine.rollback(&mut shared.clone(), &[Rollback::of(number)])
}

const CHANGED: Fault = Fault::at(ErrorCode::ValueChanged, VALUE_ITEMS, BASE + OBJECTS as u64);

#[test]
fn a_value_that_is_another_one_is_refused_or_left_alone() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    let value = shared.value(0, 4, 9);
    poke(&shared, 2, 1);
    let before = shared.memory();
    assert_eq!(apply(&shared, &mut engine, "one", slice::from_ref(&value)), Err(CHANGED));
    let plan = Plan { name: "one", values: slice::from_ref(&value), ..Plan::default() };
    assert_eq!(engine.check(&mut shared.clone(), &[plan]), Err(CHANGED));
    assert_eq!(shared.memory(), before);
    let values = [ValuePlan { if_default: true, ..value }, shared.value(8, 1, 7)];
    let number = apply(&shared, &mut engine, "one", &values).unwrap();
    let states: Vec<_> = engine.patches()[0].values.iter().map(|value| value.state).collect();
    assert_eq!(states, [ValueState::LeftAlone, ValueState::Written]);
    check(&shared, &engine, &before);
    // It becomes what the patch would have made of it: it is not the patch's all the same.
    (0..4).for_each(|offset| poke(&shared, offset, 9));
    let expected = shared.memory()[..OBJECTS + 8].to_vec();
    assert_eq!(back(&shared, &mut engine, number), Ok(0));
    assert_eq!(shared.memory()[..OBJECTS + 8], expected);
}

#[test]
fn what_the_guest_made_of_a_value_stays() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    let values = [shared.value(0, 4, 9), shared.value(8, 4, 9)];
    let number = apply(&shared, &mut engine, "one", &values).unwrap();
    // A byte of each: what a write that stopped there would have left.
    poke(&shared, 1, original[OBJECTS + 1]);
    let changed = shared.memory();
    assert_eq!(back(&shared, &mut engine, number), Ok(1));
    let mut left = original.clone();
    left[OBJECTS..OBJECTS + 4].copy_from_slice(&changed[OBJECTS..OBJECTS + 4]);
    assert_eq!(shared.memory(), left);
    let states: Vec<_> = engine.patches()[0].values.iter().map(|value| value.state).collect();
    assert_eq!(states[0], ValueState::Overwritten);
    // That is known after a restart too.
    let mut engine = shared.restart();
    engine.recover(&mut shared.clone()).unwrap();
    assert_eq!(engine.patches()[0].values[0].state, ValueState::Overwritten);
    assert_eq!(shared.memory(), left);
}

#[test]
fn values_stack_like_functions() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    let kernels = shared.value(0, 4, 2);
    let one = apply(&shared, &mut engine, "one", &[shared.value(0, 4, 1)]).unwrap();
    // Made for the kernel's value, and for that of the patch below.
    let two = apply(&shared, &mut engine, "two", &[kernels]).unwrap();
    let three = apply(&shared, &mut engine, "three", &[shared.value(0, 4, 3)]).unwrap();
    check(&shared, &engine, &original);
    let other = ValuePlan { old: [7; 4].into_iter().collect(), ..shared.value(0, 4, 4) };
    assert_eq!(apply(&shared, &mut engine, "four", &[other]), Err(CHANGED));
    let part = apply(&shared, &mut engine, "four", &[shared.value(2, 4, 4)]);
    assert_eq!(part, Err(Fault::at(ErrorCode::SiteOwned, VALUE_ITEMS, three.into())));
    for (number, top) in [(one, two), (two, three)] {
        let refused = Err(Fault::at(ErrorCode::Stacked, VALUE_ITEMS, top.into()));
        assert_eq!(back(&shared, &mut engine, number), refused);
    }
    for number in [three, two, one] {
        assert_eq!(back(&shared, &mut engine, number), Ok(0));
        check(&shared, &engine, &original);
    }
    assert_eq!(shared.memory(), original);
}

#[test]
fn bits_of_one_byte_belong_to_several_patches() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    let low = apply(&shared, &mut engine, "low", &[shared.bits(5, 0x0f, true)]).unwrap();
    let high = apply(&shared, &mut engine, "high", &[shared.bits(5, 0xc0, false)]).unwrap();
    // The others are the guest's.
    let byte = shared.memory()[OBJECTS + 5];
    poke(&shared, 5, byte ^ 0x20);
    assert_eq!(back(&shared, &mut engine, low), Ok(0));
    assert_eq!(back(&shared, &mut engine, high), Ok(0));
    assert_eq!(shared.memory()[OBJECTS + 5], original[OBJECTS + 5] ^ 0x20);
}

#[test]
fn code_is_no_value() {
    let shared = Shared::sample();
    let mut engine = shared.open();
    let in_function = ValuePlan { address: BASE + 2, ..shared.value(0, 1, 1) };
    let in_text = Err(Fault::at(ErrorCode::ValueInText, VALUE_ITEMS, BASE + 2));
    let (functions, values) = (shared.plan(&[0], 0x7000), [in_function.clone()]);
    let plan = Plan { name: "own", functions: &functions, values: &values, ..Plan::default() };
    assert_eq!(engine.apply(&mut shared.clone(), &[plan]), in_text.map(|()| 0));
    shared.apply(&mut engine, "one", &[0], 0x7000).unwrap();
    assert_eq!(apply(&shared, &mut engine, "two", &[in_function]), in_text.map(|()| 0));
    roll_all_back(&shared, &mut engine);
    let registration = crate::journal::Registration {
        nonce: 1,
        boot_identity: [1; 16],
        text: (BASE, BASE + OBJECTS as u64 + 8),
        ..Default::default()
    };
    engine.register(&mut shared.clone(), registration).unwrap();
    let last = apply(&shared, &mut engine, "three", &[shared.value(7, 1, 1)]);
    assert_eq!(last.map_err(|fault| fault.code), Err(ErrorCode::ValueInText));
    apply(&shared, &mut engine, "three", &[shared.value(8, 1, 1)]).unwrap();
}

/// `a` stands alone; `b` needs it; `c` stands on a function of `a`; `d` on a value of `c`; `e` needs
/// `b` and stands on a value of `d`.
fn five(shared: &Shared, engine: &mut Engine<Shared>, in_one_step: bool) {
    let functions: Vec<FunctionPlan> = shared.plan(&[1], 0x7000);
    let mut on_top: Vec<FunctionPlan> = shared.plan(&[1], 0x8000);
    if let Some(byte) = on_top[0].found.first_mut() {
        *byte = TRAP;
    }
    let value = |fill| [shared.value(0, 4, fill)];
    let (first, second, third) = (value(1), value(2), value(3));
    let plans = [
        Plan { name: "a", functions: &functions, ..Plan::default() },
        Plan { name: "b", dependencies: &["a"], ..Plan::default() },
        Plan { name: "c", functions: &on_top, values: &first, ..Plan::default() },
        Plan { name: "d", values: &second, ..Plan::default() },
        Plan { name: "e", dependencies: &["b"], values: &third, ..Plan::default() },
    ];
    if in_one_step {
        assert_eq!(engine.apply(&mut shared.clone(), &plans), Ok(1));
        return;
    }
    for (index, plan) in plans.into_iter().enumerate() {
        assert_eq!(engine.apply(&mut shared.clone(), &[plan]), Ok(index as u32 + 1));
    }
}

/// Which patches cannot stay without which.
const EDGES: [(u32, u32); 6] = [(2, 1), (3, 1), (4, 3), (5, 2), (5, 4), (5, 3)];

fn orders(left: &[u32]) -> Vec<Vec<u32>> {
    if left.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |first: &u32| {
        let rest: Vec<u32> = left.iter().copied().filter(|other| other != first).collect();
        let orders = orders(&rest).into_iter();
        orders.map(|order| [&[*first][..], &order].concat()).collect::<Vec<_>>()
    };
    left.iter().flat_map(with_first).collect()
}

#[test]
fn five_patches_go_in_every_order_that_their_graph_allows() {
    let mut allowed = 0;
    for order in orders(&[1, 2, 3, 4, 5]) {
        for (in_one_step, out_in_one_step) in [(false, false), (true, false), (true, true)] {
            let shared = Shared::sample();
            let original = shared.memory();
            let mut engine = shared.open();
            five(&shared, &mut engine, in_one_step);
            check(&shared, &engine, &original);
            let may_go = |number: u32, gone: &[u32]| {
                let needs = |edge: &&(u32, u32)| edge.1 == number;
                EDGES.iter().filter(needs).all(|(later, _)| gone.contains(later))
            };
            if out_in_one_step {
                let all: Vec<Rollback<'_>> = order.iter().map(|&one| Rollback::of(one)).collect();
                let is_allowed = (0..5).all(|index| may_go(order[index], &order[..index]));
                let before = shared.memory();
                let done = engine.rollback(&mut shared.clone(), &all);
                assert_eq!(done.is_ok(), is_allowed, "{order:?} {done:?}");
                assert_eq!(shared.memory(), if is_allowed { original } else { before });
                allowed += usize::from(is_allowed);
                continue;
            }
            let mut gone = Vec::new();
            for &number in &order {
                let done = back(&shared, &mut engine, number);
                assert_eq!(done.is_ok(), may_go(number, &gone), "{order:?} {number} {done:?}");
                if done.is_ok() {
                    gone.push(number);
                }
                check(&shared, &engine, &original);
            }
            roll_all_back(&shared, &mut engine);
            assert_eq!(shared.memory(), original);
        }
    }
    // 5 first; then 2 before 1, and 4, 3 before 1.
    assert_eq!(allowed, 3);
}

/// A step of several is all or nothing at its commit: neither its own byte of a patch nor half of a
/// head counts.
#[test]
fn a_group_is_committed_by_one_write() {
    let shared = Shared::sample();
    let original = shared.memory();
    let mut engine = shared.open();
    five(&shared, &mut engine, true);
    let applied = shared.memory();
    let states = |engine: &Engine<Shared>| -> Vec<PatchState> {
        engine.patches().iter().map(|patch| patch.state).collect()
    };
    assert_eq!(states(&engine), [PatchState::Applied; 5]);
    // As if the task had ended before any of their own bytes was written.
    let slots: Vec<usize> = engine.patches().iter().map(|patch| patch.slot).collect();
    for slot in slots {
        shared.0.borrow_mut().store[512 + slot * 256] = PatchState::Applying as u8;
    }
    let mut engine = shared.restart();
    engine.recover(&mut shared.clone()).unwrap();
    assert_eq!(states(&engine), [PatchState::Applied; 5]);
    assert_eq!(shared.memory(), applied);
    assert_eq!(shared.memory(), expected(&original, engine.patches()));
    roll_all_back(&shared, &mut engine);
    assert_eq!(shared.memory(), original);
}
