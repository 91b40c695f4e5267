//! APPLY, JUMP, ROLLBACK, DRAINED and MEASURE_STOP.

use alloc::vec::Vec;

use lucos_data_versions::VersionState;
use lucos_data_versions::state::Code;
use lucos_guest_interface::call::{
    ALL_FUNCTIONS, DATA_ITEMS, DRAINED_NEW, DRAINED_OLD, MAX_GROUP_LENGTH, MAX_MEASURED_STOPS,
    NO_ITEM, RESULT_CLEAR, ROLLBACK_CHECK_ONLY, ROLLBACK_CLEAR_ONLY, ROLLBACK_FLAGS, VALUE_ITEMS,
};
use lucos_guest_interface::descriptor::{Descriptor, FLAG_HOOKS, Value};
use lucos_guest_interface::group::{self, GroupHeader, MAX_GROUP};
use lucos_guest_interface::rollback::{MAX_ROLLBACK_LENGTH, RollbackHeader, RollbackRecord};
use lucos_guest_interface::{ErrorCode, Fault, Part};
use lucos_service::{LogBudget, QUARTER_HOUR};
use lucos_transaction::engine::{Rollback, Way, Which, left_over};
use lucos_transaction::patch::Name;
use lucos_transaction::version::Lists;
use lucos_transaction::{Engine, FunctionPlan, PatchState, Plan, Store, ValuePlan, VersionPlan};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::buffer::copy_in;
use crate::check::Checker;
use crate::guest::Guest;
use crate::platform::Platform;
use crate::torn;
use crate::versions::{self, is_clear_only, lists_of};

/// Lines about updates. The tests of this crate share them.
pub(crate) static UPDATES: LogBudget =
    LogBudget::new(if cfg!(test) { 1 << 20 } else { 128 }, QUARTER_HOUR);

/// What one descriptor asks for, checked.
struct Checked<'a> {
    name: &'a str,
    dependencies: Vec<&'a str>,
    functions: Vec<FunctionPlan>,
    values: Vec<ValuePlan>,
    versions: Vec<VersionPlan>,
    clear_only: bool,
}

impl Checked<'_> {
    fn plan(&self) -> Plan<'_> {
        Plan {
            name: self.name,
            dependencies: &self.dependencies,
            functions: &self.functions,
            values: &self.values,
            versions: &self.versions,
            clear_only: self.clear_only,
        }
    }
}

/// Checks an update, or several in one step, and puts it in force.
///
/// # Errors
/// Those of the parsers of groups and descriptors, of [`crate::check`], of [`Guest::prepare`] and of
/// [`Engine::apply`]; also `NotRegistered`, `Nonce`, `Length`, `Address`, `BuildId`, and
/// `FlagCombination` for a group with different flags. The guest's memory is then as it was.
pub fn apply<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, address, length, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    if length < GroupHeader::SIZE as u64 || length > MAX_GROUP_LENGTH as u64 {
        return Err(Fault::new(ErrorCode::Length, length));
    }
    let space = guest.space();
    let bytes = copy_in(guest.platform(), space, address, length as usize)?;
    let descriptors = parse(engine, &group::split(&bytes)?)?;
    // What is left half done stands in the way of every check.
    guest.recover(engine)?;
    let checked = check(engine, guest, &descriptors)?;
    let plans: Vec<Plan<'_>> = checked.iter().map(Checked::plan).collect();
    // Of several patches in one step all are clear, or none is.
    let clear = plans.iter().any(|plan| plan.clear_only);
    if descriptors.iter().any(Descriptor::is_check_only) {
        engine.check(guest, &plans)?;
        return Ok(Answer::rbx(0));
    }
    let mut ready = Ok(());
    let repeats = engine.is_repetition(&plans);
    for (member, plan) in (0..).zip(&plans).filter(|_| !repeats) {
        let prepared = |guest: &mut Guest<'_, P>| guest.prepare(plan.versions, clear);
        ready = ready.and_then(|()| prepared(guest).map_err(|fault| fault.of_member(member)));
    }
    let applied = ready.and_then(|()| engine.apply(guest, &plans));
    guest.put_away(engine, &applied);
    let first = applied?;
    for (number, plan) in (first..).zip(&plans) {
        guest.report(&UPDATES, format_args!("patch {number} ({}) is in force", plan.name));
    }
    let result = if clear { RESULT_CLEAR } else { 0 };
    Ok(Answer { rax: 0, results: [Some(first.into()), Some(result), None] })
}

