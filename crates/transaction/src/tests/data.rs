//! Data of updates: what moves it, and what is not allowed.

mod faults;

use super::world::{BASE, Shared, TRAP, expected};
use crate::engine::{Engine, Rollback, Way};
use crate::fake::TURN;
use crate::patch::{Patch, PatchState, Plan};
use crate::version::{Kind, Lists, VERSIONS_MAX, Version, VersionPlan};
use lucos_data_versions::state::Code;
use lucos_data_versions::{Side, StateByte, VersionId, VersionState};
use lucos_guest_interface::call::DATA_ITEMS;
use lucos_guest_interface::{ErrorCode, Fault};

/// Where things are in memory: code, then this.
const LISTS: usize = 0x400;
const OBJECTS: usize = 0x700;
const TWINS: usize = 0x900;
const STAGE: usize = 0xb00;
const SECOND_STAGE: usize = 0xd00;
const END: usize = 0xf00;
/// Two versions: three pairs of 4 bytes whose twins have 8, and two of 9 whose twins have 5.
const SIZES: [(u32, u32, u32); 2] = [(3, 4, 8), (2, 9, 5)];

fn address(offset: usize) -> u64 {
    BASE + offset as u64
}

fn version(index: usize, stage: usize) -> VersionPlan {
    let (pairs, object_size, twin_size) = SIZES[index];
    VersionPlan {
        kind: Kind {
            name: ["counter", "record"][index].try_into().unwrap(),
            object_size,
            twin_size,
            to_new: 0x1234,
            to_old: 0x5678,
            flags: 0,
            shared: heapless::Vec::new(),
        },
        lists: Lists {
            by_object: address(LISTS + 0x80 * index),
            by_twin: address(LISTS + 0x80 * index),
            pairs,
            pages: 0,
            page_count: 0,
            stage: address(stage + 0x80 * index),
            stage_step: 32,
        },
    }
}

fn versions() -> Vec<VersionPlan> {
    (0..2).map(|index| version(index, STAGE)).collect()
}

fn second_lists() -> Vec<Lists> {
    (0..2).map(|index| version(index, SECOND_STAGE).lists).collect()
}

impl Shared {
    /// The sample with pairs, and nothing in either stage.
    fn with_data() -> Self {
        let shared = Self::sample();
        let mut memory = shared.memory();
        memory.resize(LISTS, 0x11);
        memory.resize(OBJECTS, 0);
        memory.extend((OBJECTS..STAGE).map(|at| 0x10 + (at * 7 % 29) as u8));
        memory.resize(END, 0);
        for (index, (pairs, ..)) in SIZES.into_iter().enumerate() {
            for number in 0..pairs as usize {
                let object = address(OBJECTS + 0x80 * index + 12 * number);
                let twin = address(TWINS + 0x80 * index + 12 * (7 - number));
                let entry = LISTS + 0x80 * index + 16 * number;
                memory[entry..entry + 8].copy_from_slice(&object.to_le_bytes());
                memory[entry + 8..entry + 16].copy_from_slice(&twin.to_le_bytes());
            }
        }
        assert!(!memory.contains(&TRAP));
        Self::new(memory, vec![0; super::world::STORE_SIZE])
    }

    fn apply_data(
        &self,
        engine: &mut Engine<Self>,
        name: &str,
        dependencies: &[&str],
        clear_only: bool,
    ) -> Result<u32, Fault> {
        let site = if dependencies.is_empty() { [0, 1] } else { [2, 3] };
        let (functions, versions) = (self.plan(&site, 0x7000), versions());
        let plan = Plan {
            name,
            dependencies,
            functions: &functions,
            versions: &versions,
            clear_only,
            ..Plan::default()
        };
        engine.apply(&mut self.clone(), &[plan])
    }

    fn roll_back(&self, engine: &mut Engine<Self>, number: u32, way: Way) -> Result<(), Fault> {
        let lists = second_lists();
        engine.rollback(&mut self.clone(), &[Rollback { number, way, lists: &lists }]).map(|_| ())
    }

    /// The guest writes to one side of all pairs.
    fn write_side(&self, side: Side, salt: u8) {
        let mut world = self.0.borrow_mut();
        for version in versions() {
            for (number, pair) in world.pairs(&version).iter().enumerate() {
                let range = world.side(&version, pair, side);
                world.memory[range].fill(0x20 + salt + number as u8);
            }
        }
    }
}

