//! What can be said about updates before the guest is asked.

use alloc::vec::Vec;

use lucos_data_versions::StateByte;
use lucos_guest_interface::call::{DEPENDENCY_ITEMS, NO_ITEM};
use lucos_guest_interface::{ErrorCode, Fault, Part};

use super::data::not_settling;
use super::{Engine, item, value_item};
use crate::journal::{GROUP_MAX, Store};
use crate::patch::value::{VALUES_MAX, Value, ValuePlan, ValueState};
use crate::patch::{
    DEPENDENCIES_MAX, FUNCTIONS_MAX, Function, FunctionPlan, Name, Patch, PatchState, Plan,
    SiteState, Times,
};
use crate::version::{VERSIONS_MAX, Version, VersionPlan};

/// Updates that are to be applied in one step.
pub(super) struct Prepared {
    /// Numbers of the rolled back updates that have to make room.
    pub(super) evicted: Vec<u32>,
    /// The updates, with places in the journal.
    pub(super) patches: Vec<Patch>,
}

const BROKEN: Fault = Part::Liveupdate.fault(NO_ITEM);

impl<S: Store> Engine<S> {
    /// Each update as if those before it were in force.
    pub(super) fn prepare(&self, plans: &[Plan<'_>]) -> Result<Prepared, Fault> {
        let mut prepared = Prepared { evicted: Vec::new(), patches: Vec::new() };
        if plans.is_empty() || plans.len() > GROUP_MAX {
            return Err(BROKEN);
        }
        for (index, plan) in plans.iter().enumerate() {
            self.prepare_one(plan, &mut prepared).map_err(|fault| fault.of_member(item(index)))?;
        }
        Ok(prepared)
    }

    fn prepare_one(&self, plan: &Plan<'_>, prepared: &mut Prepared) -> Result<(), Fault> {
        let standing = Standing { engine: &self.patches, pending: &prepared.patches };
        if let Some(patch) = standing.of_name(plan.name) {
            return Err(Fault::new(ErrorCode::AlreadyApplied, patch.number.into()));
        }
        let mut dependencies = heapless::Vec::<u32, DEPENDENCIES_MAX>::new();
        for (index, name) in plan.dependencies.iter().enumerate() {
            let missing =
                Fault::at(ErrorCode::DependencyMissing, DEPENDENCY_ITEMS + item(index), 0);
            let patch = standing.of_name(name).ok_or(missing)?;
            not_settling(patch)?;
            dependencies.push(patch.number).map_err(|_| missing)?;
        }
        let (functions, values) = (plan.functions, plan.values);
        if functions.len() > FUNCTIONS_MAX || values.len() > VALUES_MAX {
            return Err(BROKEN);
        }
        let functions = standing.functions(functions)?;
        let values = standing.values(values, &functions, self.head.registration.text)?;
        let mut of_this_name = self.patches.iter().filter(|patch| patch.name == plan.name);
        of_this_name.try_for_each(not_settling)?;
        if plan.versions.len() > VERSIONS_MAX || !plan.versions.iter().all(VersionPlan::is_sound) {
            return Err(BROKEN);
        }
        let version = |(slot, plan): (usize, &VersionPlan)| Version {
            slot,
            plan: plan.clone(),
            byte: StateByte::Old,
        };
        let versions = plan.versions.iter().enumerate().map(version).collect();
        let earlier = prepared.patches.last().map_or(self.head.last_number, |patch| patch.number);
        let number = earlier.checked_add(1);
        let mut patch = Patch {
            slot: 0,
            number: number.ok_or(Fault::new(ErrorCode::JournalFull, 0))?,
            name: Name::try_from(plan.name).map_err(|_| BROKEN)?,
            dependencies,
            state: PatchState::Free,
            functions,
            versions,
            values,
            times: Times::default(),
        };
        self.place(&mut patch, prepared)?;
        prepared.patches.push(patch);
        Ok(())
    }

    /// Gives the patch its places in the journal. Rolled back patches have to go for it: those of the
    /// same name, and of the others the oldest, as many as it takes.
    fn place(&self, patch: &mut Patch, prepared: &mut Prepared) -> Result<(), Fault> {
        let Prepared { evicted, patches } = prepared;
        let rolled_back =
            |other: &&Patch| other.state == PatchState::RolledBack && !other.is_settling();
        let old = self.patches.iter().filter(rolled_back);
        let same_name = old.clone().filter(|other| other.name == patch.name);
        evicted.extend(same_name.map(|other| other.number));
        loop {
            let is_kept = |other: &&Patch| !evicted.contains(&other.number);
            let kept = self.patches.iter().filter(is_kept).chain(patches.iter());
            let slot = self.journal.free_slot(kept.clone());
            let first = self.journal.room_for_functions(kept.clone(), patch.functions.len());
            let version = self.journal.room_for_versions(kept.clone(), patch.versions.len());
            let value = self.journal.room_for_values(kept, patch.values.len());
            if let (Some(slot), Some(first), Some(version), Some(value)) =
                (slot, first, version, value)
            {
                patch.slot = slot;
                for (index, one) in patch.versions.iter_mut().enumerate() {
                    one.slot = version + index;
                }
                for (index, function) in patch.functions.iter_mut().enumerate() {
                    function.slot = first + index;
                }
                for (index, one) in patch.values.iter_mut().enumerate() {
                    one.slot = value + index;
                }
                return Ok(());
            }
            let oldest = old
                .clone()
                .filter(is_kept)
                .min_by_key(|other| other.times.sequence)
                .ok_or(Fault::new(ErrorCode::JournalFull, 0))?;
            evicted.push(oldest.number);
        }
    }
}

/// What is in force when an update comes: the engine's patches, and those of the same step before
/// it.
struct Standing<'a> {
    engine: &'a [Patch],
    pending: &'a [Patch],
}

