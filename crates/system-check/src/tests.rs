use lucos_abi::layout::{IMAGE, IMAGE_END};
use lucos_abi::manifest::{CapabilityEntry, Object, Rights, SystemTable, TaskEntry, TaskImage};

use crate::{Problem, check_system};

fn task(name: &str, capabilities: &[(Object, Rights)]) -> TaskEntry {
    let journal = capabilities.iter().any(|(object, _)| *object == Object::Journal);
    TaskEntry {
        name: name.try_into().unwrap(),
        stack_pages: 4,
        heap_pages: 16,
        journal_pages: u16::from(journal),
        image: TaskImage { constants: 2, code: 3, data: 1, entry: IMAGE + 0x2abc },
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
                (Object::Task(1), Rights::CALL),
                (Object::Task(2), Rights::CALL),
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
                (Object::Task(1), Rights::CALL),
            ],
        ),
    ])
}

fn problem(system: &SystemTable) -> (Option<usize>, Option<Object>, Problem) {
    let error = check_system(system).expect_err("a problem");
    (error.task, error.entry, error.problem)
}

#[test]
fn a_sound_system_is_accepted() {
    assert_eq!(check_system(&real()), Ok(()));
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
        ((Object::Task(1), Rights::all()), Problem::MeaninglessRight),
        (
            (Object::Log, Rights::WRITE | Rights::from_bits_retain(0x8000)),
            Problem::MeaninglessRight,
        ),
    ];
    for (entry, expected) in cases {
        let system = system(&[task("alone", &[entry])]);
        let found = problem(&system);
        assert_eq!(found, (Some(0), Some(entry.0), expected));
    }
    let mut twice = real();
    let entry = twice.tasks[1].capabilities[0];
    twice.tasks[1].capabilities.push(entry).unwrap();
    assert_eq!(problem(&twice), (Some(1), Some(Object::GuestSpace), Problem::Duplicate));
    let error = check_system(&twice).unwrap_err();
    assert_eq!(error.to_string(), "Duplicate in its task 1, capability GuestSpace");
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
}

fn calling(tasks: &[&[u8]]) -> SystemTable {
    let names = ["first", "second", "third", "fourth"];
    let entries: Vec<_> = names
        .iter()
        .zip(tasks)
        .map(|(name, callees)| {
            let calls = callees.iter().map(|callee| (Object::Task(*callee), Rights::CALL));
            task(name, &calls.collect::<Vec<_>>())
        })
        .collect();
    system(&entries)
}

#[test]
fn calls_lead_somewhere_and_never_back() {
    for (tasks, expected) in [
        (&[&[1_u8][..]][..], Problem::NoSuchTask),
        (&[&[9], &[]], Problem::NoSuchTask),
        (&[&[0]], Problem::CallCycle),
        (&[&[], &[1]], Problem::CallCycle),
        (&[&[1], &[0]], Problem::CallCycle),
        (&[&[1], &[2], &[0]], Problem::CallCycle),
        (&[&[1], &[2], &[3], &[1]], Problem::CallCycle),
        (&[&[], &[3], &[1], &[2]], Problem::CallCycle),
    ] {
        assert_eq!(problem(&calling(tasks)).2, expected, "{tasks:?}");
    }
    for tasks in [&[&[1_u8, 2, 3][..], &[2, 3], &[3], &[]][..], &[&[], &[0], &[1], &[2, 0]]] {
        assert_eq!(check_system(&calling(tasks)), Ok(()), "{tasks:?}");
    }
}

#[test]
fn a_thread_starts_in_the_code_of_its_task() {
    let pages = (IMAGE_END - IMAGE) / 0x1000;
    let sound = TaskImage { constants: 1, code: 2, data: 0, entry: IMAGE + 0x1000 };
    let cases = [
        (sound, true),
        (TaskImage { entry: IMAGE + 0x2fff, ..sound }, true),
        (TaskImage { entry: IMAGE + 0x3000, ..sound }, false),
        (TaskImage { entry: IMAGE, ..sound }, false),
        (TaskImage { entry: 0, ..sound }, false),
        (TaskImage { entry: 1 << 47, ..sound }, false),
        (TaskImage { entry: u64::MAX, ..sound }, false),
        (TaskImage { code: 0, ..sound }, false),
        (TaskImage { data: u16::MAX, ..sound }, pages > 0x1_0002),
    ];
    for (image, expected) in cases {
        let mut system = real();
        system.tasks[1].image = image;
        let problem = check_system(&system).err().map(|error| error.problem);
        assert_eq!(problem, (!expected).then_some(Problem::BadImage), "{image:?}");
    }
}
