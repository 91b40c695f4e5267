//! The system table: `system.toml` as people write it, and as the kernel reads it.

use std::collections::BTreeMap;

use lucos_abi::manifest::{CapabilityEntry, Object, Rights, SystemTable, TaskEntry};
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
    /// The kernel would refuse it.
    #[error("{0}")]
    Refused(String),
}

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
    capabilities: BTreeMap<ObjectName, Vec<RightName>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum ObjectName {
    Log,
    Vcpu,
    Machine,
    GuestSpace,
    GuestMemory,
    Journal,
    MemoryTask,
    LiveupdateTask,
}

impl From<ObjectName> for Object {
    fn from(name: ObjectName) -> Self {
        match name {
            ObjectName::Log => Self::Log,
            ObjectName::Vcpu => Self::Vcpu,
            ObjectName::Machine => Self::Machine,
            ObjectName::GuestSpace => Self::GuestSpace,
            ObjectName::GuestMemory => Self::GuestMemory,
            ObjectName::Journal => Self::Journal,
            ObjectName::MemoryTask => Self::MemoryTask,
            ObjectName::LiveupdateTask => Self::LiveupdateTask,
        }
    }
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
        }
    }
}

/// A system as its file describes it.
#[derive(Clone, Debug)]
pub struct System {
    /// What the kernel reads.
    pub table: SystemTable,
    /// The cargo package of each task, in the table's order: `lucos-<name>` unless the file says
    /// something else.
    pub packages: Vec<String>,
    /// The cargo package of a bare-metal guest that belongs to the system, for tests.
    pub guest: Option<String>,
}

/// Reads a `system.toml`, and checks it as the kernel will.
///
/// # Errors
/// When something in it is unknown, too large, or would be refused by the kernel.
pub fn parse(text: &str) -> Result<System, Error> {
    let file: File = toml::from_str(text)?;
    let mut table = SystemTable { tasks: heapless::Vec::new() };
    for task in &file.task {
        let entry = convert(task)?;
        table.tasks.push(entry).map_err(|_| Error::TooMuch(format!("task {}", task.name)))?;
    }
    lucos_capability::check_system(&table).map_err(|error| Error::Refused(error.to_string()))?;
    let packages = file
        .task
        .into_iter()
        .map(|task| task.package.unwrap_or(format!("lucos-{}", task.name)))
        .collect();
    Ok(System { table, packages, guest: file.guest })
}

/// The table as the kernel reads it.
///
/// # Errors
/// Never for a table from [`parse`].
pub fn encode(table: &SystemTable) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(table)
}

fn convert(task: &Task) -> Result<TaskEntry, Error> {
    let mut entry = TaskEntry {
        name: heapless::String::try_from(task.name.as_str())
            .map_err(|_| Error::TooMuch(format!("the name {}", task.name)))?,
        stack_pages: task.stack_pages,
        heap_pages: task.heap_pages,
        journal_pages: task.journal_pages,
        capabilities: heapless::Vec::new(),
    };
    for (&name, rights) in &task.capabilities {
        let object = Object::from(name);
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
    }

    #[test]
    fn unknown_keys_objects_and_rights_are_refused() {
        assert!(parse(SMALL).is_ok());
        for (from, to) in [
            ("heap-pages", "heap-page"),
            ("stack-pages = 2", "stack-pages = 2\npriority = 1"),
            ("vcpu", "vcpus"),
            ("\"run\"", "\"fly\""),
            ("stack-pages = 2", "stack-pages = -1"),
        ] {
            let text = SMALL.replace(from, to);
            assert!(matches!(parse(&text), Err(Error::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_here() {
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