fn states(patch: &Patch) -> Vec<VersionState> {
    patch.versions.iter().map(|version: &Version| version.state(patch.state)).collect()
}

/// Code, states and guards are what the engine believes, and both sides are alike where both live.
fn check(shared: &Shared, engine: &Engine<Shared>, original: &[u8]) {
    assert!(!engine.is_unfinished());
    let world = shared.0.borrow();
    assert!(!world.stopped, "the guest stands still");
    let code = expected(&original[..LISTS], engine.patches());
    assert_eq!(world.memory[..LISTS], code);
    let mut guarded = Vec::new();
    for patch in engine.patches() {
        for (index, version) in patch.versions.iter().enumerate() {
            let state = version.state(patch.state);
            assert_eq!(version.byte, StateByte::settled(state));
            if state != VersionState::Both {
                continue;
            }
            guarded.push(VersionId { patch: patch.number, version: index as u32 });
            for pair in world.pairs(&version.plan) {
                for from in [Side::Object, Side::Twin] {
                    let target = world.side(&version.plan, &pair, from.other());
                    let made = world.transferred(&version.plan, &pair, from);
                    assert_eq!(world.memory[target], made);
                }
            }
        }
    }
    assert!(world.guards.iter().eq(&guarded), "{:?} {guarded:?}", world.guards);
}

type Operation = fn(&Shared, &mut Engine<Shared>) -> Result<(), Fault>;

/// An operation, and what comes before it.
struct Case {
    name: &'static str,
    before: &'static [Operation],
    operation: Operation,
    states: (PatchState, VersionState),
}

const APPLY: Operation = |shared, engine| shared.apply_data(engine, "fix", &[], false).map(|_| ());
const APPLY_CLEAR: Operation =
    |shared, engine| shared.apply_data(engine, "fix", &[], true).map(|_| ());
const ROLL_BACK: Operation = |shared, engine| shared.roll_back(engine, 1, Way::Guarded);
const ROLL_BACK_CLEAR: Operation = |shared, engine| shared.roll_back(engine, 1, Way::Clear);
const WITHDRAW: Operation = |shared, engine| shared.roll_back(engine, 1, Way::Withdraw);
const OLD_DRAINED: Operation = |shared, engine| engine.drained(&mut shared.clone(), 1, Code::Old);
const NEW_DRAINED: Operation = |shared, engine| engine.drained(&mut shared.clone(), 1, Code::New);
const USE_TWINS: Operation = |shared, _| {
    shared.write_side(Side::Twin, 3);
    Ok(())
};

const CASES: [Case; 10] = [
    Case {
        name: "apply",
        before: &[],
        operation: APPLY,
        states: (PatchState::Applied, VersionState::Both),
    },
    Case {
        name: "clear apply",
        before: &[],
        operation: APPLY_CLEAR,
        states: (PatchState::Applied, VersionState::New),
    },
    Case {
        name: "rollback of what has settled",
        before: &[APPLY_CLEAR, USE_TWINS],
        operation: ROLL_BACK,
        states: (PatchState::RolledBack, VersionState::Both),
    },
    Case {
        name: "clear rollback of what has settled",
        before: &[APPLY, OLD_DRAINED, USE_TWINS],
        operation: ROLL_BACK_CLEAR,
        states: (PatchState::RolledBack, VersionState::Old),
    },
    Case {
        name: "rollback of what settles",
        before: &[APPLY],
        operation: ROLL_BACK,
        states: (PatchState::RolledBack, VersionState::Both),
    },
    Case {
        name: "clear rollback of what settles",
        before: &[APPLY],
        operation: ROLL_BACK_CLEAR,
        states: (PatchState::RolledBack, VersionState::Old),
    },
    Case {
        name: "withdrawal of what settles",
        before: &[APPLY],
        operation: WITHDRAW,
        states: (PatchState::RolledBack, VersionState::Old),
    },
    Case {
        name: "withdrawal of what has settled",
        before: &[APPLY_CLEAR, USE_TWINS],
        operation: WITHDRAW,
        states: (PatchState::RolledBack, VersionState::Both),
    },
    Case {
        name: "old code has drained",
        before: &[APPLY],
        operation: OLD_DRAINED,
        states: (PatchState::Applied, VersionState::New),
    },
    Case {
        name: "new code has drained",
        before: &[APPLY, ROLL_BACK],
        operation: NEW_DRAINED,
        states: (PatchState::RolledBack, VersionState::Old),
    },
];

