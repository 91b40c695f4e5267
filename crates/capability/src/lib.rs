//! Capability tables: which objects a task may use, and with which rights.
//!
//! Tables are made once, from the system table, and never change: nothing is granted or taken away
//! while the system runs.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use lucos_abi::call::CallStatus;
use lucos_abi::manifest::{Object, Rights, SLOTS, TaskEntry};

/// The capabilities of one task. The slot of a capability follows from its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityTable {
    slots: [Option<Rights>; SLOTS.len()],
}

impl CapabilityTable {
    /// The table that the system table, which was checked, lists for a task.
    pub fn new(task: &TaskEntry) -> Self {
        let rights = |object: Object| {
            let listed = task.capabilities.iter().find(|entry| entry.object == object);
            listed.map(|entry| entry.rights)
        };
        Self { slots: SLOTS.map(rights) }
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

#[cfg(test)]
mod tests;