/// The descriptors of a group, each for this kernel.
fn parse<'a, S: Store>(
    engine: &Engine<S>,
    members: &[&'a [u8]],
) -> Result<heapless::Vec<Descriptor<'a>, MAX_GROUP>, Fault> {
    let mut descriptors = heapless::Vec::<Descriptor<'_>, MAX_GROUP>::new();
    for (index, member) in members.iter().enumerate() {
        let of_member = |fault: Fault| fault.of_member(index as u32);
        let descriptor = Descriptor::parse(member).map_err(of_member)?;
        check_kernel(engine, &descriptor).map_err(of_member)?;
        let flags = descriptor.header().flags & !FLAG_HOOKS;
        if descriptors.first().is_some_and(|first| first.header().flags & !FLAG_HOOKS != flags) {
            let fault = Fault::new(ErrorCode::FlagCombination, flags.into());
            return Err(of_member(fault));
        }
        descriptors.push(descriptor).map_err(|_| Part::Liveupdate.fault(NO_ITEM))?;
    }
    Ok(descriptors)
}

/// Whether the update is for this kernel.
fn check_kernel<S: Store>(engine: &Engine<S>, descriptor: &Descriptor<'_>) -> Result<(), Fault> {
    let build_id = descriptor.build_id();
    if !build_id.is_empty() && build_id != engine.head().registration.build_id.as_slice() {
        return Err(Fault::new(ErrorCode::BuildId, 0));
    }
    Ok(())
}

/// Checks all functions of a group, each as if the descriptors before its own were in force.
fn check<'a, S: Store, P: Platform>(
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    descriptors: &'a [Descriptor<'a>],
) -> Result<Vec<Checked<'a>>, Fault> {
    let mut checker = Checker::new()?;
    let mut checked: Vec<Checked<'a>> = Vec::with_capacity(descriptors.len());
    for (member, descriptor) in descriptors.iter().enumerate() {
        let pending: Vec<&FunctionPlan> = checked.iter().flat_map(|one| &one.functions).collect();
        let mut functions = Vec::new();
        for (index, function) in descriptor.functions().enumerate() {
            let plan =
                checker.check(engine, guest, &pending, &function).map_err(|(code, detail)| {
                    Fault::at(code, index as u32, detail).of_member(member as u32)
                })?;
            functions.push(plan);
        }
        let mut values = Vec::new();
        for (index, value) in descriptor.values().enumerate() {
            let broken = Part::Liveupdate.fault(VALUE_ITEMS + index as u32);
            values.push(value_plan(&value).ok_or(broken.of_member(member as u32))?);
        }
        let mut versions = Vec::new();
        for (item, version) in (DATA_ITEMS..).zip(descriptor.data_versions()) {
            let plan = versions::plan(descriptor, &version, item);
            versions.push(plan.map_err(|fault| fault.of_member(member as u32))?);
        }
        let clear_only = descriptor.is_clear_only() || versions.iter().any(is_clear_only);
        checked.push(Checked {
            name: descriptor.name(),
            dependencies: descriptor.dependencies().collect(),
            functions,
            values,
            versions,
            clear_only,
        });
    }
    Ok(checked)
}

fn value_plan(value: &Value) -> Option<ValuePlan> {
    Some(ValuePlan {
        name: Name::try_from(value.name()).ok()?,
        address: value.address(),
        old: value.old().try_into().ok()?,
        new: value.new_bytes().try_into().ok()?,
        mask: value.mask().try_into().ok()?,
        if_default: value.is_if_default(),
        below: 0,
    })
}

/// Turns traps into jumps.
///
/// # Errors
/// Those of [`Engine::jump`]; also `NotRegistered`, `Nonce`, `Argument`.
pub fn jump<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, number, index, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let number = narrow(number)?;
    let which = match narrow(index)? {
        ALL_FUNCTIONS => Which::All,
        index => Which::One(index),
    };
    let jumping = engine.jump(guest, number, which)?;
    Ok(Answer::rbx(jumping.into()))
}

/// Takes an update back, or several in one step.
///
/// # Errors
/// Those of [`RollbackRecord::parse`], of [`Guest::prepare`] and of [`Engine::rollback`]; also
/// `NotRegistered`, `Nonce`, `Argument`, `Length`, `Address`, `UnknownFlag`, `RollbackRecord` for a
/// record with another number of data versions than the patch has, and `DataStage`.
pub fn rollback<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, number, flags_and_length, record]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let number = narrow(number)?;
    // The lower and the upper half.
    let (flags, length) = (flags_and_length as u32, flags_and_length >> 32);
    if flags & !ROLLBACK_FLAGS != 0 {
        return Err(Fault::new(ErrorCode::UnknownFlag, flags.into()));
    }
    let (numbers, lists) = match (record, length) {
        (0, 0) => (heapless::Vec::from_array([number]), Vec::new()),
        (0, _) => return Err(Fault::new(ErrorCode::Argument, length)),
        _ => leaving(guest, number, record, length)?,
    };
    guest.recover(engine)?;
    if flags & ROLLBACK_CHECK_ONLY != 0 {
        engine.check_rollback(&numbers)?;
        return Ok(Answer::default());
    }
    let plans = moving(engine, &numbers, &lists)?;
    let clear = flags & ROLLBACK_CLEAR_ONLY != 0 || plans.iter().any(is_clear_only);
    let way = if clear { Way::Clear } else { Way::Guarded };
    // Lists come with a single patch only.
    let rollback = |&number: &u32| Rollback { number, way, lists: &lists };
    let rollbacks: Vec<Rollback<'_>> = numbers.iter().map(rollback).collect();
    let ready = guest.prepare(&plans, clear);
    let done = ready.and_then(|()| engine.rollback(guest, &rollbacks));
    guest.put_away(engine, &done);
    let left = done?;
    for &number in &numbers {
        guest.report(&UPDATES, format_args!("patch {number} is rolled back"));
        let mut patches = engine.patches().iter();
        let patch = patches.find(|patch| patch.number == number);
        for value in patch.into_iter().flat_map(left_over) {
            let (name, address) = (&value.plan.name, value.plan.address);
            guest.report(
                &UPDATES,
                format_args!("{name} at {address:#x} stays: it is not what patch {number} wrote"),
            );
        }
    }
    let result = if clear { RESULT_CLEAR } else { 0 };
    Ok(Answer { rax: 0, results: [None, Some(result), Some(left as u64)] })
}