impl Case {
    fn prepared(&self) -> (Shared, Vec<u8>, Engine<Shared>) {
        let shared = Shared::with_data();
        let original = shared.memory();
        let mut engine = shared.open();
        for step in self.before {
            step(&shared, &mut engine).unwrap();
        }
        check(&shared, &engine, &original);
        (shared, original, engine)
    }

    /// Memory when all goes well.
    fn after(&self) -> Vec<u8> {
        let (shared, original, mut engine) = self.prepared();
        (self.operation)(&shared, &mut engine).unwrap();
        check(&shared, &engine, &original);
        let patch = &engine.patches()[0];
        assert_eq!(patch.state, self.states.0, "{}", self.name);
        assert_eq!(states(patch), [self.states.1; 2], "{}", self.name);
        shared.memory()
    }
}

fn listed(engine: &Engine<Shared>) -> Vec<(u32, PatchState, Vec<VersionState>)> {
    let patches = engine.patches().iter();
    patches.map(|patch| (patch.number, patch.state, states(patch))).collect()
}

/// All but the stages, of which nobody but the transaction takes notice.
fn without_stages(mut memory: Vec<u8>) -> Vec<u8> {
    memory.truncate(STAGE);
    memory
}

#[test]
fn data_moves_as_the_states_say() {
    for case in &CASES {
        case.after();
    }
}

#[test]
fn what_a_transfer_function_is_ended_for_changes_nothing_and_names_the_version() {
    for case in CASES.iter().filter(|case| case.operation as usize != OLD_DRAINED as usize) {
        let (shared, original, mut engine) = case.prepared();
        let (before, listed_before) = (shared.memory(), listed(&engine));
        shared.0.borrow_mut().contained = Some(Fault::new(ErrorCode::Unsupported, 0x77));
        let result = (case.operation)(&shared, &mut engine);
        if result.is_ok() {
            // Nothing is transferred from one side to the other.
            assert!(case.name.contains("settles") || case.name.contains("drained"));
            continue;
        }
        assert_eq!(
            result,
            Err(Fault::at(ErrorCode::Unsupported, DATA_ITEMS, 0x77)),
            "{}",
            case.name
        );
        assert!(shared.memory() == before, "{}", case.name);
        assert_eq!(listed(&engine), listed_before);
        check(&shared, &engine, &original);
    }
}

#[test]
fn only_what_is_to_be_clear_asks_who_is_inside() {
    for case in &CASES {
        let (shared, original, mut engine) = case.prepared();
        let (before, listed_before) = (shared.memory(), listed(&engine));
        shared.0.borrow_mut().clear = false;
        let result = (case.operation)(&shared, &mut engine);
        if case.name.contains("clear") {
            assert_eq!(result, Err(Fault::new(ErrorCode::Occupied, 0)), "{}", case.name);
            assert!(shared.memory() == before, "{}", case.name);
            assert_eq!(listed(&engine), listed_before);
        } else {
            assert_eq!(result, Ok(()), "{}", case.name);
        }
        check(&shared, &engine, &original);
    }
}

/// Such a processor may be on its way into new code, whatever its instruction pointer says.
#[test]
fn a_processor_that_is_held_at_a_trap_is_inside_new_code() {
    for case in &CASES {
        let (shared, original, mut engine) = case.prepared();
        let Some(site) = engine.patches().last().map(|patch| patch.functions[0].plan.site) else {
            continue;
        };
        let before = shared.memory();
        shared.0.borrow_mut().processors = vec![0, site];
        let result = (case.operation)(&shared, &mut engine);
        if case.name.starts_with("clear rollback") {
            assert_eq!(result, Err(Fault::new(ErrorCode::Occupied, site)), "{}", case.name);
            assert!(shared.memory() == before, "{}", case.name);
        } else {
            assert_eq!(result, Ok(()), "{}", case.name);
        }
        check(&shared, &engine, &original);
    }
}

