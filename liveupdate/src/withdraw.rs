//! WITHDRAW: a patch that does harm is taken back, whoever is inside.
//!
//! The guest's kernel may be about to end, and whoever asks can be in any context: nothing is asked of
//! it in return, no record is read.

use alloc::vec::Vec;

use lucos_data_versions::VersionState;
use lucos_guest_interface::call::Cause;
use lucos_guest_interface::group::MAX_GROUP;
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_transaction::engine::{Rollback, Way};
use lucos_transaction::version::Lists;
use lucos_transaction::{Engine, Store, VersionPlan};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::guest::Guest;
use crate::platform::Platform;
use crate::update::{UPDATES, narrow};

/// Takes a patch back with all that stand on it or need it.
///
/// # Errors
/// Those of [`take`]; also `NotRegistered`, `Nonce`, and `Argument` for what is no number of a patch or
/// no cause.
pub fn withdraw<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, number, cause, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let number = narrow(number)?;
    let unknown = Fault::new(ErrorCode::Argument, cause);
    let cause = Cause::from_number(narrow(cause)?).ok_or(unknown)?;
    guest.recover(engine)?;
    Ok(Answer::rbx(take(engine, guest, number, cause)? as u64))
}

/// Takes a patch back with all that stand on it or need it: in one step, but for patches with data,
/// which go one after the other. Returns how many that are.
///
/// # Errors
/// Those of [`Engine::rollback`]; of patches with data the first may be gone then.
pub fn take<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    number: u32,
    cause: Cause,
) -> Result<usize, Fault> {
    let mut gone = Vec::new();
    match take_along(engine, guest, number) {
        Ok(numbers) => gone.extend(numbers),
        Err(Fault { code: ErrorCode::Unsupported | ErrorCode::RollbackRecord, .. }) => {
            take_in_turn(engine, guest, number, &mut gone)?;
        }
        Err(fault) => return Err(fault),
    }
    for &number in &gone {
        let mut patches = engine.patches().iter();
        let name = patches.find(|patch| patch.number == number).map_or("", |patch| &patch.name);
        guest.report(
            &UPDATES,
            format_args!("patch {number} ({name}) is withdrawn: {}", cause.meaning()),
        );
    }
    Ok(gone.len())
}

/// Takes a patch back behind those that are in its way, each in a step of its own.
fn take_in_turn<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    number: u32,
    gone: &mut Vec<u32>,
) -> Result<(), Fault> {
    let mut waiting = heapless::Vec::<u32, MAX_GROUP>::from_array([number]);
    while let Some(&number) = waiting.last() {
        match take_one(engine, guest, number) {
            Ok(()) => {
                gone.push(number);
                waiting.pop();
            }
            Err(fault) => {
                let is_in_the_way =
                    matches!(fault.code, ErrorCode::Stacked | ErrorCode::DependencyInUse);
                let other = u32::try_from(fault.detail).ok().filter(|_| is_in_the_way);
                let other = other.filter(|other| !waiting.contains(other)).ok_or(fault)?;
                waiting.push(other).map_err(|_| fault)?;
            }
        }
    }
    Ok(())
}

/// Takes one patch back. Its data is moved by the lists with which it was moved last.
fn take_one<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    number: u32,
) -> Result<(), Fault> {
    engine.check_rollback(&[number])?;
    let patch = engine.patches().iter().find(|patch| patch.number == number);
    let (mut lists, mut plans) = (Vec::new(), Vec::new());
    for (version, state) in
        patch.into_iter().flat_map(|patch| patch.versions.iter().map(|one| (one, patch.state)))
    {
        let plan = version.plan.clone();
        lists.push(plan.lists);
        let is_moved = version.state(state) == VersionState::New;
        let moved = if is_moved { plan.lists } else { Lists::default() };
        plans.push(VersionPlan { lists: moved, ..plan });
    }
    let ready = guest.prepare(&plans, false);
    let rollback = Rollback { number, way: Way::Withdraw, lists: &lists };
    let done = ready.and_then(|()| engine.rollback(guest, &[rollback]));
    guest.put_away(engine, &done);
    done.map(|_| ())
}

fn take_along<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    number: u32,
) -> Result<heapless::Vec<u32, MAX_GROUP>, Fault> {
    let mut numbers = heapless::Vec::from_array([number]);
    loop {
        let withdrawal = |&number: &u32| Rollback { number, way: Way::Withdraw, lists: &[] };
        let rollbacks: Vec<Rollback<'_>> = numbers.iter().map(withdrawal).collect();
        match engine.rollback(guest, &rollbacks) {
            Ok(_) => return Ok(numbers),
            Err(fault) => add_obstacle(&mut numbers, fault)?,
        }
    }
}

/// Adds the patch that is in the way, if that is what is wrong. What stands on a patch came later and
/// goes first.
fn add_obstacle(numbers: &mut heapless::Vec<u32, MAX_GROUP>, fault: Fault) -> Result<(), Fault> {
    if !matches!(fault.code, ErrorCode::Stacked | ErrorCode::DependencyInUse) {
        return Err(fault);
    }
    let other = u32::try_from(fault.detail).map_err(|_| fault)?;
    if numbers.contains(&other) {
        return Err(fault);
    }
    numbers.push(other).map_err(|_| fault)?;
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    Ok(())
}
