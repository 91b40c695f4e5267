//! Updates in any order on a machine whose steps fail, and journals that are anything at all.

use std::cell::RefCell;
use std::rc::Rc;

use lucos_transaction::engine::Which;
use lucos_transaction::journal::{STORE_MIN, StoreError};
use lucos_transaction::machine::{Difference, Place, PlaceError, Target};
use lucos_transaction::patch::{CODE_MAX, FUNCTIONS_MAX};
use lucos_transaction::{Engine, FunctionPlan, Machine, MachineError, Plan, Store};

use crate::input::Input;

const TRAP: u8 = 0x06;
const BASE: u64 = 0xffff_ffff_8100_0000;
const SIZE: usize = 256;

/// Memory and retained pages; a step can fail.
struct World {
    memory: Vec<u8>,
    store: Vec<u8>,
    stopped: bool,
    fails_in: Option<u8>,
}

/// The machine and the store are both of them.
#[derive(Clone)]
struct Shared(Rc<RefCell<World>>);

impl World {
    /// Whether this step works.
    fn works(&mut self) -> bool {
        let fails = self.fails_in == Some(0);
        self.fails_in = self.fails_in.and_then(|left| left.checked_sub(1));
        !fails
    }

    fn range(&self, address: u64, length: usize) -> Result<std::ops::Range<usize>, MachineError> {
        let start = usize::try_from(address.wrapping_sub(BASE)).unwrap_or(usize::MAX);
        match start.checked_add(length) {
            Some(end) if end <= self.memory.len() => Ok(start..end),
            _ => Err(MachineError::NotMapped { address }),
        }
    }
}

impl Machine for Shared {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), MachineError> {
        let mut world = self.0.borrow_mut();
        let range = world.range(address, bytes.len())?;
        if !world.works() {
            return Err(MachineError::Failed);
        }
        bytes.copy_from_slice(&world.memory[range]);
        Ok(())
    }

    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError> {
        let mut world = self.0.borrow_mut();
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            let failed = |error| PlaceError { place, error };
            let range = world.range(*address, bytes.len()).map_err(failed)?;
            if !world.works() {
                return Err(failed(MachineError::Failed));
            }
            let mut pairs = world.memory[range].iter().zip(*bytes);
            if let Some(offset) = pairs.position(|(now, then)| now != then) {
                return Ok(Some(Difference { place, offset }));
            }
        }
        Ok(None)
    }

    fn write(&mut self, places: &[Place<'_>]) -> Result<(), PlaceError> {
        let mut world = self.0.borrow_mut();
        assert!(world.stopped, "code is written while the guest runs");
        assert!(places.len() <= FUNCTIONS_MAX, "more places than functions");
        let mut ranges = Vec::new();
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            assert!(bytes.len() <= CODE_MAX, "more is written than a redirection");
            let range = world.range(*address, bytes.len());
            ranges.push(range.map_err(|error| PlaceError { place, error })?);
        }
        for ((place, Place { bytes, .. }), range) in places.iter().enumerate().zip(ranges) {
            if !world.works() {
                return Err(PlaceError { place, error: MachineError::Failed });
            }
            world.memory[range].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), MachineError> {
        let mut world = self.0.borrow_mut();
        assert!(!world.stopped, "stopped twice");
        if !world.works() {
            return Err(MachineError::Late);
        }
        world.stopped = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        let stopped = std::mem::replace(&mut self.0.borrow_mut().stopped, false);
        assert!(stopped, "resumed what runs");
        Ok(())
    }

    fn stopped_at(&mut self) -> Result<Vec<u64>, MachineError> {
        Ok(vec![0x1000])
    }

    fn intercept(&mut self, _: bool) -> Result<(), MachineError> {
        if self.0.borrow_mut().works() { Ok(()) } else { Err(MachineError::Failed) }
    }

    fn redirect(&mut self, _: u64, _: Option<Target>) {}

    fn now(&mut self) -> u64 {
        1
    }
}

