//! Updates in any order on a guest whose steps fail, and journals that are anything at all.

use lucos_transaction::engine::{Rollback, Which};
use lucos_transaction::fake::{BASE, Shared, TRAP, Trouble};
use lucos_transaction::journal::STORE_MIN;
use lucos_transaction::patch::CODE_MAX;
use lucos_transaction::patch::value::VALUE_MAX;
use lucos_transaction::{Engine, FunctionPlan, Plan, ValuePlan};

use crate::input::Input;

const SIZE: usize = 256;

/// The first byte says whether a journal or operations follow.
pub fn check(data: &[u8]) -> bool {
    let Some((&kind, data)) = data.split_first() else { return false };
    if kind % 4 == 0 {
        return journal(data);
    }
    let memory: Vec<u8> = (0..SIZE).map(|index| 0x40 + (index % 89) as u8).collect();
    operations(data, &Shared::new(memory, vec![0; STORE_MIN]))
}

/// A journal is opened, or not; what it says is in force is taken back, or not. Pieces of the
/// input stand at places that it names.
fn journal(data: &[u8]) -> bool {
    let mut store = vec![0; STORE_MIN];
    let mut input = Input(data);
    while !input.is_empty() {
        let (place, length) = (usize::from(input.u16()), usize::from(input.u8()));
        for (byte, new) in store.iter_mut().skip(place).zip(input.bytes(length)) {
            *byte = *new;
        }
    }
    let mut shared = Shared::new(vec![TRAP; SIZE], store);
    let Ok(mut engine) = Engine::open(shared.clone(), TRAP) else { return false };
    assert!(engine.patches().len() <= engine.capacity());
    let _ = engine.recover(&mut shared);
    let numbers: Vec<u32> = engine.patches().iter().map(|patch| patch.number).collect();
    for &number in &numbers {
        let _ = engine.jump(&mut shared, number, Which::All);
        let _ = engine.rollback(&mut shared, &[Rollback::of(number)]);
    }
    assert!(!shared.0.borrow().stopped, "the guest stands still");
    !numbers.is_empty()
}

/// Whether an update was applied.
fn operations(data: &[u8], shared: &Shared) -> bool {
    let original = shared.memory();
    let mut engine = Engine::open(shared.clone(), TRAP).expect("an empty journal");
    let mut input = Input(data);
    let mut applied = false;
    for count in 0..64 {
        if input.is_empty() {
            break;
        }
        let before = shared.memory();
        let operation = input.u8();
        let fails_in = input.u8();
        shared.set_trouble(match fails_in {
            0..64 => Trouble::Fail(fails_in.into()),
            _ => Trouble::Nothing,
        });
        let number = u32::from(operation >> 3);
        let mut subject = shared.clone();
        let done = match operation % 8 {
            0..=3 => apply(&mut engine, shared, &mut input, count),
            4 => engine.jump(&mut subject, number, Which::All).is_ok(),
            5 => engine.jump(&mut subject, number, Which::One(input.u8().into())).is_ok(),
            6 => engine.rollback(&mut subject, &[Rollback::of(number)]).is_ok(),
            _ => {
                engine = Engine::open(shared.clone(), TRAP).expect("its own journal");
                false
            }
        };
        assert!(!shared.0.borrow().stopped, "the guest stands still");
        shared.set_trouble(Trouble::Nothing);
        if !done && !engine.is_unfinished() {
            assert_eq!(shared.memory(), before, "an error changed memory");
        }
        engine.recover(&mut subject).expect("a subject that works");
        assert!(!engine.is_unfinished());
        applied |= done;
    }
    take_all_back(&mut engine, shared);
    assert_eq!(shared.memory(), original, "not everything was taken back");
    applied
}

fn take_all_back(engine: &mut Engine<Shared>, shared: &Shared) {
    let last = |engine: &Engine<Shared>| {
        let patches = engine.patches().iter().rev();
        patches.into_iter().find(|patch| patch.is_in_memory()).map(|patch| patch.number)
    };
    while let Some(number) = last(engine) {
        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).expect("nobody stands on it");
    }
}

/// One or two functions and up to three values, whose plans need not be sound.
fn apply(engine: &mut Engine<Shared>, shared: &Shared, input: &mut Input<'_>, count: u32) -> bool {
    let functions: Vec<FunctionPlan> =
        (0..1 + input.u8() % 2).map(|_| plan(shared, input)).collect();
    // As descriptors promise it.
    if let [one, other] = functions.as_slice()
        && one.site.abs_diff(other.site) < CODE_MAX as u64
    {
        return false;
    }
    let name = format!("patch{}", count % 20);
    let values: Vec<ValuePlan> = (0..input.u8() % 4).map(|_| value(shared, input)).collect();
    // As descriptors promise it.
    let overlap =
        |one: &ValuePlan, other: &ValuePlan| one.address.abs_diff(other.address) < VALUE_MAX as u64;
    for (index, one) in values.iter().enumerate() {
        if values[..index].iter().any(|other| overlap(one, other)) {
            return false;
        }
    }
    // In one step, or each by itself in a step of two.
    let whole = Plan { name: &name, functions: &functions, values: &values, ..Plan::default() };
    let first = Plan { values: &[], ..whole };
    let second = Plan { name: "second", functions: &[], ..whole };
    match input.u8() % 4 {
        0 if !values.is_empty() => engine.apply(&mut shared.clone(), &[first, second]).is_ok(),
        _ => engine.apply(&mut shared.clone(), &[whole]).is_ok(),
    }
}

