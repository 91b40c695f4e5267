//! The system table: `system.toml` as people write it, and as boot stub and kernel read it.

use std::collections::BTreeMap;

use lucos_abi::layout::IMAGE;
use lucos_abi::manifest::{CapabilityEntry, Object, Rights, SystemTable, TaskEntry, TaskImage};
use serde::Deserialize;

/// Why a `system.toml` is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not written as it should be.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A name or a list is too long for the table.
    #[error("{0} does not fit into the system table")]
    TooMuch(String),
    /// A right stands twice.
    #[error("task {task}: a right to {object:?} is listed twice")]
    RightTwice {
        /// The task.
        task: String,
        /// The object.
        object: Object,
    },
    /// A capability names nothing.
    #[error("task {task}: there is no object or task `{name}`")]
    NoObject {
        /// The task.
        task: String,
        /// What it says.
        name: String,
    },
    /// The boot stub would refuse it.
    #[error("{0}")]
    Refused(String),
}

/// The image of a task before the bundle is written: as little as can be.
const UNKNOWN: TaskImage = TaskImage { constants: 0, code: 1, data: 0, entry: IMAGE };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    guest: Option<String>,
    task: Vec<Task>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Task {
    name: String,
    package: Option<String>,
    stack_pages: u16,
    heap_pages: u16,
    journal_pages: u16,
    capabilities: BTreeMap<String, Vec<RightName>>,
}

/// The object of this name, `<task>-task` for a task of the system.
fn object(name: &str, tasks: &[Task]) -> Option<Object> {
    Some(match name {
        "log" => Object::Log,
        "vcpu" => Object::Vcpu,
        "machine" => Object::Machine,
        "guest-space" => Object::GuestSpace,
        "guest-memory" => Object::GuestMemory,
        "journal" => Object::Journal,
        _ => {
            let task = name.strip_suffix("-task")?;
            let place = tasks.iter().position(|other| other.name == task)?;
            Object::Task(u8::try_from(place).ok()?)
        }
    })
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RightName {
    Read,
    Write,
    Call,
    Run,
    Stop,
    Start,
    Reset,
    Confine,
}

impl From<RightName> for Rights {
    fn from(name: RightName) -> Self {
        match name {
            RightName::Read => Self::READ,
            RightName::Write => Self::WRITE,
            RightName::Call => Self::CALL,
            RightName::Run => Self::RUN,
            RightName::Stop => Self::STOP,
            RightName::Start => Self::START,
            RightName::Reset => Self::RESET,
            RightName::Confine => Self::CONFINE,
        }
    }
}

/// A system as its file describes it.
#[derive(Clone, Debug)]
pub struct System {
    /// What boot stub and kernel read.
    pub table: SystemTable,
    /// The cargo package of each task, in the table's order: `lucos-<name>` unless the file says
    /// something else.
    pub packages: Vec<String>,
    /// The cargo package of a bare-metal guest that belongs to the system, for tests.
    pub guest: Option<String>,
}

/// Reads a `system.toml`, and checks it as the boot stub will.
///
/// # Errors
/// When something in it is unknown, too large, or would be refused by it.
pub fn parse(text: &str) -> Result<System, Error> {
    let file: File = toml::from_str(text)?;
    let mut table = SystemTable { tasks: heapless::Vec::new() };
    for task in &file.task {
        let entry = convert(task, &file.task)?;
        table.tasks.push(entry).map_err(|_| Error::TooMuch(format!("task {}", task.name)))?;
    }
    check(&table)?;
    let packages = file
        .task
        .into_iter()
        .map(|task| task.package.unwrap_or(format!("lucos-{}", task.name)))
        .collect();
    Ok(System { table, packages, guest: file.guest })
}

/// Checks a table as the boot stub will.
///
/// # Errors
/// When it would be refused.
pub fn check(table: &SystemTable) -> Result<(), Error> {
    lucos_system_check::check_system(table).map_err(|error| {
        let task = error.task.and_then(|position| table.tasks.get(position));
        let task = task.map(|task| format!(" in task {}", task.name)).unwrap_or_default();
        let capability = error.entry.map(|object| format!(", capability {object:?}"));
        let capability = capability.unwrap_or_default();
        Error::Refused(format!("{:?}{task}{capability}", error.problem))
    })
}

/// The table as the boot stub reads it.
///
/// # Errors
/// Never for a table from [`parse`].
pub fn encode(table: &SystemTable) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(table)
}

