//! Checks of the whole system table.

use lucos_abi::layout;
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
    /// The task's calls may lead back to it.
    CallCycle,
    /// The image is larger than its area, or its entry point is not in its code.
    BadImage,
}

impl<'a> ManifestError<'a> {
    pub(crate) fn new(task: &'a TaskEntry, entry: Option<Object>, problem: Problem) -> Self {
        Self { task: &task.name, entry, problem }
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
    check_calls(system)
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
        let [_, code, data, end] = task.image.borders();
        let sound = (code..data).contains(&task.image.entry) && end <= layout::IMAGE_END;
        (!sound).then_some(Problem::BadImage)
    }
}

/// Calls must lead to a task that exists, and never back, over however many others.
fn check_calls(system: &SystemTable) -> Result<(), ManifestError<'_>> {
    let mut reached = [0_u8; MAX_TASKS];
    for (task, reached) in system.tasks.iter().zip(&mut reached) {
        for object in objects(task) {
            let Object::Task(callee) = object else { continue };
            if usize::from(callee) >= system.tasks.len() {
                return Err(ManifestError::new(task, Some(object), Problem::NoSuchTask));
            }
            *reached |= 1 << callee;
        }
    }
    // Warshall: after the step for `via`, everything is in that can be reached by the tasks up to it.
    for via in 0..MAX_TASKS {
        let further = reached.get(via).copied().unwrap_or(0);
        for reached in &mut reached {
            if *reached & 1 << via != 0 {
                *reached |= further;
            }
        }
    }
    let mut tasks = system.tasks.iter().zip(reached).zip(0_u8..);
    match tasks.find(|((_, reached), index)| reached & 1 << index != 0) {
        Some(((task, _), _)) => Err(ManifestError::new(task, None, Problem::CallCycle)),
        None => Ok(()),
    }
}