impl<'a> Standing<'a> {
    /// The newest first: it stands on the others.
    fn newest_first(&self) -> impl Iterator<Item = &'a Patch> + Clone {
        let in_memory = self.engine.iter().filter(|patch| patch.is_in_memory());
        self.pending.iter().rev().chain(in_memory.rev())
    }

    fn of_name(&self, name: &str) -> Option<&'a Patch> {
        self.newest_first().find(|patch| patch.name == name)
    }

    fn functions(&self, plans: &[FunctionPlan]) -> Result<Vec<Function>, Fault> {
        let mut functions = Vec::with_capacity(plans.len());
        for (index, plan) in plans.iter().enumerate() {
            if !plan.is_sound() {
                return Err(BROKEN);
            }
            let below = self
                .below(plan)
                .map_err(|owner| Fault::at(ErrorCode::SiteOwned, item(index), owner.into()))?;
            let plan = FunctionPlan { below, ..plan.clone() };
            functions.push(Function { slot: index, plan, state: SiteState::Original });
        }
        Ok(functions)
    }

    /// The patch on which `function` would stand, 0 for none; the number of a patch that changes the
    /// same code in another way as an error.
    fn below(&self, function: &FunctionPlan) -> Result<u32, u32> {
        let at_site = |other: &Function| other.plan.site == function.site;
        let mut patches = self.newest_first();
        if let Some(patch) = patches.find(|patch| patch.functions.iter().any(at_site)) {
            return Ok(patch.number);
        }
        let (start, end) = (function.old_start, function.old_end());
        let is_in_the_way = |patch: &&Patch| {
            let overlaps = |from: u64, to: u64, end: u64| start < to && from < end;
            let mut functions = patch.functions.iter().map(|other| &other.plan);
            let mut values = patch.values.iter().map(|value| &value.plan);
            functions.any(|other| overlaps(other.old_start, other.old_end(), end))
                || values.any(|value| overlaps(value.address, value.end(), function.code_end()))
        };
        self.newest_first().find(is_in_the_way).map_or(Ok(0), |patch| Err(patch.number))
    }

    fn values(
        &self,
        plans: &[ValuePlan],
        functions: &[Function],
        text: (u64, u64),
    ) -> Result<Vec<Value>, Fault> {
        let mut values = Vec::with_capacity(plans.len());
        for (index, plan) in plans.iter().enumerate() {
            if !plan.is_sound() {
                return Err(BROKEN);
            }
            let at = |(code, detail)| Fault::at(code, value_item(index), detail);
            let overlaps = |start: u64, end: u64| plan.address < end && start < plan.end();
            let replaced = self.newest_first().flat_map(|patch| &patch.functions).chain(functions);
            let mut replaced = replaced.map(|function| &function.plan);
            if overlaps(text.0, text.1)
                || replaced.any(|function| overlaps(function.old_start, function.code_end()))
            {
                return Err(at((ErrorCode::ValueInText, plan.address)));
            }
            let plan = self.stack(plan).map_err(at)?;
            values.push(Value { slot: index, plan, state: ValueState::Untouched });
        }
        Ok(values)
    }

    /// The plan for a value with what will be there. Exactly the same bits of another patch are stood
    /// upon, as its functions would be: made for the kernel's own value, or for that patch's.
    fn stack(&self, plan: &ValuePlan) -> Result<ValuePlan, (ErrorCode, u64)> {
        let mut top: Option<(u32, &ValuePlan)> = None;
        let mut is_kernels = false;
        for patch in self.newest_first() {
            let ours = patch.values.iter().filter(|value| value.state != ValueState::LeftAlone);
            for other in ours.map(|value| &value.plan).filter(|other| other.shares_bits_with(plan))
            {
                if !other.is_place_of(plan) {
                    return Err((ErrorCode::SiteOwned, patch.number.into()));
                }
                top.get_or_insert((patch.number, other));
                is_kernels |= other.old == plan.old;
            }
        }
        let alone = ValuePlan { below: 0, ..plan.clone() };
        match top {
            None => Ok(alone),
            Some((below, top)) if is_kernels || top.new == plan.old => {
                Ok(ValuePlan { old: top.new.clone(), below, ..alone })
            }
            // Something else than its old value is there.
            Some(_) if plan.if_default => Ok(alone),
            Some(_) => Err((ErrorCode::ValueChanged, plan.address)),
        }
    }
}
