//! Checks of the whole system table.

use core::fmt;

use lucos_abi::manifest::{Object, SystemTable, TaskEntry};

use crate::CapabilityTable;

/// What is wrong with a system table, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestError<'a> {
    /// Name of the task; empty when the table itself is at fault.
    pub task: &'a str,
    /// The capability at fault, if it is one.
    pub entry: Option<Object>,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a system table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There are no tasks.
    NoTasks,
    /// The name is empty, or has other characters than `a` to `z` and `-`.
    BadName,
    /// Another task has the same name.
    NameTaken,
    /// Stack, heap or journal pages are outside their limits.
    BadSize,
    /// Journal pages without a capability to them, or the other way round.
    JournalMismatch,
    /// The capability is listed twice.
    Duplicate,
    /// The capability has no right.
    NoRights,
    /// The object knows no request that needs this right.
    MeaninglessRight,
    /// The task behind the object does not exist.
    NoSuchTask,
    /// The task would call itself.
    CallsItself,
    /// The task and its callee may call each other.
    CallCycle,
}

impl<'a> ManifestError<'a> {
    pub(crate) fn new(task: &'a TaskEntry, entry: Option<Object>, problem: Problem) -> Self {
        Self { task: &task.name, entry, problem }
    }
}

impl fmt::Display for ManifestError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system table: {:?}", self.problem)?;
        if !self.task.is_empty() {
            write!(f, " in task `{}`", self.task)?;
        }
        match self.entry {
            Some(object) => write!(f, ", capability {object:?}"),
            None => Ok(()),
        }
    }
}

/// Checks everything that a system table promises.
///
/// # Errors
/// The first problem found.
pub fn check_system(system: &SystemTable) -> Result<(), ManifestError<'_>> {
    if system.tasks.is_empty() {
        let (task, entry, problem) = ("", None, Problem::NoTasks);
        return Err(ManifestError { task, entry, problem });
    }
    for (position, task) in system.tasks.iter().enumerate() {
        if let Some(problem) = problem_of(task, system.tasks.get(..position).unwrap_or_default()) {
            return Err(ManifestError::new(task, None, problem));
        }
        CapabilityTable::new(task)?;
    }
    for task in &system.tasks {
        for object in objects(task) {
            if let Some(problem) = problem_of_call(system, task, object) {
                return Err(ManifestError::new(task, Some(object), problem));
            }
        }
    }
    Ok(())
}

fn objects(task: &TaskEntry) -> impl Iterator<Item = Object> {
    task.capabilities.iter().map(|entry| entry.object)
}

fn problem_of(task: &TaskEntry, before: &[TaskEntry]) -> Option<Problem> {
    let name = task.name.as_str();
    let is_name = |byte| matches!(byte, b'a'..=b'z' | b'-');
    let sizes = matches!(task.stack_pages, 1..=64) && task.heap_pages <= 1024;
    if name.is_empty() || !name.bytes().all(is_name) {
        Some(Problem::BadName)
    } else if before.iter().any(|other| other.name == name) {
        Some(Problem::NameTaken)
    } else if !sizes || task.journal_pages > 64 {
        Some(Problem::BadSize)
    } else if objects(task).any(|object| object == Object::Journal) != (task.journal_pages > 0) {
        Some(Problem::JournalMismatch)
    } else {
        None
    }
}

/// Calls must lead to a task that exists, and never back. Only two objects stand for tasks, so
/// a task and its callee can only call each other.
fn problem_of_call(system: &SystemTable, task: &TaskEntry, object: Object) -> Option<Problem> {
    let name = object.task_name()?;
    let Some(callee) = system.tasks.iter().find(|other| other.name == name) else {
        return Some(Problem::NoSuchTask);
    };
    let calls_back = objects(callee).any(|object| object.task_name() == Some(&task.name));
    if name == task.name {
        Some(Problem::CallsItself)
    } else {
        calls_back.then_some(Problem::CallCycle)
    }
}
