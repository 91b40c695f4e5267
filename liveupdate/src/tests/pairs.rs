//! Objects that get a twin, or lose it, while both sides live.

use super::data::{
    NOTHING, OBJECTS, TWINS, apply, assert_coherent, drained, guarded, status_record, system,
};
use super::guest::{DATA, NONCE, SPACE, System};
use super::manager::{TURN, Trick};
use crate::late::{LATE_MAX, Late, LateKind};
use crate::service::Liveupdate;
use lucos_data_versions::{Pair, VersionId};
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::{Call, DATA_ITEMS, DONE_LAW_BROKEN, NO_ITEM};
use lucos_guest_interface::upcall::PairRecord;
use lucos_service::client::Memory as _;
use lucos_service::{GuardKind, LiveupdateReply, LiveupdateRequest};

const OBJECT: u64 = OBJECTS + 0x800;
const TWIN: u64 = TWINS + 0x800;

fn ask(
    system: &mut System,
    call: Call,
    number: u32,
    (object, twin): (u64, u64),
) -> Result<(), (ErrorCode, u32, u64)> {
    let record = PairRecord { number, version: 0, object, twin };
    let address = system.place(&record.to_bytes());
    system.call(call, [NONCE, address, 0, 0]).map(|_| ())
}

fn write(system: &mut System, address: u64, bytes: &[u8]) {
    let gpa = system.guest.gpa(address);
    system.guest.manager.store = Some((gpa, bytes.to_vec()));
    let request = LiveupdateRequest::GuardedWrite { gpa, space: SPACE, implicit: false };
    assert_eq!(system.task.answer(&mut system.guest, &request), LiveupdateReply::RunOn);
}

fn twin(system: &System) -> Vec<u8> {
    system.guest.peek(TWIN, 8).iter().map(|byte| byte ^ TURN).collect()
}

