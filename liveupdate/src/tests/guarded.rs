//! Writes of the guest to data of which both sides live.

use super::data::{
    BOTH, NOTHING, OBJECTS, TWINS, UPCALLS, apply, assert_coherent, drained, guarded, status,
    status_record, system, trapped,
};
use super::guest::{DATA, NONCE, SPACE, System};
use super::manager::{TURN, Trick};
use crate::service::Liveupdate;
use lucos_data_versions::Note;
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::Call;
use lucos_guest_interface::status::VersionState;
use lucos_service::client::Memory as _;
use lucos_service::{GuardKind, LiveupdateReply, LiveupdateRequest, MemoryRequest};

/// Both sides live.
fn both() -> System {
    let mut system = system();
    apply(&mut system, 0).unwrap();
    system
}

fn ask(system: &mut System, request: LiveupdateRequest) -> LiveupdateReply {
    let reply = system.task.answer(&mut system.guest, &request);
    assert!(!system.guest.stopped && system.guest.notes.is_empty());
    reply
}

/// The guest meets a guard at an address.
fn fault(system: &mut System, address: u64, implicit: bool) -> LiveupdateReply {
    let gpa = system.guest.gpa(address);
    ask(system, LiveupdateRequest::GuardedWrite { gpa, space: SPACE, implicit })
}

/// The guest writes to a guarded address.
fn write(system: &mut System, address: u64, bytes: &[u8]) {
    system.guest.manager.store = Some((system.guest.gpa(address), bytes.to_vec()));
    assert_eq!(fault(system, address, false), LiveupdateReply::RunOn);
    assert_eq!(system.guest.manager.store, None, "it was not done");
    assert_eq!(system.guest.peek(address, bytes.len()), bytes);
}

fn counts(system: &mut System) -> [u64; 4] {
    let record = status_record(system);
    [record.traps, record.carried, record.neighbours, record.torn.into()]
}

#[test]
fn each_side_is_carried_to_the_other() {
    let mut system = both();
    write(&mut system, OBJECTS + 9, &[0x77, 0x78]);
    assert_coherent(&system);
    write(&mut system, TWINS + 16, &[0x66; 8]);
    assert_coherent(&system);
    // What the twin has alone, and two pairs at once.
    write(&mut system, TWINS + 8, &[0x55; 16]);
    assert_coherent(&system);
    // Behind the last pair.
    write(&mut system, OBJECTS + 0x800, &[1]);
    assert_eq!(counts(&mut system), [4, 3, 1, 0]);
    assert_eq!(guarded(&system), BOTH);
}

/// The objects' page and the one behind it, of the twins.
#[test]
fn a_write_over_two_guarded_pages_is_one_write() {
    let mut system = both();
    write(&mut system, TWINS - 4, &[0x31; 8]);
    assert_coherent(&system);
    assert_eq!(system.guest.peek(TWINS, 4), [0x31; 4]);
}

#[test]
fn an_exception_of_the_instruction_is_the_guests() {
    let mut system = both();
    // No instruction: each step is interrupted.
    assert_eq!(fault(&mut system, OBJECTS, false), LiveupdateReply::RunOn);
    assert_coherent(&system);
    assert_eq!(guarded(&system), BOTH);
}

#[test]
fn a_patch_whose_data_cannot_be_carried_is_withdrawn_at_once() {
    let mut system = both();
    system.guest.manager.tricks.push_back(Trick::Loops);
    write(&mut system, OBJECTS, &[9]);
    // The object is complete; the twin lacks the write.
    assert!(!trapped(&system));
    assert_eq!(guarded(&system), NOTHING);
    assert_ne!(system.guest.peek(TWINS + 64, 1), [9 ^ TURN]);
    assert_eq!(status(&mut system), (VersionState::Old.number(), 0));
    let log = String::from_utf8_lossy(&system.guest.log).into_owned();
    for line in [
        "data version 0 of patch 1 is torn: Some(Loops)",
        "patch 1 (fix) is withdrawn: a transfer function failed",
    ] {
        assert!(log.contains(line), "{log}");
    }
}

