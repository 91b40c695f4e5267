//! Patches that do harm.

use super::data;
use super::guest::{NONCE, System, record};
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::{Call, Cause, NO_ITEM};
use lucos_transaction::SubjectError;

fn withdraw(system: &mut System, number: u64, cause: Cause) -> Result<u64, (ErrorCode, u32, u64)> {
    let arguments = [NONCE, number, cause.number().into(), 0];
    system.call(Call::Withdraw, arguments).map(|[_, count]| count)
}

#[test]
fn a_patch_goes_with_all_that_stand_on_it_in_one_stop() {
    let mut system = System::new();
    let original = system.guest.text();
    system.apply("other", &[record("no_slot", 0x80)]).unwrap();
    let with_other = system.guest.text();
    for number in 2..5 {
        system.apply(&format!("fix{number}"), &[record("plain", 0x100 * number)]).unwrap();
    }
    system.jump(4, 0).unwrap();
    // The clock moves on by this much in a stop.
    let before = system.guest.time;
    assert_eq!(withdraw(&mut system, 2, Cause::Oops), Ok(3));
    assert_eq!(system.guest.time, before + 1000);
    assert_eq!(system.guest.text(), with_other);
    let log = String::from_utf8_lossy(&system.guest.log).into_owned();
    for (number, name) in [(4, "fix4"), (3, "fix3"), (2, "fix2")] {
        let line = format!("patch {number} ({name}) is withdrawn: the kernel had an oops");
        assert!(log.contains(&line), "{log}");
    }
    assert_eq!(withdraw(&mut system, 1, Cause::Panic), Ok(1));
    assert_eq!(system.guest.text(), original);
}

#[test]
fn what_is_not_in_force_is_not_withdrawn() {
    let mut system = System::new();
    system.apply("fix", &[record("plain", 0x100)]).unwrap();
    let text = system.guest.text();
    let nobody = Err((ErrorCode::UnknownPatch, NO_ITEM, 2));
    assert_eq!(withdraw(&mut system, 2, Cause::Oops), nobody);
    for (number, cause) in [(1, 0), (1, 99), (1, u64::MAX), (u64::MAX, 1)] {
        let wrong = if number == 1 { cause } else { number };
        let refused = Err((ErrorCode::Argument, NO_ITEM, wrong));
        assert_eq!(system.call(Call::Withdraw, [NONCE, number, cause, 0]), refused);
    }
    let refused = Err((ErrorCode::Nonce, NO_ITEM, 0));
    assert_eq!(system.call(Call::Withdraw, [NONCE + 1, 1, 1, 0]), refused);
    assert_eq!(system.guest.text(), text);
    assert_eq!(withdraw(&mut system, 1, Cause::Hang), Ok(1));
    let twice = Err((ErrorCode::NotApplied, NO_ITEM, 1));
    assert_eq!(withdraw(&mut system, 1, Cause::Hang), twice);
}

#[test]
fn a_withdrawal_whose_answer_was_lost_is_answered_as_done() {
    let mut system = System::new();
    system.apply("fix", &[record("plain", 0x100)]).unwrap();
    let arguments = [NONCE, 1, Cause::Lockup.number().into(), 0];
    let done = system.raw(Call::Withdraw, arguments);
    assert_eq!(system.raw_again(Call::Withdraw, arguments), done);
}

/// A processor that does not stop changes nothing.
#[test]
fn a_late_processor_undoes_it() {
    let mut system = System::new();
    system.apply("fix", &[record("plain", 0x100)]).unwrap();
    let text = system.guest.text();
    system.guest.stop_error = Some(SubjectError::Late);
    assert_eq!(withdraw(&mut system, 1, Cause::Hang), Err((ErrorCode::Deadline, NO_ITEM, 0)));
    assert_eq!(system.guest.text(), text);
    system.guest.stop_error = None;
    assert_eq!(withdraw(&mut system, 1, Cause::Hang), Ok(1));
}

/// Both sides live, or the twins alone: old code goes on with the objects.
#[test]
fn data_goes_back_with_its_patch() {
    for settles in [false, true] {
        let mut system = data::system();
        data::apply(&mut system, 0).unwrap();
        if settles {
            data::drained(&mut system, 0).unwrap();
        }
        assert_eq!(withdraw(&mut system, 1, Cause::Oops), Ok(1));
        assert!(!data::trapped(&system));
        data::assert_coherent(&system);
        let guards = if settles { data::BOTH } else { data::NOTHING };
        assert_eq!(data::guarded(&system), guards);
    }
}
