//! What an invalid opcode means.

use super::guest::{MODULE, NONCE, Pages, System, descriptor, record, registration, start_of};
use crate::service::Liveupdate;
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::Call;
use lucos_guest_interface::registration::RegistrationRecord;
use lucos_service::LiveupdateReply::{NotOurs, Redirect};

#[test]
fn a_trap_leads_to_the_new_function() {
    let mut system = System::new();
    let site = start_of("plain") + 9;
    assert_eq!(system.invalid_opcode(site, 0), NotOurs);
    system.apply("one", &[record("plain", 0x100)]).unwrap();
    let one = Redirect { rip: MODULE + 0x100 };
    assert_eq!(system.invalid_opcode(site, 0), one);
    assert_eq!(system.invalid_opcode(site, 3), NotOurs);
    assert_eq!(system.invalid_opcode(site + 1, 0), NotOurs);
    system.apply("two", &[record("plain", 0x200)]).unwrap();
    let two = Redirect { rip: MODULE + 0x200 };
    assert_eq!(system.invalid_opcode(site, 0), two);
    system.rollback(2).unwrap();
    assert_eq!(system.invalid_opcode(site, 0), one);
}

#[test]
fn a_processor_that_asks_late_tries_again() {
    let mut system = System::new();
    let site = start_of("plain") + 9;
    let again = Redirect { rip: site };
    system.apply("one", &[record("plain", 0x100)]).unwrap();
    system.jump(1, 0).unwrap();
    // Two processors, each may have met the trap just before.
    assert_eq!(system.invalid_opcode(site, 0), again);
    assert_eq!(system.invalid_opcode(site, 0), again);
    assert_eq!(system.invalid_opcode(site, 0), NotOurs);
}

/// The task ends and starts again with what is in the journal.
fn restart(system: System, change: impl FnOnce(&mut Vec<u8>)) -> System {
    let mut pages = system.task.into_store().0;
    change(&mut pages);
    System { guest: system.guest, task: Liveupdate::new(Pages(pages), 2, 0) }
}

#[test]
fn a_restarted_task_knows_its_traps_at_once() {
    let mut system = System::new();
    let site = start_of("plain") + 9;
    system.apply("one", &[record("plain", 0x100)]).unwrap();
    let mut system = restart(system, |_| {});
    let one = Redirect { rip: MODULE + 0x100 };
    assert_eq!(system.invalid_opcode(site, 0), one);
    assert_eq!(system.jump(1, 0), Ok([0, 1]));
    let mut system = restart(system, |_| {});
    system.rollback(1).unwrap();
    assert_eq!(system.guest.peek(site, 4), [0x55, 0x48, 0x89, 0xe5]);
}

#[test]
fn what_was_half_applied_is_taken_back_before_it_is_followed() {
    let mut system = System::new();
    let original = system.guest.text();
    let site = start_of("plain") + 9;
    system.apply("one", &[record("plain", 0x100)]).unwrap();
    // As if the task had ended before the commit: the first patch's state byte says "applying".
    let mut system = restart(system, |pages| {
        assert_eq!(pages[512], 2);
        pages[512] = 1;
    });
    assert_eq!(system.invalid_opcode(site, 0), Redirect { rip: site });
    assert_eq!(system.guest.text(), original);
    assert!(!system.guest.intercept);
}

#[test]
fn a_kernel_that_goes_down_is_served_to_its_end() {
    let mut system = System::new();
    let site = start_of("plain") + 9;
    system.apply("one", &[record("plain", 0x100)]).unwrap();
    system.call(Call::Unregister, [NONCE, 1, 0, 0]).unwrap();
    let one = Redirect { rip: MODULE + 0x100 };
    assert_eq!(system.invalid_opcode(site, 0), one);
    // An invalid opcode of its own changes nothing.
    assert_eq!(system.invalid_opcode(0xffff_ffff_8100_1234, 0), NotOurs);
    assert_eq!(system.invalid_opcode(site, 0), one);
    // The next kernel is there; it does not register.
    system.guest.poke(site, &[0x55]);
    assert_eq!(system.invalid_opcode(0xffff_ffff_8100_1234, 0), NotOurs);
    assert!(!system.guest.intercept);
    // One that does starts empty.
    let record = RegistrationRecord { boot_identity: [8; 16], ..registration() };
    assert_eq!(system.register(&record, 5), Ok([0, 0]));
}

/// `vmx` was restarted before the guest learnt what came of its call.
#[test]
fn a_call_whose_answer_was_lost_is_answered_as_done() {
    let mut system = System::new();
    let bytes = descriptor("one", &[record("plain", 0x100)]);
    let address = system.place(&bytes);
    let apply = [NONCE, address, bytes.len() as u64, 0];
    let done = system.raw(Call::Apply, apply);
    let text = system.guest.text();
    assert_eq!(system.raw_again(Call::Apply, apply), done);
    assert_eq!(system.guest.text(), text);
    let twice = ErrorCode::from_register(system.raw(Call::Apply, apply)[0]);
    assert_eq!(twice, Some(ErrorCode::AlreadyApplied));

    let rollback = [NONCE, 1, 0, 0];
    let done = system.raw(Call::Rollback, rollback);
    assert_eq!(system.raw_again(Call::Rollback, rollback), done);
    let twice = ErrorCode::from_register(system.raw(Call::Rollback, rollback)[0]);
    assert_eq!(twice, Some(ErrorCode::NotApplied));
    // What was not done before is done.
    assert_eq!(system.raw_again(Call::Apply, apply)[..2], [0, 2]);
}