#[test]
fn a_pair_that_comes_late_is_carried_until_it_goes() {
    let mut system = system();
    apply(&mut system, 0).unwrap();
    system.guest.poke(OBJECT, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(ask(&mut system, Call::Pair, 1, (OBJECT, TWIN)), Ok(()));
    assert_eq!(twin(&system), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(status_record(&mut system).pairs, 6);
    write(&mut system, OBJECT + 2, &[0x33]);
    assert_eq!(twin(&system), [1, 2, 0x33, 4, 5, 6, 7, 8]);
    write(&mut system, TWIN, &[TURN ^ 9]);
    assert_eq!(system.guest.peek(OBJECT, 3), [9, 2, 0x33]);
    // The same once more is done already.
    assert_eq!(ask(&mut system, Call::Pair, 1, (OBJECT, TWIN)), Ok(()));
    assert_eq!(system.guest.late.len(), 1);
    // The next task carries it too.
    let empty = Liveupdate::new(super::guest::Pages(vec![0; 32 * 1024]), 2, 0);
    let store = std::mem::replace(&mut system.task, empty).into_store();
    system.task = Liveupdate::new(store, 2, 0);
    write(&mut system, OBJECT, &[0x44]);
    assert_eq!(twin(&system)[..3], [0x44, 2, 0x33]);
    assert_eq!(ask(&mut system, Call::Unpair, 1, (OBJECT, TWIN)), Ok(()));
    write(&mut system, OBJECT, &[0x55]);
    assert_eq!(twin(&system)[0], 0x44);
    assert_coherent(&system);
    assert_eq!(status_record(&mut system).pairs, 5);
    drained(&mut system, 0).unwrap();
    assert_eq!(guarded(&system), NOTHING);
}

#[test]
fn a_pair_of_the_lists_goes_and_comes_again() {
    let mut system = system();
    apply(&mut system, 0).unwrap();
    let first = (OBJECTS, TWINS + 64);
    assert_eq!(ask(&mut system, Call::Unpair, 1, first), Ok(()));
    let twin = system.guest.peek(first.1, 8);
    write(&mut system, OBJECTS, &[0x91]);
    assert_eq!(system.guest.peek(first.1, 8), twin);
    let nobody = Err((ErrorCode::Argument, DATA_ITEMS, OBJECTS));
    assert_eq!(ask(&mut system, Call::Unpair, 1, first), nobody);
    // Its object has another twin.
    assert_eq!(ask(&mut system, Call::Pair, 1, (OBJECTS, TWIN)), Ok(()));
    write(&mut system, OBJECTS, &[0x92]);
    assert_eq!(self::twin(&system)[0], 0x92);
    assert_eq!(system.guest.peek(first.1, 8), twin);
    assert_eq!(ask(&mut system, Call::Unpair, 1, (OBJECTS, TWIN)), Ok(()));
    assert_eq!(ask(&mut system, Call::Pair, 1, first), Ok(()));
    assert_coherent(&system);
    assert!(system.guest.late.is_empty());
}

/// On pages on which nothing else lies.
const FAR: (u64, u64) = (DATA + 8 * 0x1000, DATA + 9 * 0x1000);

fn carried(system: &mut System) -> Vec<u64> {
    system.guest.memory.guards(GuardKind::Carried, 0).unwrap().to_vec()
}

#[test]
fn a_page_without_a_pair_is_the_guests() {
    let mut system = system();
    apply(&mut system, 0).unwrap();
    let before = carried(&mut system);
    let pages = [FAR.0, FAR.1].map(|page| system.guest.gpa(page));
    assert_eq!(ask(&mut system, Call::Pair, 1, FAR), Ok(()));
    assert!(pages.iter().all(|page| carried(&mut system).contains(page)));
    assert_eq!(ask(&mut system, Call::Unpair, 1, FAR), Ok(()));
    assert_eq!(carried(&mut system), before);
    // On the others there are more.
    assert_eq!(ask(&mut system, Call::Unpair, 1, (OBJECTS, TWINS + 64)), Ok(()));
    assert_eq!(carried(&mut system), before);
    // One that does not come changes nothing.
    system.guest.poke(FAR.1, &[0x77; 8]);
    system.guest.manager.tricks.push_back(Trick::Says(DONE_LAW_BROKEN, 2));
    let law = Err((ErrorCode::TransferLaw, DATA_ITEMS, 2));
    assert_eq!(ask(&mut system, Call::Pair, 1, FAR), law);
    system.guest.manager.tricks.extend([Trick::Interrupted(1), Trick::Says(DONE_LAW_BROKEN, 2)]);
    let _ = ask(&mut system, Call::Pair, 1, FAR);
    assert_eq!(carried(&mut system), before);
    assert_eq!(system.guest.peek(FAR.1, 8), [0x77; 8]);
}

/// What was an object has become a page table: it is no step, and the patch stays, unless a pair there
/// is still needed.
#[test]
fn what_the_processor_writes_by_itself_is_not_stepped() {
    let mut system = system();
    apply(&mut system, 0).unwrap();
    let before = carried(&mut system);
    assert_eq!(ask(&mut system, Call::Pair, 1, FAR), Ok(()));
    let gpa = system.guest.gpa(FAR.0);
    let request = LiveupdateRequest::GuardedWrite { gpa, space: SPACE, implicit: true };
    // The object is gone, and nothing could be noted.
    system.guest.retains_nothing = true;
    assert!(ask(&mut system, Call::Unpair, 1, FAR).is_err());
    system.guest.retains_nothing = false;
    assert_eq!(system.task.answer(&mut system.guest, &request), LiveupdateReply::RunOn);
    assert_eq!(carried(&mut system), before);
    assert_eq!(status_record(&mut system).torn, 0);
    drained(&mut system, 0).unwrap();
}

#[test]
fn notes_of_what_has_settled_make_room() {
    let mut system = system();
    for place in 0..LATE_MAX {
        let id = VersionId { patch: 99, version: 0 };
        let pair = Pair { object: OBJECTS, twin: TWINS };
        system.guest.late.insert(place, Late { id, pair, kind: LateKind::Gone });
    }
    apply(&mut system, 0).unwrap();
    assert_eq!(ask(&mut system, Call::Pair, 1, FAR), Ok(()));
    assert_eq!(ask(&mut system, Call::Unpair, 1, (OBJECTS, TWINS + 64)), Ok(()));
}

#[test]
fn what_is_no_pair_is_refused() {
    let mut system = system();
    let both = (OBJECT, TWIN);
    assert_eq!(ask(&mut system, Call::Pair, 1, both), Err((ErrorCode::UnknownPatch, NO_ITEM, 1)));
    apply(&mut system, 0).unwrap();
    for (pair, code, detail) in [
        ((0x1000, TWIN), ErrorCode::DataRange, 0x1000),
        ((OBJECT, u64::MAX - 3), ErrorCode::DataRange, u64::MAX - 3),
        ((OBJECTS + 4, TWIN), ErrorCode::PairsOverlap, OBJECTS + 4),
        ((OBJECT, TWINS + 79), ErrorCode::PairsOverlap, TWINS + 79),
        ((OBJECT, OBJECT + 7), ErrorCode::PairsOverlap, OBJECT + 7),
        ((OBJECT, OBJECTS + 0x10_0000), ErrorCode::Address, OBJECTS + 0x10_0000),
    ] {
        let refused = Err((code, DATA_ITEMS, detail));
        assert_eq!(ask(&mut system, Call::Pair, 1, pair), refused, "{pair:x?}");
    }
    system.guest.manager.tricks.push_back(Trick::Says(DONE_LAW_BROKEN, 2));
    let law = Err((ErrorCode::TransferLaw, DATA_ITEMS, 2));
    assert_eq!(ask(&mut system, Call::Pair, 1, both), law);
    // The second function does not lead back.
    system.guest.manager.tricks.extend([Trick::Interrupted(1), Trick::Says(0, 0)]);
    assert_eq!(ask(&mut system, Call::Pair, 1, both), Ok(()), "the object is what it is");
    assert_eq!(ask(&mut system, Call::Unpair, 1, both), Ok(()));
    assert_coherent(&system);
    drained(&mut system, 0).unwrap();
    assert_eq!(ask(&mut system, Call::Pair, 1, both), Err((ErrorCode::Settled, DATA_ITEMS, 1)));
}