fn value(shared: &Shared, input: &mut Input<'_>) -> ValuePlan {
    let offset = usize::from(input.u8());
    let length = usize::from(input.u8() % 20).min(VALUE_MAX);
    let (mask, new, state) = (input.u8(), input.u8(), input.u8());
    let memory = &shared.0.borrow().memory;
    let now = memory.iter().skip(offset).take(length).map(|byte| byte & mask);
    let mut old: Vec<u8> = now.collect();
    if state.is_multiple_of(16)
        && let Some(last) = old.last_mut()
    {
        *last ^= mask;
    }
    let length = old.len();
    ValuePlan {
        name: "value".try_into().expect("a short name"),
        address: BASE + offset as u64,
        old: old.into_iter().collect(),
        // Bits that its mask does not have, at times.
        new: (0..length).map(|_| if state % 16 == 1 { new } else { new & mask }).collect(),
        mask: (0..length).map(|_| mask).collect(),
        if_default: state & 0x80 != 0,
        below: input.u8().into(),
    }
}

fn plan(shared: &Shared, input: &mut Input<'_>) -> FunctionPlan {
    let offset = usize::from(input.u8());
    let length = usize::from(input.u8() % 24).min(CODE_MAX);
    let jumps = usize::from(input.u8() % 32);
    let memory = &shared.0.borrow().memory;
    let mut found: Vec<u8> = memory.iter().skip(offset).take(length).copied().collect();
    if input.u8().is_multiple_of(16)
        && let Some(last) = found.last_mut()
    {
        *last ^= 1;
    }
    // Mostly a jump as long as what it displaces, or none.
    let jump_length = match jumps {
        0..=19 if found.len() >= 5 => found.len(),
        0..=27 => 0,
        _ => jumps - 27,
    };
    FunctionPlan {
        name: "function".try_into().expect("a short name"),
        old_start: BASE + offset as u64,
        old_size: 16,
        site: BASE + offset as u64,
        new_entry: 0xffff_ffff_c000_0000 + u64::from(input.u8()),
        found: found.into_iter().collect(),
        jump: (0..jump_length.min(CODE_MAX)).map(|place| 0xe0 + place as u8).collect(),
        reason: u32::from(jump_length == 0),
        below: input.u8().into(),
    }
}

/// Sequences of operations: apply and take back, stacked, with failures.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    const NO_FAILURE: u8 = 255;
    let function = |site: u8| [0, NO_FAILURE, 0, site, 7, 1, 1, site, 0];
    let apply = |site: u8| [&function(site)[..], &[0, 1]].concat();
    // Eight bytes at 200, and half of one; in one step, or in a step of two.
    let with_values = |site: u8, step: u8| {
        let values = [2, 200, 8, 0xff, 7, 2, 0, 230, 1, 0xf0, 0x10, 2, 0, step];
        [&function(site)[..], &values].concat()
    };
    let rollback = |number: u8, fails_in: u8| [6 | number << 3, fails_in];
    let jump = |number: u8| [4 | number << 3, NO_FAILURE];
    vec![
        [&[1][..], &apply(10), &jump(1), &rollback(1, NO_FAILURE)].concat(),
        [&[1][..], &apply(10), &apply(10), &jump(2), &rollback(1, NO_FAILURE), &rollback(2, 4)]
            .concat(),
        [&[1][..], &apply(10), &[7, 255], &apply(60), &rollback(1, 6), &rollback(1, NO_FAILURE)]
            .concat(),
        [&[1][..], &with_values(10, 1), &rollback(1, 3), &rollback(1, NO_FAILURE)].concat(),
        [&[1][..], &with_values(10, 0), &with_values(60, 1), &[7, 255]].concat(),
        [&[0][..], &written_journal()].concat(),
    ]
}

/// The journal of an update that is in force, as pieces.
fn written_journal() -> Vec<u8> {
    let shared = Shared::new(vec![0x40; SIZE], vec![0; STORE_MIN]);
    let mut engine = Engine::open(shared.clone(), TRAP).expect("an empty journal");
    let plan_bytes = [20, 7, 1, 1, 1, 0, 1, 200, 8, 0xff, 7, 2, 0, 1];
    apply(&mut engine, &shared, &mut Input(&[&[0][..], &plan_bytes].concat()), 0);
    let store = &shared.0.borrow().store;
    let pieces = store.chunks(128).enumerate().filter(|(_, piece)| piece.iter().any(|&b| b != 0));
    pieces
        .flat_map(|(index, piece)| {
            let place = (index * 128) as u16;
            [&place.to_le_bytes()[..], &[128], piece].concat()
        })
        .collect()
}
