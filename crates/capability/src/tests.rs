use lucos_abi::call::CallStatus;
use lucos_abi::manifest::{CapabilityEntry, Object, Rights, SLOTS, SystemTable, TaskEntry};
use proptest::prelude::*;

use crate::{CapabilityTable, ManifestError, Problem, check_system};

fn task(name: &str, capabilities: &[(Object, Rights)]) -> TaskEntry {
    let journal = capabilities.iter().any(|(object, _)| *object == Object::Journal);
    TaskEntry {
        name: name.try_into().unwrap(),
        stack_pages: 4,
        heap_pages: 16,
        journal_pages: u16::from(journal),
        capabilities: capabilities
            .iter()
            .map(|&(object, rights)| CapabilityEntry { object, rights })
            .collect(),
    }
}

fn system(tasks: &[TaskEntry]) -> SystemTable {
    SystemTable { tasks: tasks.iter().cloned().collect() }
}

/// A system like the real one.
fn real() -> SystemTable {
    system(&[
        task(
            "vmx",
            &[
                (Object::Log, Rights::WRITE),
                (Object::Vcpu, Rights::RUN | Rights::WRITE),
                (Object::Machine, Rights::START | Rights::RESET),
                (Object::MemoryTask, Rights::CALL),
                (Object::LiveupdateTask, Rights::CALL),
            ],
        ),
        task(
            "memory",
            &[
                (Object::GuestSpace, Rights::WRITE),
                (Object::GuestMemory, Rights::READ | Rights::WRITE),
            ],
        ),
        task(
            "liveupdate",
            &[
                (Object::Machine, Rights::STOP | Rights::READ),
                (Object::Journal, Rights::READ | Rights::WRITE),
                (Object::MemoryTask, Rights::CALL),
            ],
        ),
    ])
}

fn problem(system: &SystemTable) -> (String, Option<Object>, Problem) {
    let error = check_system(system).expect_err("a problem");
    (error.task.to_owned(), error.entry, error.problem)
}

#[test]
fn a_sound_system_is_accepted() {
    assert_eq!(check_system(&real()), Ok(()));
}

#[test]
fn lookups_give_what_the_manifest_lists_and_nothing_else() {
    let system = real();
    let table = CapabilityTable::new(&system.tasks[0]).unwrap();
    let machine = Object::Machine.slot();
    assert_eq!(table.lookup(machine, Rights::RESET), Ok(Object::Machine));
    for needed in [Rights::STOP, Rights::STOP | Rights::RESET] {
        assert_eq!(table.lookup(machine, needed), Err(CallStatus::MissingRight));
    }
    for slot in [Object::GuestSpace.slot(), SLOTS as u64, u64::MAX, 1 << 32] {
        assert_eq!(table.lookup(slot, Rights::WRITE), Err(CallStatus::NoCapability));
    }
    assert!(table.allows(Object::Vcpu, Rights::RUN));
    assert!(!table.allows(Object::Journal, Rights::READ));
}

#[test]
fn every_object_lies_in_its_own_slot() {
    for (position, object) in Object::ALL.into_iter().enumerate() {
        assert_eq!(object.slot(), position as u64);
    }
}

#[test]
fn capabilities_that_make_no_sense_are_refused() {
    let cases = [
        ((Object::Log, Rights::empty()), Problem::NoRights),
        ((Object::Log, Rights::RUN), Problem::MeaninglessRight),
        ((Object::Vcpu, Rights::STOP), Problem::MeaninglessRight),
        ((Object::Machine, Rights::CALL), Problem::MeaninglessRight),
        ((Object::GuestSpace, Rights::READ), Problem::MeaninglessRight),
        ((Object::GuestMemory, Rights::START), Problem::MeaninglessRight),
        ((Object::MemoryTask, Rights::all()), Problem::MeaninglessRight),
        (
            (Object::Log, Rights::WRITE | Rights::from_bits_retain(0x8000)),
            Problem::MeaninglessRight,
        ),
    ];
    for (entry, expected) in cases {
        let system = system(&[task("alone", &[entry])]);
        let found = problem(&system);
        assert_eq!(found, ("alone".to_owned(), Some(entry.0), expected));
    }
    let mut twice = real();
    let entry = twice.tasks[1].capabilities[0];
    twice.tasks[1].capabilities.push(entry).unwrap();
    assert_eq!(
        problem(&twice),
        ("memory".to_owned(), Some(Object::GuestSpace), Problem::Duplicate)
    );
}

