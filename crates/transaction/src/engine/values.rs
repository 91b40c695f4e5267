//! Values in the guest's memory.

use alloc::vec::Vec;

use lucos_guest_interface::{ErrorCode, Fault};

use super::{Engine, value_item, write_one};
use crate::journal::Store;
use crate::patch::value::{Bytes, Value, ValuePlan, ValueState};
use crate::patch::{Patch, PatchState};
use crate::subject::{Place, PlaceError, Subject};

/// Which of the two values of each plan.
pub(super) type Side = fn(&ValuePlan) -> &Bytes;

pub(super) const OLD: Side = |plan| &plan.old;
pub(super) const NEW: Side = |plan| &plan.new;

impl<S: Store> Engine<S> {
    /// The patch whose value replaces that of patch `number` at the same bits, if there is one.
    pub fn value_covered_by(&self, number: u32, plan: &ValuePlan) -> Option<u32> {
        let stands_on = |value: &Value| {
            value.plan.below == number && value.plan.is_place_of(plan) && value.is_ours()
        };
        self.patches
            .iter()
            .filter(|patch| patch.is_in_memory())
            .find(|patch| patch.values.iter().any(stands_on))
            .map(|patch| patch.number)
    }

    /// Decides what becomes of each value of a patch that is being applied, and notes it. In a stop.
    pub(super) fn judge_values<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
    ) -> Result<(), Fault> {
        let Some(patch) = self.patches.get_mut(position) else {
            return Ok(());
        };
        for (index, value) in patch.values.iter_mut().enumerate() {
            let state = match holds(subject, &value.plan, index, OLD)? {
                true => ValueState::Written,
                false if value.plan.if_default => ValueState::LeftAlone,
                false => return Err(changed(&value.plan, index)),
            };
            self.journal.set_value(value.slot, state)?;
            value.state = state;
        }
        Ok(())
    }

    /// Decides which values of patches that are being rolled back, in this order, are still theirs,
    /// and notes it. In a stop.
    pub(super) fn judge_leaving_values<M: Subject>(
        &mut self,
        subject: &mut M,
        positions: &[usize],
    ) -> Result<(), Fault> {
        // What stood on a value of a patch that comes later, and whether it was still there.
        let mut uncovered: Vec<(u32, ValuePlan, ValueState)> = Vec::new();
        for &position in positions {
            let Some(patch) = self.patches.get_mut(position) else {
                continue;
            };
            for (index, value) in patch.values.iter_mut().enumerate().filter(|(_, v)| v.is_ours()) {
                let top = uncovered.iter().find(|(below, plan, _)| {
                    *below == patch.number && plan.is_place_of(&value.plan)
                });
                let state = match top {
                    // It gets back what it wrote, or what somebody else wrote stays.
                    Some((.., state)) => *state,
                    None if holds(subject, &value.plan, index, NEW)? => ValueState::Written,
                    None => ValueState::Overwritten,
                };
                if state != value.state {
                    self.journal.set_value(value.slot, state)?;
                    value.state = state;
                }
                uncovered.push((value.plan.below, value.plan.clone(), state));
            }
        }
        Ok(())
    }
}

/// Looks at the values of patches that are to be applied, before the guest is stopped.
pub(super) fn look_at<M: Subject>(subject: &mut M, patches: &[Patch]) -> Result<(), Fault> {
    for (member, patch) in patches.iter().enumerate() {
        let values = patch.values.iter().enumerate();
        for (index, Value { plan, .. }) in values.filter(|(_, value)| !value.plan.if_default) {
            // What comes with the same step is not there yet.
            let is_pending = patches.iter().any(|other| other.number == plan.below);
            if !is_pending && !holds(subject, plan, index, OLD)? {
                return Err(changed(plan, index).of_member(super::item(member)));
            }
        }
    }
    Ok(())
}

/// Writes one side of all values of a patch that are its own. In a stop.
pub(super) fn write<M: Subject>(subject: &mut M, patch: &Patch, side: Side) -> Result<(), Fault> {
    let values = patch.values.iter().enumerate();
    let written: Vec<(usize, &ValuePlan)> = values
        .filter(|(_, value)| value.state == ValueState::Written)
        .map(|(index, value)| (index, &value.plan))
        .collect();
    let mut bytes = Vec::with_capacity(written.len());
    for (index, plan) in &written {
        let now = read(subject, plan, *index)?;
        bytes.push(plan.over(&now, side(plan)));
    }
    let pairs = written.iter().zip(&bytes);
    let places: Vec<Place<'_>> =
        pairs.map(|((_, plan), bytes)| Place { address: plan.address, bytes }).collect();
    if places.is_empty() {
        return Ok(());
    }
    subject.write(&places).map_err(|PlaceError { place, error }| {
        let index = written.get(place).map_or(place, |(index, _)| *index);
        error.fault(value_item(index))
    })
}

/// Puts the old value back where the new one, or some bytes of it, may be. What somebody else wrote
/// stays.
pub(super) fn restore<M: Subject>(
    subject: &mut M,
    value: &Value,
    index: usize,
) -> Result<(), Fault> {
    if value.state != ValueState::Written {
        return Ok(());
    }
    let plan = &value.plan;
    let now = read(subject, plan, index)?;
    if plan.holds(&now, &plan.old) || !plan.is_between(&now) {
        return Ok(());
    }
    write_one(subject, plan.address, &plan.over(&now, &plan.old))
}

/// Values of a patch that stayed as somebody else had changed them when it was rolled back.
pub fn left_over(patch: &Patch) -> impl Iterator<Item = &Value> {
    let values = patch.values.iter().filter(|_| patch.state == PatchState::RolledBack);
    values.filter(|value| value.state == ValueState::Overwritten)
}

fn holds<M: Subject>(
    subject: &mut M,
    plan: &ValuePlan,
    index: usize,
    side: Side,
) -> Result<bool, Fault> {
    let now = read(subject, plan, index)?;
    Ok(plan.holds(&now, side(plan)))
}

fn read<M: Subject>(subject: &mut M, plan: &ValuePlan, index: usize) -> Result<Bytes, Fault> {
    let mut now: Bytes = core::iter::repeat_n(0, plan.mask.len()).collect();
    subject.read(plan.address, &mut now).map_err(|error| error.fault(value_item(index)))?;
    Ok(now)
}

fn changed(plan: &ValuePlan, index: usize) -> Fault {
    Fault::at(ErrorCode::ValueChanged, value_item(index), plan.address)
}