fn convert(task: &Task, tasks: &[Task]) -> Result<TaskEntry, Error> {
    let mut entry = TaskEntry {
        name: heapless::String::try_from(task.name.as_str())
            .map_err(|_| Error::TooMuch(format!("the name {}", task.name)))?,
        stack_pages: task.stack_pages,
        heap_pages: task.heap_pages,
        journal_pages: task.journal_pages,
        image: UNKNOWN,
        capabilities: heapless::Vec::new(),
    };
    for (name, rights) in &task.capabilities {
        let object = object(name, tasks)
            .ok_or_else(|| Error::NoObject { task: task.name.clone(), name: name.clone() })?;
        let mut all = Rights::empty();
        for right in rights.iter().copied().map(Rights::from) {
            if all.contains(right) {
                return Err(Error::RightTwice { task: task.name.clone(), object });
            }
            all |= right;
        }
        let capability = CapabilityEntry { object, rights: all };
        entry
            .capabilities
            .push(capability)
            .map_err(|_| Error::TooMuch(format!("task {}'s capabilities", task.name)))?;
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "[[task]]\nname = \"vmx\"\nstack-pages = 2\nheap-pages = 0\njournal-pages = 0\n\
        [task.capabilities]\nvcpu = [\"run\", \"write\"]\n";

    #[test]
    fn the_projects_own_table_is_sound_and_survives_the_way_to_the_kernel() {
        let System { table, packages, .. } =
            parse(include_str!("../../system.toml")).expect("sound");
        assert_eq!(packages, ["lucos-vmx", "lucos-memory", "lucos-liveupdate"]);
        let bytes = encode(&table).expect("encoded");
        let back: SystemTable = lucos_abi::message::decode(&bytes).expect("decoded");
        assert_eq!(back, table);
        assert_eq!(table.tasks.len(), 3);
        // `lucos_service` names them by these places.
        let places: Vec<&str> = table.tasks.iter().map(|task| task.name.as_str()).collect();
        assert_eq!(places, ["vmx", "memory", "liveupdate"]);
    }

    #[test]
    fn unknown_keys_objects_and_rights_are_refused() {
        assert!(parse(SMALL).is_ok());
        for (from, to) in [
            ("heap-pages", "heap-page"),
            ("stack-pages = 2", "stack-pages = 2\npriority = 1"),
            ("\"run\"", "\"fly\""),
            ("stack-pages = 2", "stack-pages = -1"),
        ] {
            let text = SMALL.replace(from, to);
            assert!(matches!(parse(&text), Err(Error::Syntax(_))), "{text}");
        }
        for name in ["vcpus", "other-task", "-task"] {
            let text = SMALL.replace("vcpu", name);
            assert!(matches!(parse(&text), Err(Error::NoObject { .. })), "{text}");
        }
    }

    #[test]
    fn what_the_boot_stub_would_refuse_is_refused_here() {
        let text = SMALL.replace("stack-pages = 2", "stack-pages = 0");
        assert!(matches!(parse(&text), Err(Error::Refused(_))));
        let text = SMALL.replace("[\"run\", \"write\"]", "[\"run\", \"run\"]");
        assert!(matches!(parse(&text), Err(Error::RightTwice { .. })));
        let text = SMALL.replace("[\"run\", \"write\"]", "[]");
        assert!(matches!(parse(&text), Err(Error::Refused(_))));
        let text = SMALL.replace("\"vmx\"", "\"a-name-that-is-too-long\"");
        assert!(matches!(parse(&text), Err(Error::TooMuch(_))));
    }
}