#[test]
fn names_and_sizes_are_checked() {
    type Change = fn(&mut TaskEntry);
    let cases: [(Change, Problem); 8] = [
        (|task| task.name.clear(), Problem::BadName),
        (|task| task.name = "a/b".try_into().unwrap(), Problem::BadName),
        (|task| task.name = "vmx".try_into().unwrap(), Problem::NameTaken),
        (|task| task.stack_pages = 0, Problem::BadSize),
        (|task| task.stack_pages = 65, Problem::BadSize),
        (|task| task.heap_pages = 1025, Problem::BadSize),
        (|task| task.journal_pages = 65, Problem::BadSize),
        (|task| task.journal_pages = 1, Problem::JournalMismatch),
    ];
    for (change, expected) in cases {
        let mut system = real();
        change(&mut system.tasks[1]);
        assert_eq!(problem(&system).2, expected);
    }
    let mut without_pages = real();
    without_pages.tasks[2].journal_pages = 0;
    assert_eq!(problem(&without_pages).2, Problem::JournalMismatch);
    assert_eq!(problem(&system(&[])).2, Problem::NoTasks);
}

#[test]
fn a_task_may_have_no_capability_at_all() {
    let idle = system(&[task("idle", &[])]);
    assert_eq!(check_system(&idle), Ok(()));
    let table = CapabilityTable::new(&idle.tasks[0]).unwrap();
    for object in Object::ALL {
        let result = table.lookup(object.slot(), Rights::empty());
        assert_eq!(result, Err(CallStatus::NoCapability));
    }
}

#[test]
fn calls_lead_somewhere_and_never_back() {
    let to_memory = (Object::MemoryTask, Rights::CALL);
    let to_update = (Object::LiveupdateTask, Rights::CALL);
    let alone = system(&[task("vmx", &[to_memory])]);
    assert_eq!(problem(&alone).2, Problem::NoSuchTask);
    let itself = system(&[task("memory", &[to_memory])]);
    assert_eq!(problem(&itself).2, Problem::CallsItself);
    let circle = system(&[
        task("vmx", &[to_memory]),
        task("memory", &[to_update]),
        task("liveupdate", &[to_memory]),
    ]);
    assert_eq!(problem(&circle).2, Problem::CallCycle);
    let line = system(&[
        task("liveupdate", &[to_memory]),
        task("memory", &[]),
        task("vmx", &[to_memory, to_update]),
    ]);
    assert_eq!(check_system(&line), Ok(()));
}

#[test]
fn only_two_objects_stand_for_tasks() {
    // With more of them, longer circles are possible, and the check must look for them.
    let tasks = Object::ALL.into_iter().filter(|object| object.task_name().is_some());
    assert_eq!(tasks.count(), 2);
}

#[test]
fn errors_name_task_and_capability() {
    let error = ManifestError { task: "vmx", entry: Some(Object::Log), problem: Problem::NoRights };
    assert_eq!(error.to_string(), "system table: NoRights in task `vmx`, capability Log");
}

proptest! {
    #[test]
    fn a_lookup_never_gives_more_than_was_listed(
        listed in prop::collection::vec((0..SLOTS, 0..128u16), 0..SLOTS),
        slot in prop_oneof![0..10u64, any::<u64>()],
        needed in 1..128u16,
    ) {
        let entries: Vec<_> = listed
            .iter()
            .map(|&(object, rights)| (Object::ALL[object], Rights::from_bits_retain(rights)))
            .collect();
        let needed = Rights::from_bits_retain(needed);
        let task = task("some", &entries);
        let Ok(table) = CapabilityTable::new(&task) else { return Ok(()) };
        let held = entries.iter().find(|(object, _)| object.slot() == slot);
        let expected = match held {
            None => Err(CallStatus::NoCapability),
            Some((object, rights)) if rights.contains(needed) => Ok(*object),
            Some(_) => Err(CallStatus::MissingRight),
        };
        prop_assert_eq!(table.lookup(slot, needed), expected);
    }
}
