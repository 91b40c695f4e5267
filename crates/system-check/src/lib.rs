//! What a system table must keep to before any of its tasks runs. The boot stub and the image
//! builder check it; the kernel goes by a table that was checked.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use core::fmt;
use lucos_abi::layout;
use lucos_abi::manifest::{
    CapabilityEntry, MAX_TASKS, Object, Rights, SLOTS, SystemTable, TaskEntry,
};

/// What is wrong with a system table, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Place of the task in the table; `None` when the table itself is at fault.
    pub task: Option<usize>,
    /// The capability at fault, if it is one.
    pub entry: Option<Object>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.problem)?;
        if let Some(task) = self.task {
            write!(formatter, " in its task {task}")?;
        }
        match self.entry {
            Some(object) => write!(formatter, ", capability {object:?}"),
            None => Ok(()),
        }
    }
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

/// Checks everything that a system table promises.
///
/// # Errors
/// The first problem found.
pub fn check_system(system: &SystemTable) -> Result<(), ManifestError> {
    if system.tasks.is_empty() {
        return Err(ManifestError { task: None, entry: None, problem: Problem::NoTasks });
    }
    for (position, task) in system.tasks.iter().enumerate() {
        let task_error = |entry, problem| ManifestError { task: Some(position), entry, problem };
        if let Some(problem) = problem_of(task, system.tasks.get(..position).unwrap_or_default()) {
            return Err(task_error(None, problem));
        }
        for (index, entry) in task.capabilities.iter().enumerate() {
            let before = task.capabilities.get(..index).unwrap_or_default();
            if let Some(problem) = capability_problem(entry, before) {
                return Err(task_error(Some(entry.object), problem));
            }
        }
    }
    check_calls(system)
}

fn capability_problem(entry: &CapabilityEntry, before: &[CapabilityEntry]) -> Option<Problem> {
    if entry.rights.is_empty() {
        Some(Problem::NoRights)
    } else if !meaningful(entry.object).contains(entry.rights) {
        Some(Problem::MeaninglessRight)
    } else if !SLOTS.contains(&entry.object) {
        Some(Problem::NoSuchTask)
    } else {
        let twice = before.iter().any(|other| other.object == entry.object);
        twice.then_some(Problem::Duplicate)
    }
}

/// The rights that some request of the object needs.
const fn meaningful(object: Object) -> Rights {
    match object {
        Object::Log | Object::GuestMemory | Object::Journal => Rights::READ.union(Rights::WRITE),
        Object::Vcpu => Rights::RUN.union(Rights::WRITE).union(Rights::CONFINE),
        Object::Machine => {
            Rights::READ.union(Rights::STOP).union(Rights::START).union(Rights::RESET)
        }
        Object::GuestSpace => Rights::WRITE,
        Object::Task(_) => Rights::CALL,
    }
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
fn check_calls(system: &SystemTable) -> Result<(), ManifestError> {
    let mut reached = [0_u8; MAX_TASKS];
    for ((position, task), reached) in system.tasks.iter().enumerate().zip(&mut reached) {
        for object in objects(task) {
            let Object::Task(callee) = object else { continue };
            if usize::from(callee) >= system.tasks.len() {
                let (task, entry) = (Some(position), Some(object));
                return Err(ManifestError { task, entry, problem: Problem::NoSuchTask });
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
    match reached.iter().zip(0_u8..).position(|(reached, index)| reached & 1 << index != 0) {
        Some(task) => {
            Err(ManifestError { task: Some(task), entry: None, problem: Problem::CallCycle })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