/// What the data of patches that go is, with the lists of a rollback: of versions of which the twins
/// alone live, the others stay where they are.
fn moving<S: Store>(
    engine: &Engine<S>,
    numbers: &[u32],
    lists: &[Lists],
) -> Result<Vec<VersionPlan>, Fault> {
    const DATA_COUNT: u64 = 12;
    let going = engine.patches().iter().filter(|patch| numbers.contains(&patch.number));
    let versions: Vec<_> = going
        .filter(|patch| patch.state == PatchState::Applied)
        .flat_map(|patch| patch.versions.iter().map(|version| (version, patch.state)))
        .collect();
    // A patch that is rolled back already may be so since a call whose answer was lost.
    if versions.len() != lists.len() && !lists.is_empty() && !versions.is_empty() {
        return Err(Fault::new(ErrorCode::RollbackRecord, DATA_COUNT));
    }
    let mut plans = Vec::new();
    for (item, ((version, state), &lists)) in (DATA_ITEMS..).zip(versions.into_iter().zip(lists)) {
        let is_moved = version.state(state) == VersionState::New && lists.pairs > 0;
        let plan = VersionPlan {
            lists: if is_moved { lists } else { Lists::default() },
            kind: version.plan.kind.clone(),
        };
        if is_moved && lists.stage_step / 2 < plan.kind.object_size {
            return Err(Fault::at(ErrorCode::DataStage, item, lists.stage_step.into()));
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// The patches that a rollback record names, and the lists of their data.
fn leaving<P: Platform>(
    guest: &mut Guest<'_, P>,
    number: u32,
    address: u64,
    length: u64,
) -> Result<(heapless::Vec<u32, MAX_GROUP>, Vec<Lists>), Fault> {
    if length < RollbackHeader::SIZE as u64 || length > MAX_ROLLBACK_LENGTH as u64 {
        return Err(Fault::new(ErrorCode::Length, length));
    }
    let space = guest.space();
    let bytes = copy_in(guest.platform(), space, address, length as usize)?;
    let record = RollbackRecord::parse(&bytes, number)?;
    let lists = record.versions().map(|version| lists_of(&version)).collect();
    let patches = record.patches().try_into().map_err(|_| Part::Liveupdate.fault(NO_ITEM))?;
    Ok((patches, lists))
}

/// Takes note that nobody is inside old or new code any more.
///
/// # Errors
/// Those of [`Engine::drained`]; also `NotRegistered`, `Nonce`, `Argument`.
pub fn drained<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, number, code, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let number = narrow(number)?;
    let code = match code {
        DRAINED_OLD => Code::Old,
        DRAINED_NEW => Code::New,
        _ => return Err(Fault::new(ErrorCode::Argument, code)),
    };
    guest.recover(engine)?;
    // Of which the task has ended before it was withdrawn.
    if let Some(torn) = guest.torn_of(number) {
        torn::take_back(engine, guest, torn)?;
    }
    engine.drained(guest, number, code)?;
    guest.report(&UPDATES, format_args!("the data of patch {number} has settled"));
    Ok(Answer::default())
}

/// Stops and resumes all processors.
///
/// # Errors
/// `NotRegistered`, `Nonce`, `Argument` for too many stops, and those of the machine when not even
/// one stop worked.
pub fn measure_stop<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, count, _, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    if count > MAX_MEASURED_STOPS {
        return Err(Fault::at(ErrorCode::Argument, NO_ITEM, count));
    }
    let (done, longest) = engine.measure(guest, count)?;
    Ok(Answer { rax: 0, results: [Some(done), Some(longest), None] })
}

pub(crate) fn narrow(value: u64) -> Result<u32, Fault> {
    u32::try_from(value).map_err(|_| Fault::new(ErrorCode::Argument, value))
}
