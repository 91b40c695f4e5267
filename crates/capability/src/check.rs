//! Checks of the whole system table.

use core::fmt;

use lucos_abi::manifest::{MAX_TASKS, Object, SystemTable, TaskEntry};

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
    /// The task is in a circle of tasks that may call each other.
    CallCycle,
}

impl<'a> ManifestError<'a> {
    pub(crate) fn new(task: &'a TaskEntry, entry: Option<Object>, problem: Problem) -> Self {
        Self {
            task: &task.name,
            entry,
            problem,
        }
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
    let tasks = &system.tasks;
    if tasks.is_empty() {
        return Err(ManifestError {
            task: "",
            entry: None,
            problem: Problem::NoTasks,
        });
    }
    for (position, task) in tasks.iter().enumerate() {
        let fail = |problem| Err(ManifestError::new(task, None, problem));
        if task.name.is_empty()
            || !task
                .name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'-'))
        {
            return fail(Problem::BadName);
        }
        if tasks
            .iter()
            .take(position)
            .any(|other| other.name == task.name)
        {
            return fail(Problem::NameTaken);
        }
        let sizes = matches!(task.stack_pages, 1..=64) && task.heap_pages <= 1024;
        if !sizes || task.journal_pages > 64 {
            return fail(Problem::BadSize);
        }
        CapabilityTable::new(task)?;
        if task
            .capabilities
            .iter()
            .any(|entry| entry.object == Object::Journal)
            != (task.journal_pages > 0)
        {
            return fail(Problem::JournalMismatch);
        }
    }
    for task in tasks {
        check_callees(system, task)?;
    }
    check_cycles(system)
}

fn check_callees<'a>(
    system: &'a SystemTable,
    task: &'a TaskEntry,
) -> Result<(), ManifestError<'a>> {
    for entry in &task.capabilities {
        let Some(name) = entry.object.task_name() else {
            continue;
        };
        let problem = if name == task.name {
            Problem::CallsItself
        } else if !system.tasks.iter().any(|other| other.name == name) {
            Problem::NoSuchTask
        } else {
            continue;
        };
        return Err(ManifestError::new(task, Some(entry.object), problem));
    }
    Ok(())
}

/// Takes away tasks that call none of the others; what cannot be taken away is in a circle, or
/// calls one that is.
fn check_cycles(system: &SystemTable) -> Result<(), ManifestError<'_>> {
    let mut left = [true; MAX_TASKS];
    for _ in 0..MAX_TASKS {
        for (position, task) in system.tasks.iter().enumerate() {
            let calls_one_left = callee_left(system, task, left).is_some();
            if let Some(left) = left.get_mut(position) {
                *left = calls_one_left;
            }
        }
    }
    for task in &system.tasks {
        if let Some(object) = callee_left(system, task, left) {
            return Err(ManifestError::new(task, Some(object), Problem::CallCycle));
        }
    }
    Ok(())
}

fn callee_left(system: &SystemTable, task: &TaskEntry, left: [bool; MAX_TASKS]) -> Option<Object> {
    let objects = task.capabilities.iter().map(|entry| entry.object);
    objects.into_iter().find(|object| {
        let mut others = system.tasks.iter().zip(left);
        others.any(|(other, left)| left && Some(other.name.as_str()) == object.task_name())
    })
}
