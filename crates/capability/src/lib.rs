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
    slots: [Option<Rights>; SLOTS],
}

impl CapabilityTable {
    /// The table that the manifest lists for a task.
    ///
    /// # Errors
    /// The first capability that is listed twice, has no right, or has one that means nothing for
    /// its object.
    pub fn new(task: &TaskEntry) -> Result<Self, ManifestError<'_>> {
        let mut slots = [None; SLOTS];
        for entry in &task.capabilities {
            let problem = if entry.rights.is_empty() {
                Some(Problem::NoRights)
            } else if !meaningful(entry.object).contains(entry.rights) {
                Some(Problem::MeaninglessRight)
            } else {
                let slot = slots.get_mut(entry.object as usize);
                let before = slot.and_then(|slot| slot.replace(entry.rights));
                before.map(|_| Problem::Duplicate)
            };
            if let Some(problem) = problem {
                return Err(ManifestError::new(task, Some(entry.object), problem));
            }
        }
        Ok(Self { slots })
    }

    /// The object behind the capability in `slot`.
    ///
    /// # Errors
    /// [`CallStatus::NoCapability`] when the slot is empty or does not exist,
    /// [`CallStatus::MissingRight`] when the capability lacks one of the rights `needed`.
    pub fn lookup(&self, slot: u64, needed: Rights) -> Result<Object, CallStatus> {
        match self.get(slot)? {
            (object, rights) if rights.contains(needed) => Ok(object),
            _ => Err(CallStatus::MissingRight),
        }
    }

    /// The capability in `slot`: what it names, and all rights on it.
    ///
    /// # Errors
    /// [`CallStatus::NoCapability`] when the slot is empty or does not exist.
    pub fn get(&self, slot: u64) -> Result<(Object, Rights), CallStatus> {
        let mut pairs = Object::ALL.into_iter().zip(self.slots);
        match pairs.find(|(object, _)| object.slot() == slot) {
            Some((object, Some(rights))) => Ok((object, rights)),
            _ => Err(CallStatus::NoCapability),
        }
    }

    /// Whether the task has a capability to `object` with these rights.
    pub fn allows(&self, object: Object, needed: Rights) -> bool {
        self.lookup(object.slot(), needed).is_ok()
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
        Object::MemoryTask | Object::LiveupdateTask => Rights::CALL,
    }
}

#[cfg(test)]
mod tests;