#[test]
fn a_clear_update_of_a_patch_below_leaves_nobody_at_its_trap() {
    let shared = Shared::with_data();
    let mut engine = shared.open();
    let functions = shared.plan(&[0, 1], 0x6000);
    let below = Plan { name: "below", functions: &functions, ..Plan::default() };
    engine.apply(&mut shared.clone(), &[below]).unwrap();
    let (site, before) = (engine.patches()[0].functions[1].plan.site, shared.memory());
    shared.0.borrow_mut().processors = vec![0, site];
    let occupied = Err(Fault::new(ErrorCode::Occupied, site));
    assert_eq!(shared.apply_data(&mut engine, "above", &[], true), occupied);
    assert!(shared.memory() == before);
    shared.0.borrow_mut().processors = vec![0, site + 0x1000];
    assert!(shared.apply_data(&mut engine, "above", &[], true).is_ok());
}

#[test]
fn a_roundtrip_carries_what_the_twins_became() {
    let (shared, original, mut engine) = CASES[3].prepared();
    (CASES[3].operation)(&shared, &mut engine).unwrap();
    let world = shared.0.borrow();
    for (version, (_, object, twin)) in versions().iter().zip(SIZES) {
        for (number, pair) in world.pairs(version).iter().enumerate() {
            let bytes = &world.memory[world.side(version, pair, Side::Object)];
            let carried = object.min(twin) as usize;
            assert!(bytes[..carried].iter().all(|&byte| byte == (0x23 + number as u8) ^ TURN));
            // What the object has alone is left alone.
            let offset = (pair.object - BASE) as usize;
            let rest = offset + carried..offset + object as usize;
            assert_eq!(bytes[carried..], original[rest]);
        }
    }
}

#[test]
fn nothing_is_done_to_data_that_has_not_settled() {
    let not_settled = |number| Err(Fault::new(ErrorCode::NotSettled, number));
    let shared = Shared::with_data();
    let mut engine = shared.open();
    shared.apply_data(&mut engine, "base", &[], false).unwrap();
    // Nothing is applied on it before it has settled.
    assert_eq!(shared.apply_data(&mut engine, "top", &["base"], false), not_settled(1).map(|()| 0));
    engine.drained(&mut shared.clone(), 1, Code::Old).unwrap();
    let top = shared.apply_data(&mut engine, "top", &["base"], false).unwrap();
    let needed = Err(Fault::new(ErrorCode::DependencyInUse, top.into()));
    assert_eq!(shared.roll_back(&mut engine, 1, Way::Guarded), needed);
    shared.roll_back(&mut engine, top, Way::Guarded).unwrap();
    // Nor is it rolled back under what has not settled.
    assert_eq!(shared.roll_back(&mut engine, 1, Way::Guarded), not_settled(top.into()));
    // Nor does the same patch come again, since its former self is still in the journal.
    let again = shared.apply_data(&mut engine, "top", &["base"], false);
    assert_eq!(again, not_settled(top.into()).map(|()| 0));
    engine.drained(&mut shared.clone(), top, Code::New).unwrap();
    shared.roll_back(&mut engine, 1, Way::Guarded).unwrap();
    assert!(engine.patches()[0].is_settling());
    // A patch that settles stays in the journal, whatever room is needed.
    for round in 0..100 {
        let name = format!("patch{round}");
        let number = shared.apply(&mut engine, &name, &[4], 0x7000).unwrap();
        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).unwrap();
        assert!(engine.patches().iter().any(|patch| patch.number == 1));
    }
}

