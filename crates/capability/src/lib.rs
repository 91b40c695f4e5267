//! Capability tables: which objects a task may use, and with which rights.
//!
//! Tables are made once, from the system table, and never change: nothing is granted or taken away
//! while the system runs.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod check;

pub use check::{ManifestError, Problem, check_system};

use lucos_abi::call::CallStatus;
use lucos_abi::manifest::{Object, Rights, SLOTS, TaskEntry};

/// The capabilities of one task. The slot of a capability follows from its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityTable {
    slots: [Option<Rights>; SLOTS.len()],
}

impl CapabilityTable {
    /// The table that the manifest lists for a task.
    ///
    /// # Errors
    /// The first capability that is listed twice, has no right, or has one that means nothing for
    /// its object.
    pub fn new(task: &TaskEntry) -> Result<Self, ManifestError<'_>> {
        let mut slots = [None; SLOTS.len()];
        for entry in &task.capabilities {
            let problem = if entry.rights.is_empty() {
                Some(Problem::NoRights)
            } else if !meaningful(entry.object).contains(entry.rights) {
                Some(Problem::MeaninglessRight)
            } else {
                let slot = slots.get_mut(entry.object.slot() as usize);
                match slot {
                    None => Some(Problem::NoSuchTask),
                    Some(slot) => slot.replace(entry.rights).map(|_| Problem::Duplicate),
                }
            };
            if let Some(problem) = problem {
                return Err(ManifestError::new(task, Some(entry.object), problem));
            }
        }
        Ok(Self { slots })
    }

    /// The capability in `slot`: what it names, and all rights on it.
    ///
    /// # Errors
    /// [`CallStatus::NoCapability`] when the slot is empty or does not exist.
    pub fn get(&self, slot: u64) -> Result<(Object, Rights), CallStatus> {
        let slot = usize::try_from(slot).map_err(|_| CallStatus::NoCapability)?;
        match (SLOTS.get(slot), self.slots.get(slot)) {
            (Some(object), Some(Some(rights))) => Ok((*object, *rights)),
            _ => Err(CallStatus::NoCapability),
        }
    }
}

/// The rights that some request of the object needs.
const fn meaningful(object: Object) -> Rights {
    match object {
        Object::Log | Object::GuestMemory | Object::Journal => Rights::READ.union(Rights::WRITE),
        Object::Vcpu => Rights::RUN.union(Rights::WRITE),
        Object::Machine => {
            Rights::READ.union(Rights::STOP).union(Rights::START).union(Rights::RESET)
        }
        Object::GuestSpace => Rights::WRITE,
        Object::Task(_) => Rights::CALL,
    }
}

#[cfg(test)]
mod tests;
