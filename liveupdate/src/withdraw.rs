//! WITHDRAW: a patch that does harm is taken back, whoever is inside.
//!
//! The guest's kernel may be about to end, and whoever asks can be in any context: nothing is asked of
//! it in return, no record is read.

use alloc::vec::Vec;

use lucos_guest_interface::call::Cause;
use lucos_guest_interface::group::MAX_GROUP;
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_transaction::engine::{Rollback, Way};
use lucos_transaction::{Engine, Store};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::guest::Guest;
use crate::platform::Platform;
use crate::update::{UPDATES, narrow};

/// Takes a patch back with all that stand on it or need it, in one step.
///
/// # Errors
/// Those of [`Engine::rollback`], when the patches cannot be taken back together; also `NotRegistered`,
/// `Nonce`, and `Argument` for what is no number of a patch or no cause. Nothing has changed then.
pub fn withdraw<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, number, cause, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let number = narrow(number)?;
    let unknown = Fault::new(ErrorCode::Argument, cause);
    let cause = Cause::from_number(narrow(cause)?).ok_or(unknown)?;
    let gone = take_along(engine, guest, number)?;
    for &number in &gone {
        let mut patches = engine.patches().iter();
        let name = patches.find(|patch| patch.number == number).map_or("", |patch| &patch.name);
        guest.report(
            &UPDATES,
            format_args!("patch {number} ({name}) is withdrawn: {}", cause.meaning()),
        );
    }
    Ok(Answer::rbx(gone.len() as u64))
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
