//! APPLY, JUMP, ROLLBACK and MEASURE_STOP.

use alloc::vec::Vec;

use lucos_guest_interface::call::{
    ALL_FUNCTIONS, DATA_ITEMS, MAX_GROUP_LENGTH, MAX_MEASURED_STOPS, NO_ITEM, ROLLBACK_CHECK_ONLY,
    ROLLBACK_CLEAR_ONLY, ROLLBACK_FLAGS, VALUE_ITEMS,
};
use lucos_guest_interface::descriptor::{Descriptor, FLAG_HOOKS, Value};
use lucos_guest_interface::group::{self, GroupHeader, MAX_GROUP};
use lucos_guest_interface::rollback::{MAX_ROLLBACK_LENGTH, RollbackHeader, RollbackRecord};
use lucos_guest_interface::{ErrorCode, Fault, Part};
use lucos_service::{LogBudget, QUARTER_HOUR};
use lucos_transaction::engine::{Rollback, Which, left_over};
use lucos_transaction::patch::Name;
use lucos_transaction::{Engine, FunctionPlan, Plan, Store, ValuePlan};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::buffer::copy_in;
use crate::check::Checker;
use crate::guest::Guest;
use crate::platform::Platform;

/// Lines about updates.
pub(crate) static UPDATES: LogBudget = LogBudget::new(128, QUARTER_HOUR);

/// What one descriptor asks for, checked.
struct Checked<'a> {
    name: &'a str,
    dependencies: Vec<&'a str>,
    functions: Vec<FunctionPlan>,
    values: Vec<ValuePlan>,
}

impl Checked<'_> {
    fn plan(&self) -> Plan<'_> {
        Plan {
            name: self.name,
            dependencies: &self.dependencies,
            functions: &self.functions,
            values: &self.values,
            ..Plan::default()
        }
    }
}

/// Checks an update, or several in one step, and puts it in force.
///
/// # Errors
/// Those of the parsers of groups and descriptors, of [`crate::check`] and of [`Engine::apply`]; also
/// `NotRegistered`, `Nonce`, `Length`, `Address`, `BuildId`, `FlagCombination` for a group of which
/// some are to be checked only, and `Unsupported` for data versions. The guest's memory is then as it
/// was.
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
    engine.recover(guest)?;
    let checked = check(engine, guest, &descriptors)?;
    let plans: Vec<Plan<'_>> = checked.iter().map(Checked::plan).collect();
    if descriptors.iter().any(Descriptor::is_check_only) {
        engine.check(guest, &plans)?;
        return Ok(Answer::rbx(0));
    }
    let first = engine.apply(guest, &plans)?;
    for (number, plan) in (first..).zip(&plans) {
        guest.report(&UPDATES, format_args!("patch {number} ({}) is in force", plan.name));
    }
    Ok(Answer { rax: 0, results: [Some(first.into()), Some(0), None] })
}

/// The descriptors of a group, each for this kernel, and something that this version can do.
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

/// Whether the update is for this kernel, and something that this version can do.
fn check_kernel<S: Store>(engine: &Engine<S>, descriptor: &Descriptor<'_>) -> Result<(), Fault> {
    let build_id = descriptor.build_id();
    if !build_id.is_empty() && build_id != engine.head().registration.build_id.as_slice() {
        return Err(Fault::new(ErrorCode::BuildId, 0));
    }
    if descriptor.data_versions().next().is_some() {
        return Err(Fault::at(ErrorCode::Unsupported, DATA_ITEMS, 0));
    }
    if descriptor.is_clear_only() {
        return Err(Fault::new(ErrorCode::Unsupported, descriptor.header().flags.into()));
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
        checked.push(Checked {
            name: descriptor.name(),
            dependencies: descriptor.dependencies().collect(),
            functions,
            values,
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
/// Those of [`RollbackRecord::parse`] and of [`Engine::rollback`]; also `NotRegistered`, `Nonce`,
/// `Argument`, `Length`, `Address`, `UnknownFlag`, and `Unsupported` for data versions.
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
    if flags & ROLLBACK_CLEAR_ONLY != 0 {
        return Err(Fault::new(ErrorCode::Unsupported, flags.into()));
    }
    let numbers = match (record, length) {
        (0, 0) => heapless::Vec::from_array([number]),
        (0, _) => return Err(Fault::new(ErrorCode::Argument, length)),
        _ => leaving(guest, number, record, length)?,
    };
    if flags & ROLLBACK_CHECK_ONLY != 0 {
        engine.recover(guest)?;
        engine.check_rollback(&numbers)?;
        return Ok(Answer::default());
    }
    let rollbacks: Vec<Rollback<'_>> = numbers.iter().copied().map(Rollback::of).collect();
    let left = engine.rollback(guest, &rollbacks)?;
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
    Ok(Answer { rax: 0, results: [None, Some(0), Some(left as u64)] })
}

/// The patches that a rollback record names.
fn leaving<P: Platform>(
    guest: &mut Guest<'_, P>,
    number: u32,
    address: u64,
    length: u64,
) -> Result<heapless::Vec<u32, MAX_GROUP>, Fault> {
    if length < RollbackHeader::SIZE as u64 || length > MAX_ROLLBACK_LENGTH as u64 {
        return Err(Fault::new(ErrorCode::Length, length));
    }
    let space = guest.space();
    let bytes = copy_in(guest.platform(), space, address, length as usize)?;
    let record = RollbackRecord::parse(&bytes, number)?;
    if record.versions().next().is_some() {
        return Err(Fault::at(ErrorCode::Unsupported, DATA_ITEMS, 0));
    }
    record.patches().try_into().map_err(|_| Part::Liveupdate.fault(NO_ITEM))
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