#[test]
fn who_is_at_work_on_updates_withdraws_what_another_has_torn() {
    let mut system = both();
    system.guest.manager.tricks.push_back(Trick::Calls);
    system.guest.manager.store = Some((system.guest.gpa(OBJECTS), vec![9]));
    let gpa = system.guest.gpa(OBJECTS);
    let request = LiveupdateRequest::GuardedWrite { gpa, space: SPACE, implicit: false };
    let held = system.task.hold();
    assert_eq!(system.task.answer(&mut system.guest, &request), LiveupdateReply::RunOn);
    drop(held);
    assert!(trapped(&system));
    assert_eq!(system.call(Call::MeasureStop, [NONCE, 1, 0, 0]).map(|[_, count]| count), Ok(1));
    assert!(!trapped(&system));
    assert_eq!(guarded(&system), NOTHING);
}

/// The task ends before it withdraws what is torn, and the next one does not settle it.
#[test]
fn what_is_torn_is_not_forgotten() {
    let mut system = both();
    system.guest.manager.tricks.push_back(Trick::Calls);
    system.guest.manager.store = Some((system.guest.gpa(OBJECTS), vec![9]));
    let gpa = system.guest.gpa(OBJECTS);
    let request = LiveupdateRequest::GuardedWrite { gpa, space: SPACE, implicit: false };
    let held = system.task.hold();
    assert_eq!(system.task.answer(&mut system.guest, &request), LiveupdateReply::RunOn);
    drop(held);
    let empty = Liveupdate::new(super::guest::Pages(vec![0; 32 * 1024]), 2, 0);
    let store = std::mem::replace(&mut system.task, empty).into_store();
    system.task = Liveupdate::new(store, 2, 0);
    assert!(trapped(&system));
    let refused = drained(&mut system, 0).map_err(|(code, ..)| code);
    assert_eq!(refused, Err(ErrorCode::NotApplied));
    assert!(!trapped(&system));
    assert_eq!(guarded(&system), NOTHING);
}

#[test]
fn what_an_event_writes_is_not_carried() {
    let mut system = both();
    assert_eq!(fault(&mut system, TWINS + 0x800, true), LiveupdateReply::RunOn);
    assert!(!trapped(&system));
    assert_eq!(guarded(&system), NOTHING);
}

#[test]
fn a_guard_that_nobody_asks_for_is_taken_off() {
    let mut system = both();
    let gpa = system.guest.gpa(DATA + 8 * 0x1000);
    system.guest.memory.guard(GuardKind::Carried, true, &[gpa]).unwrap();
    let request = LiveupdateRequest::GuardedWrite { gpa, space: SPACE, implicit: false };
    assert_eq!(ask(&mut system, request), LiveupdateReply::RunOn);
    let left = system.guest.memory.guards(GuardKind::Carried, 0).unwrap();
    let [objects, twins] = [OBJECTS, TWINS].map(|page| system.guest.gpa(page));
    assert_eq!(left, [objects, twins]);
}

/// The task has ended behind the step, and nobody but the note knows of it.
fn cut_off(system: &mut System) {
    let [gpa, copy] = [OBJECTS, UPCALLS + 2 * 0x1000].map(|page| system.guest.gpa(page));
    system.guest.memory.order(&MemoryRequest::Open { gpa, copy }).unwrap();
    system.guest.memory.put(gpa + 8, &[0x99; 4]);
    let mut note = Note::default();
    note.pages.push(gpa).unwrap();
    system.guest.notes.insert(0, note);
    let empty = Liveupdate::new(super::guest::Pages(vec![0; 32 * 1024]), 2, 0);
    let store = std::mem::replace(&mut system.task, empty).into_store();
    system.task = Liveupdate::new(store, 2, 0);
}

#[test]
fn the_next_task_finishes_what_the_last_one_began() {
    for request in [
        LiveupdateRequest::Finish,
        LiveupdateRequest::GuardedWrite {
            gpa: both().guest.gpa(OBJECTS),
            space: SPACE,
            implicit: false,
        },
    ] {
        let mut system = both();
        cut_off(&mut system);
        assert_eq!(ask(&mut system, request), LiveupdateReply::RunOn);
        assert_eq!(system.guest.peek(OBJECTS + 8, 4), [0x99; 4]);
        assert_coherent(&system);
        assert_eq!(guarded(&system), BOTH);
        // It goes on as ever.
        write(&mut system, OBJECTS + 16, &[0x12]);
        assert_coherent(&system);
        drained(&mut system, 0).unwrap();
        assert_eq!(guarded(&system), NOTHING);
    }
}