impl Store for Shared {
    fn len(&self) -> usize {
        STORE_MIN
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        let world = self.0.borrow();
        let end = offset.checked_add(bytes.len()).ok_or(StoreError)?;
        bytes.copy_from_slice(world.store.get(offset..end).ok_or(StoreError)?);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let mut world = self.0.borrow_mut();
        let end = offset.checked_add(bytes.len()).ok_or(StoreError)?;
        let works = world.works();
        let place = world.store.get_mut(offset..end).filter(|_| works).ok_or(StoreError)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// The first byte says whether a journal or operations follow.
pub fn check(data: &[u8]) -> bool {
    let Some((&kind, data)) = data.split_first() else { return false };
    if kind % 4 == 0 {
        return journal(data);
    }
    let memory: Vec<u8> = (0..SIZE).map(|index| 0x40 + (index % 89) as u8).collect();
    let world = World { memory, store: vec![0; STORE_MIN], stopped: false, fails_in: None };
    operations(data, &Shared(Rc::new(RefCell::new(world))))
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
    let world = World { memory: vec![TRAP; SIZE], store, stopped: false, fails_in: None };
    let mut shared = Shared(Rc::new(RefCell::new(world)));
    let Ok(mut engine) = Engine::open(shared.clone(), TRAP) else { return false };
    assert!(engine.patches().len() <= engine.capacity());
    let _ = engine.recover(&mut shared);
    let numbers: Vec<u32> = engine.patches().iter().map(|patch| patch.number).collect();
    for &number in &numbers {
        let _ = engine.jump(&mut shared, number, Which::All);
        let _ = engine.rollback(&mut shared, number);
    }
    assert!(!shared.0.borrow().stopped, "the guest stands still");
    !numbers.is_empty()
}

/// Whether an update was applied.
fn operations(data: &[u8], shared: &Shared) -> bool {
    let original = shared.0.borrow().memory.clone();
    let mut engine = Engine::open(shared.clone(), TRAP).expect("an empty journal");
    let mut input = Input(data);
    let mut applied = false;
    for count in 0..64 {
        if input.is_empty() {
            break;
        }
        let before = shared.0.borrow().memory.clone();
        let operation = input.u8();
        let fails_in = input.u8();
        shared.0.borrow_mut().fails_in = (fails_in < 64).then_some(fails_in);
        let number = u32::from(operation >> 3);
        let mut machine = shared.clone();
        let done = match operation % 8 {
            0..=3 => apply(&mut engine, shared, &mut input, count),
            4 => engine.jump(&mut machine, number, Which::All).is_ok(),
            5 => engine.jump(&mut machine, number, Which::One(input.u8().into())).is_ok(),
            6 => engine.rollback(&mut machine, number).is_ok(),
            _ => {
                engine = Engine::open(shared.clone(), TRAP).expect("its own journal");
                false
            }
        };
        assert!(!shared.0.borrow().stopped, "the guest stands still");
        shared.0.borrow_mut().fails_in = None;
        if !done && !engine.is_unfinished() {
            assert_eq!(shared.0.borrow().memory, before, "an error changed memory");
        }
        engine.recover(&mut machine).expect("a machine that works");
        assert!(!engine.is_unfinished());
        applied |= done;
    }
    take_all_back(&mut engine, shared);
    assert_eq!(shared.0.borrow().memory, original, "not everything was taken back");
    applied
}

fn take_all_back(engine: &mut Engine<Shared>, shared: &Shared) {
    let last = |engine: &Engine<Shared>| {
        let patches = engine.patches().iter().rev();
        patches.into_iter().find(|patch| patch.is_in_memory()).map(|patch| patch.number)
    };
    while let Some(number) = last(engine) {
        engine.rollback(&mut shared.clone(), number).expect("nobody stands on it");
    }
}

/// One or two functions, whose plans need not be sound.
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
    let plan = Plan { name: &name, dependencies: &[], functions: &functions };
    engine.apply(&mut shared.clone(), &plan).is_ok()
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
    let apply = |site: u8| [0, NO_FAILURE, 0, site, 7, 1, 1, site, 0];
    let rollback = |number: u8, fails_in: u8| [6 | number << 3, fails_in];
    let jump = |number: u8| [4 | number << 3, NO_FAILURE];
    vec![
        [&[1][..], &apply(10), &jump(1), &rollback(1, NO_FAILURE)].concat(),
        [&[1][..], &apply(10), &apply(10), &jump(2), &rollback(1, NO_FAILURE), &rollback(2, 4)]
            .concat(),
        [&[1][..], &apply(10), &[7, 255], &apply(60), &rollback(1, 6), &rollback(1, NO_FAILURE)]
            .concat(),
        [&[0][..], &written_journal()].concat(),
    ]
}

/// The journal of an update that is in force, as pieces.
fn written_journal() -> Vec<u8> {
    let memory = vec![0x40; SIZE];
    let world = World { memory, store: vec![0; STORE_MIN], stopped: false, fails_in: None };
    let shared = Shared(Rc::new(RefCell::new(world)));
    let mut engine = Engine::open(shared.clone(), TRAP).expect("an empty journal");
    let plan_bytes = [20, 7, 1, 1, 1, 0];
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