#[test]
fn who_has_drained_what_is_checked() {
    let shared = Shared::with_data();
    let mut engine = shared.open();
    let drained = |engine: &mut Engine<Shared>, number, code| {
        engine.drained(&mut shared.clone(), number, code).map_err(|fault| fault.code)
    };
    assert_eq!(drained(&mut engine, 1, Code::Old), Err(ErrorCode::UnknownPatch));
    APPLY(&shared, &mut engine).unwrap();
    assert_eq!(engine.version_state(1, 1), Ok(VersionState::Both));
    assert!(engine.version_state(1, 2).is_err() && engine.version_state(2, 0).is_err());
    assert_eq!(drained(&mut engine, 1, Code::New), Err(ErrorCode::AlreadyApplied));
    assert_eq!(drained(&mut engine, 1, Code::Old), Ok(()));
    assert_eq!(drained(&mut engine, 1, Code::Old), Ok(()));
    ROLL_BACK(&shared, &mut engine).unwrap();
    assert_eq!(drained(&mut engine, 1, Code::Old), Err(ErrorCode::NotApplied));
    assert_eq!(drained(&mut engine, 1, Code::New), Ok(()));
    assert_eq!(drained(&mut engine, 1, Code::New), Ok(()));
    assert_eq!(engine.version_state(1, 0), Ok(VersionState::Old));
}

#[test]
fn a_rollback_that_moves_data_brings_lists() {
    let (shared, original, mut engine) = CASES[2].prepared();
    let before = shared.memory();
    let missing = engine.rollback(&mut shared.clone(), &[Rollback::of(1)]);
    assert_eq!(missing, Err(Fault::at(ErrorCode::RollbackRecord, DATA_ITEMS, 0)));
    let one = &second_lists()[..1];
    let rollback = Rollback { number: 1, way: Way::Guarded, lists: one };
    let missing = engine.rollback(&mut shared.clone(), &[rollback]);
    assert_eq!(missing, Err(Fault::at(ErrorCode::RollbackRecord, DATA_ITEMS + 1, 0)));
    assert!(shared.memory() == before);
    check(&shared, &engine, &original);
    // One that settles needs none, and keeps those that it has.
    let (shared, original, mut engine) = CASES[4].prepared();
    engine.rollback(&mut shared.clone(), &[Rollback::of(1)]).unwrap();
    assert_eq!(engine.patches()[0].versions[0].plan.lists, versions()[0].lists);
    check(&shared, &engine, &original);
}

#[test]
fn versions_survive_a_restart() {
    let (shared, original, mut engine) = CASES[2].prepared();
    shared.roll_back(&mut engine, 1, Way::Guarded).unwrap();
    let mut after = shared.restart();
    after.recover(&mut shared.clone()).unwrap();
    check(&shared, &after, &original);
    for (version, plan) in after.patches()[0].versions.iter().zip(versions()) {
        assert_eq!(version.plan.kind, plan.kind);
    }
    let lists: Vec<_> =
        after.patches()[0].versions.iter().map(|version| version.plan.lists).collect();
    assert_eq!(lists, second_lists());
}

#[test]
fn versions_have_a_limit_and_sizes() {
    let shared = Shared::with_data();
    let mut engine = shared.open();
    let functions = shared.plan(&[0], 0x7000);
    let mut apply = |versions: &[VersionPlan]| {
        let plan = Plan { name: "many", functions: &functions, versions, ..Plan::default() };
        engine.apply(&mut shared.clone(), &[plan]).map_err(|fault| fault.code)
    };
    assert_eq!(apply(&vec![version(0, STAGE); VERSIONS_MAX + 1]), Err(ErrorCode::Internal));
    // The sample's store has room for ten.
    assert_eq!(apply(&vec![version(0, STAGE); 11]), Err(ErrorCode::JournalFull));
    for (object_size, twin_size) in [(0, 1), (1, 0), (4097, 1), (1, 4097)] {
        let mut version = version(0, STAGE);
        version.kind.object_size = object_size;
        version.kind.twin_size = twin_size;
        assert_eq!(apply(&[version]), Err(ErrorCode::Internal));
    }
}

#[test]
fn a_kernel_that_is_gone_leaves_no_guards() {
    use crate::journal::Registration;
    let shared = Shared::with_data();
    let mut engine = shared.open();
    let registration = |identity| Registration {
        nonce: 1,
        boot_identity: [identity; 16],
        ..Registration::default()
    };
    engine.register(&mut shared.clone(), registration(1)).unwrap();
    APPLY(&shared, &mut engine).unwrap();
    engine.unregister(true).unwrap();
    shared.0.borrow_mut().memory[..LISTS].fill(0x55);
    engine.register(&mut shared.clone(), registration(2)).unwrap();
    assert!(shared.0.borrow().guards.is_empty());
    assert!(shared.restart().patches().is_empty());
}
