//! APPLY, JUMP, ROLLBACK and MEASURE_STOP.

use alloc::vec::Vec;

use lucos_guest_interface::call::{
    ALL_FUNCTIONS, MAX_DESCRIPTOR_LENGTH, MAX_MEASURED_STOPS, NO_ITEM,
};
use lucos_guest_interface::descriptor::{Descriptor, DescriptorHeader};
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_service::{LogBudget, QUARTER_HOUR};
use lucos_transaction::engine::{Rollback, Which};
use lucos_transaction::{Engine, FunctionPlan, Plan, Store};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::buffer::copy_in;
use crate::check::Checker;
use crate::guest::Guest;
use crate::platform::Platform;

/// Lines about updates.
pub(crate) static UPDATES: LogBudget = LogBudget::new(128, QUARTER_HOUR);

/// Checks an update and puts it in force.
///
/// # Errors
/// Those of the descriptor's parser, of [`crate::check`] and of [`Engine::apply`]; also
/// `NotRegistered`, `Nonce`, `Length`, `Address`, `BuildId`, and `Unsupported` for data versions
/// (at the first) and hooks. The guest's memory is then as it was.
pub fn apply<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, address, length, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    if length < DescriptorHeader::SIZE as u64 || length > MAX_DESCRIPTOR_LENGTH as u64 {
        return Err(Fault::new(ErrorCode::Length, length));
    }
    let space = guest.space();
    let bytes = copy_in(guest.platform(), space, address, length as usize)?;
    let descriptor = Descriptor::parse(&bytes)?;
    check_kernel(engine, &descriptor)?;
    // What is left half done stands in the way of every check.
    engine.recover(guest)?;

    let mut functions: Vec<FunctionPlan> = Vec::new();
    let mut checker = Checker::new()?;
    for (index, function) in descriptor.functions().enumerate() {
        let plan = checker
            .check(engine, guest, &function)
            .map_err(|(code, detail)| Fault::at(code, index as u32, detail))?;
        functions.push(plan);
    }
    drop(checker);
    let dependencies: Vec<&str> = descriptor.dependencies().collect();
    let plan = Plan {
        name: descriptor.name(),
        dependencies: &dependencies,
        functions: &functions,
        ..Plan::default()
    };
    if descriptor.is_check_only() {
        engine.check(&plan)?;
        return Ok(Answer::rbx(0));
    }
    let number = engine.apply(guest, &plan)?;
    let name = descriptor.name();
    guest.report(&UPDATES, format_args!("patch {number} ({name}) is in force"));
    Ok(Answer::rbx(number.into()))
}

/// Whether the update is for this kernel, and something that this version can do.
fn check_kernel<S: Store>(engine: &Engine<S>, descriptor: &Descriptor<'_>) -> Result<(), Fault> {
    let build_id = descriptor.build_id();
    if !build_id.is_empty() && build_id != engine.head().registration.build_id.as_slice() {
        return Err(Fault::new(ErrorCode::BuildId, 0));
    }
    if descriptor.data_versions().next().is_some() {
        return Err(Fault::at(ErrorCode::Unsupported, 0, 0));
    }
    if let Some(hook) = descriptor.hooks().next() {
        return Err(Fault::new(ErrorCode::Unsupported, hook));
    }
    Ok(())
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

/// Takes an update back.
///
/// # Errors
/// Those of [`Engine::rollback`]; also `NotRegistered`, `Nonce`, `Argument`.
pub fn rollback<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, number, _, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let number = narrow(number)?;
    engine.rollback(guest, &Rollback::of(number))?;
    guest.report(&UPDATES, format_args!("patch {number} is rolled back"));
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

fn narrow(value: u64) -> Result<u32, Fault> {
    u32::try_from(value).map_err(|_| Fault::new(ErrorCode::Argument, value))
}
