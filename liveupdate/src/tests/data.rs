//! Updates that change data.

use super::guest::{DATA, MODULE, NONCE, System, record, registration, start_of};
use super::manager::{TURN, Trick};
use lucos_abi::object::{Event, View};
use lucos_data_versions::Pair;
use lucos_data_versions::transfer::BUSY_MAX;
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::{
    Call, DATA_ITEMS, DONE_LAW_BROKEN, NO_ITEM, RESULT_CLEAR, ROLLBACK_CLEAR_ONLY,
};
use lucos_guest_interface::descriptor::{
    DATA_LOSSY, DataVersionRecord, DescriptorBuilder, FLAG_CLEAR_ONLY,
};
use lucos_guest_interface::name;
use lucos_guest_interface::registration::RegistrationRecord;
use lucos_guest_interface::rollback::{ROLLBACK_VERSION, RollbackHeader, RollbackVersion};
use lucos_guest_interface::status::{VersionState, VersionStatus};
use lucos_memory::platform::Rights;
use lucos_x86_code::jump::TRAP;

const PAGE: u64 = 0x1000;
/// Pages of upcalls for two processors, then one page for each of these.
pub(super) const UPCALLS: u64 = DATA + 16 * PAGE;
const LISTS: u64 = UPCALLS + 12 * PAGE;
const STAGE: u64 = LISTS + PAGE;
pub(super) const OBJECTS: u64 = STAGE + PAGE;
pub(super) const TWINS: u64 = OBJECTS + PAGE;
const ENTRY: u64 = MODULE + 0x800;

const BY_TWIN: u64 = LISTS + 0x600;
const PAGES: u64 = LISTS + 0xc00;
const STEP: u32 = 32;
/// Bytes of an object and of a twin.
const SIZES: [u64; 2] = [8, 16];
const COUNT: u32 = 5;

/// The twins lie in the other order.
fn pairs() -> Vec<Pair> {
    pairs_of(COUNT)
}

fn pairs_of(count: u32) -> Vec<Pair> {
    let pair = |number: u64| Pair {
        object: OBJECTS + number * 8,
        twin: TWINS + u64::from(count - 1) * 16 - number * 16,
    };
    (0..u64::from(count)).map(pair).collect()
}

pub(super) fn with_upcalls() -> RegistrationRecord {
    RegistrationRecord {
        upcall_entry: ENTRY,
        upcall_pages: UPCALLS,
        processors: 2,
        ..registration()
    }
}

pub(super) fn version() -> DataVersionRecord {
    DataVersionRecord {
        pairs_by_object: LISTS,
        pair_count: COUNT,
        pairs_by_twin: BY_TWIN,
        pages: PAGES,
        page_count: 2,
        stage_step: STEP,
        stage: STAGE,
        object_size: SIZES[0] as u32,
        twin_size: SIZES[1] as u32,
        to_new: MODULE + 0x900,
        to_old: MODULE + 0xa00,
        name: name::field("counter").unwrap(),
        ..DataVersionRecord::default()
    }
}

/// A manager that takes upcalls, its lists in memory, and objects with something in them.
pub(super) fn system() -> System {
    system_of(COUNT)
}

fn system_of(count: u32) -> System {
    let mut system = System::bare();
    assert_eq!(system.register(&with_upcalls(), NONCE), Ok([0, 0]));
    put_lists(&mut system, count);
    for number in 0..u64::from(COUNT) * 8 {
        system.guest.poke(OBJECTS + number, &[number as u8 + 1]);
    }
    for number in 0..u64::from(COUNT) * 16 {
        system.guest.poke(TWINS + number, &[0xc0 | number as u8]);
    }
    system.guest.manager.sizes = SIZES;
    system.guest.manager.pairs = pairs_of(count);
    system.guest.manager.step = STEP.into();
    system
}

fn put_lists(system: &mut System, count: u32) {
    let mut by_twin = pairs_of(count);
    by_twin.sort_by_key(|pair| pair.twin);
    for (start, list) in [(LISTS, pairs_of(count)), (BY_TWIN, by_twin)] {
        for (number, pair) in (0..).zip(list) {
            system.guest.poke(start + number * 16, &pair.object.to_le_bytes());
            system.guest.poke(start + number * 16 + 8, &pair.twin.to_le_bytes());
        }
    }
    system.guest.poke(PAGES, &OBJECTS.to_le_bytes());
    system.guest.poke(PAGES + 8, &TWINS.to_le_bytes());
}

fn descriptor(flags: u32, version: DataVersionRecord) -> Vec<u8> {
    DescriptorBuilder::new("fix")
        .unwrap()
        .flags(flags)
        .function(record("plain", 0x100))
        .data_version(version, &[])
        .build()
}

/// The answer of APPLY: RBX and RCX.
pub(super) fn apply(system: &mut System, flags: u32) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
    apply_version(system, flags, version())
}

fn apply_version(
    system: &mut System,
    flags: u32,
    version: DataVersionRecord,
) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
    let bytes = descriptor(flags, version);
    let address = system.place(&bytes);
    answer(system.raw(Call::Apply, [NONCE, address, bytes.len() as u64, 0]))
}

fn answer([rax, rbx, rcx, rdx]: [u64; 4]) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
    match ErrorCode::from_register(rax) {
        Some(code) => Err((code, rcx as u32, rdx)),
        None => Ok([rbx, rcx]),
    }
}

fn rollback(system: &mut System, flags: u32) -> Result<u64, (ErrorCode, u32, u64)> {
    rollback_of(system, 1, flags)
}

fn rollback_of(system: &mut System, number: u32, flags: u32) -> Result<u64, (ErrorCode, u32, u64)> {
    rollback_lists(system, number, flags, &version())
}

fn rollback_lists(
    system: &mut System,
    number: u32,
    flags: u32,
    version: &DataVersionRecord,
) -> Result<u64, (ErrorCode, u32, u64)> {
    let header = RollbackHeader {
        version: ROLLBACK_VERSION,
        total_length: (RollbackHeader::SIZE + RollbackVersion::SIZE) as u32,
        count: 1,
        data_count: 1,
        patches: [number, 0, 0, 0, 0, 0, 0, 0],
    };
    let lists = RollbackVersion {
        pairs_by_object: version.pairs_by_object,
        pair_count: version.pair_count,
        flags: 0,
        pairs_by_twin: version.pairs_by_twin,
        pages: version.pages,
        page_count: version.page_count,
        stage_step: version.stage_step,
        stage: version.stage,
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(lists.to_bytes());
    let address = system.place(&bytes);
    let flags = u64::from(flags) | (bytes.len() as u64) << 32;
    answer(system.raw(Call::Rollback, [NONCE, number.into(), flags, address]))
        .map(|[_, clear]| clear)
}

pub(super) fn drained(system: &mut System, code: u64) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
    drained_of(system, 1, code)
}

fn drained_of(
    system: &mut System,
    number: u64,
    code: u64,
) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
    system.call(Call::Drained, [NONCE, number, code, 0])
}

fn side(system: &System, address: u64, size: u64) -> Vec<u8> {
    system.guest.peek(address, size as usize)
}

/// Whether each twin holds what its object does, turned.
pub(super) fn assert_coherent(system: &System) {
    for pair in pairs() {
        let turned: Vec<u8> = side(system, pair.object, 8).iter().map(|byte| byte ^ TURN).collect();
        assert_eq!(side(system, pair.twin, 8), turned, "{pair:x?}");
    }
}

fn main_rights(system: &System, address: u64) -> Option<Rights> {
    system.guest.memory.rights(View::Main, system.guest.gpa(address))
}

/// Which of the pages of lists, stage, objects and twins the guest may not write.
pub(super) fn guarded(system: &System) -> [bool; 4] {
    [LISTS, STAGE, OBJECTS, TWINS]
        .map(|page| main_rights(system, page) == Some(Rights::ReadExecute))
}

/// State and guarded pages, as QUERY tells them; everything else is as it was said.
pub(super) fn status(system: &mut System) -> (u32, u32) {
    let record = status_record(system);
    assert_eq!(record.pairs, COUNT);
    (record.state, record.guarded_pages)
}

pub(super) fn status_record(system: &mut System) -> VersionStatus {
    let size = VersionStatus::SIZE as u64;
    let buffer = DATA + 4 * PAGE;
    assert_eq!(system.call(Call::Query, [7, 0, buffer, size]).map(|[length, _]| length), Ok(size));
    let record = VersionStatus::read(&system.guest.peek(buffer, VersionStatus::SIZE)).unwrap();
    let DataVersionRecord { object_size, twin_size, name, .. } = version();
    let said = (record.object_size, record.twin_size, record.name);
    assert_eq!(said, (object_size, twin_size, name));
    record
}

pub(super) const NOTHING: [bool; 4] = [false; 4];
pub(super) const BOTH: [bool; 4] = [true, false, true, true];

pub(super) fn trapped(system: &System) -> bool {
    system.guest.peek(start_of("plain") + 9, 1) == [TRAP]
}

#[test]
fn data_goes_to_twins_and_back() {
    let mut system = system();
    let twins = side(&system, TWINS, 80);
    assert_eq!(apply(&mut system, 0), Ok([1, 0]));
    assert_coherent(&system);
    assert_eq!(guarded(&system), BOTH);
    assert!(trapped(&system));
    assert_eq!(status(&mut system), (VersionState::Both.number(), 2));
    // What a twin has alone stays.
    assert_eq!(side(&system, TWINS + 8, 8), twins[8..16]);
    assert_eq!(drained(&mut system, 1), Err((ErrorCode::AlreadyApplied, DATA_ITEMS, 1)));
    assert_eq!(drained(&mut system, 2), Err((ErrorCode::Argument, NO_ITEM, 2)));
    assert!(drained(&mut system, 0).is_ok());
    assert_eq!(guarded(&system), NOTHING);
    assert_eq!(status(&mut system), (VersionState::New.number(), 0));
    // New code goes on with the twins.
    for pair in pairs() {
        system.guest.poke(pair.twin, &[0x11, 0x22]);
    }
    assert_eq!(rollback(&mut system, 0), Ok(0));
    assert_coherent(&system);
    assert_eq!(side(&system, OBJECTS, 2), [0x11 ^ TURN, 0x22 ^ TURN]);
    assert_eq!(guarded(&system), BOTH);
    assert!(!trapped(&system));
    assert!(drained(&mut system, 1).is_ok());
    assert_eq!(guarded(&system), NOTHING);
    // It comes again, and everything as before.
    assert_eq!(apply(&mut system, 0), Ok([2, 0]));
    assert_coherent(&system);
}

#[test]
fn nothing_is_guarded_when_nobody_is_inside() {
    let mut system = system();
    system.guest.pointers.insert(1, 0x777);
    assert_eq!(apply(&mut system, FLAG_CLEAR_ONLY), Ok([1, RESULT_CLEAR]));
    assert_coherent(&system);
    assert_eq!(guarded(&system), NOTHING);
    let [processor] = system.guest.manager.stopped[..] else { panic!("not one processor") };
    assert_eq!((processor.apic_id, processor.rip, processor.rsp), (6, 0x777, 0x5000));
    assert_eq!(processor.registers[14], 15);
    assert!(drained(&mut system, 0).is_ok(), "it is so before");
    system.guest.manager.inside = true;
    let occupied = Err((ErrorCode::Occupied, NO_ITEM, 0));
    assert_eq!(rollback(&mut system, ROLLBACK_CLEAR_ONLY), occupied);
    assert!(trapped(&system));
    system.guest.manager.inside = false;
    // One that is interrupted each time goes by steps, and may have more threads than it has steps for.
    for _ in 0..BUSY_MAX {
        system.guest.manager.tricks.push_back(Trick::Loops);
        let busy = Err((ErrorCode::Busy, NO_ITEM, 0));
        assert_eq!(rollback(&mut system, ROLLBACK_CLEAR_ONLY), busy);
    }
    system.guest.manager.tricks.push_back(Trick::Loops);
    assert_eq!(rollback(&mut system, ROLLBACK_CLEAR_ONLY), occupied);
    assert!(trapped(&system));
    assert_eq!(rollback(&mut system, ROLLBACK_CLEAR_ONLY), Ok(RESULT_CLEAR));
    assert!(!trapped(&system));
    system.guest.manager.inside = true;
    assert_eq!(apply(&mut system, FLAG_CLEAR_ONLY), Err((ErrorCode::Occupied, NO_ITEM, 0)));
    // One that cannot go back is never guarded.
    let lossy = DataVersionRecord { flags: DATA_LOSSY, ..version() };
    let occupied = Err((ErrorCode::Occupied, NO_ITEM, 0));
    assert_eq!(apply_version(&mut system, 0, lossy), occupied);
    assert_eq!(guarded(&system), NOTHING);
}

/// Each thing that a transfer function must not do has its error, and changes nothing.
#[test]
fn whatever_a_transfer_does_wrong_changes_nothing() {
    let fault = Event { vector: 14, error_code: Some(2) };
    let invalid = Event { vector: 6, error_code: None };
    let mut system = system();
    let written = system.guest.gpa(OBJECTS) + 5;
    for (trick, code, detail) in [
        (Trick::Raises(fault, 0x4040), ErrorCode::TransferFault, 0x4040),
        (Trick::Raises(invalid, 0x4040), ErrorCode::TransferFault, 6),
        (Trick::Writes(written), ErrorCode::TransferWrites, written),
        (Trick::Writes(0xfee0_0010), ErrorCode::TransferWrites, 0xfee0_0010),
        (Trick::Loops, ErrorCode::TransferLoops, 0),
        (Trick::Calls, ErrorCode::TransferCalls, 0),
        (Trick::Says(22, 0), ErrorCode::TransferRefused, 22),
        (Trick::Says(DONE_LAW_BROKEN, 7), ErrorCode::TransferLaw, 7),
    ] {
        let before = system.guest.memory.ram().clone();
        for times in 1..3 {
            system.guest.manager.tricks.push_back(trick);
            let refused = Err((code, DATA_ITEMS, detail));
            assert_eq!(apply(&mut system, 0), refused, "{trick:?} {times}");
            assert_eq!(guarded(&system), NOTHING, "{trick:?}");
            // The descriptor is the guest's own.
            let page = system.guest.gpa(DATA) >> 12;
            for (number, bytes) in system.guest.memory.ram() {
                let was = before.get(number);
                let zero = vec![0; 4096];
                let same = *number == page || was.unwrap_or(&zero) == bytes;
                assert!(same, "{trick:?} changed page {number:#x}");
            }
        }
    }
    // Numbers of what failed do not come again.
    assert_eq!(apply(&mut system, 0), Ok([17, 0]));
    // And back.
    drained_of(&mut system, 17, 0).unwrap();
    let objects = side(&system, OBJECTS, 40);
    system.guest.manager.tricks.push_back(Trick::Says(DONE_LAW_BROKEN, 3));
    let law = Err((ErrorCode::TransferLaw, DATA_ITEMS, 3));
    assert_eq!(rollback_of(&mut system, 17, 0), law);
    assert_eq!((side(&system, OBJECTS, 40), guarded(&system)), (objects, NOTHING));
    assert!(trapped(&system));
}

#[test]
fn an_upcall_begins_where_the_manager_said() {
    let mut system = system();
    system.guest.processor = 1;
    system.guest.manager.tricks.push_back(Trick::Walks);
    assert_eq!(apply(&mut system, 0), Ok([1, 0]));
    let [(start, runs)] = system.guest.manager.detours[..] else { panic!("not one upcall") };
    assert_eq!((start.rip, start.rsp, start.rflags), (ENTRY, UPCALLS + 7 * PAGE, 2));
    assert_eq!([start.rdi, start.rsi, start.rdx, start.rcx], [2, 1 << 32, 0, STAGE]);
    // A table, a missing page, and the end.
    assert_eq!(runs, 3);
}

#[test]
fn an_interrupt_in_a_long_transfer_lets_the_guest_come_again() {
    const MANY: u32 = 65;
    let mut system = system_of(MANY);
    let many = DataVersionRecord { pair_count: MANY, ..version() };
    let apply = |system: &mut System| apply_version(system, FLAG_CLEAR_ONLY, many);
    for time in 0..BUSY_MAX {
        // The witness, and the transfer.
        system.guest.manager.tricks.extend([Trick::Says(0, 0), Trick::Interrupted(1)]);
        let busy = Err((ErrorCode::Busy, DATA_ITEMS, 0));
        assert_eq!(apply(&mut system), busy, "{time}");
    }
    // Then it goes on by steps.
    system.guest.manager.tricks.extend([Trick::Says(0, 0), Trick::Interrupted(1)]);
    // Each try takes a number.
    let patch = u64::from(BUSY_MAX) + 1;
    assert_eq!(apply(&mut system), Ok([patch, RESULT_CLEAR]));
    assert_eq!(system.guest.manager.detours.last().unwrap().1, 2);
    // The next time it begins anew.
    system.guest.manager.tricks.extend([Trick::Says(0, 0), Trick::Interrupted(1)]);
    let busy = Err((ErrorCode::Busy, DATA_ITEMS, 0));
    assert_eq!(rollback_lists(&mut system, patch as u32, ROLLBACK_CLEAR_ONLY, &many), busy);
}

#[test]
fn lists_are_checked_before_anything_stops() {
    type Change = fn(&mut System);
    let cases: [(Change, (ErrorCode, u64)); 5] = [
        (|system| system.guest.poke(LISTS + 16, &[0; 8]), (ErrorCode::DataRange, 1)),
        (
            |system| system.guest.poke(LISTS + 16, &OBJECTS.to_le_bytes()),
            (ErrorCode::PairsOrder, 1),
        ),
        (
            |system| system.guest.poke(LISTS + 16, &(OBJECTS + 7).to_le_bytes()),
            (ErrorCode::PairsOverlap, 1),
        ),
        (
            |system| system.guest.poke(BY_TWIN, &(OBJECTS + 1).to_le_bytes()),
            (ErrorCode::PairsOrder, 1 << 32),
        ),
        (
            |system| system.guest.poke(PAGES, &(OBJECTS - PAGE).to_le_bytes()),
            (ErrorCode::PairsOrder, 0),
        ),
    ];
    for (number, (change, (code, detail))) in cases.into_iter().enumerate() {
        let mut system = system();
        change(&mut system);
        let text = system.guest.text();
        let result = apply(&mut system, 0);
        assert_eq!(result, Err((code, DATA_ITEMS, detail)), "{number}");
        assert_eq!((system.guest.text(), guarded(&system)), (text, NOTHING), "{number}");
        assert!(system.guest.manager.detours.is_empty());
    }
    let mut system = system();
    let nowhere = DATA + 40 * PAGE;
    for version in [
        DataVersionRecord { pairs_by_twin: nowhere, ..version() },
        DataVersionRecord { stage: nowhere, ..version() },
    ] {
        let result = apply_version(&mut system, 0, version);
        assert!(matches!(result, Err((ErrorCode::Address, DATA_ITEMS, _))), "{result:?}");
        assert_eq!(guarded(&system), NOTHING);
    }
    // A stage where upcalls have their pages.
    let stolen = DataVersionRecord { stage: UPCALLS + 2 * PAGE, ..version() };
    let result = apply_version(&mut system, 0, stolen);
    assert_eq!(result, Err((ErrorCode::DataOverlap, DATA_ITEMS, UPCALLS + 2 * PAGE)));
}

#[test]
fn without_upcalls_no_data_is_moved() {
    let mut system = System::new();
    let missing = Err((ErrorCode::UpcallMissing, DATA_ITEMS, 0));
    assert_eq!(apply(&mut system, 0), missing);
    let mut system = self::system();
    let one = RegistrationRecord { processors: 1, ..with_upcalls() };
    system.register(&one, NONCE).unwrap();
    system.guest.processor = 1;
    assert_eq!(apply(&mut system, 0), Err((ErrorCode::UpcallMissing, DATA_ITEMS, 1)));
    // The other processor's pages are its own again.
    assert_eq!(main_rights(&system, UPCALLS + 6 * PAGE), Some(Rights::All));
    assert_eq!(main_rights(&system, UPCALLS + 5 * PAGE), Some(Rights::ReadExecute));
}

#[test]
fn pages_of_upcalls_are_lent_and_given_back() {
    let mut system = system();
    let confined = |system: &System, page: u64| {
        system.guest.memory.rights(View::Confined, system.guest.gpa(UPCALLS + page * PAGE))
    };
    for page in 0..12 {
        assert_eq!(main_rights(&system, UPCALLS + page * PAGE), Some(Rights::ReadExecute));
        let written = matches!(page % 6, 0 | 1);
        let rights = if written { Rights::All } else { Rights::ReadExecute };
        assert_eq!(confined(&system, page), Some(rights), "{page}");
    }
    apply(&mut system, 0).unwrap();
    let unsettled = Err((ErrorCode::NotSettled, NO_ITEM, 1));
    assert_eq!(system.call(Call::Unregister, [NONCE, 0, 0, 0]), unsettled);
    drained(&mut system, 0).unwrap();
    system.call(Call::Unregister, [NONCE, 0, 0, 0]).unwrap();
    for page in 0..12 {
        assert_eq!(main_rights(&system, UPCALLS + page * PAGE), Some(Rights::All));
        assert_eq!(confined(&system, page), Some(Rights::ReadExecute));
    }
    // Pages that are not there.
    let nowhere = RegistrationRecord { upcall_pages: DATA + 31 * PAGE, ..with_upcalls() };
    let result = system.register(&nowhere, NONCE);
    assert!(matches!(result, Err((ErrorCode::Address, NO_ITEM, _))), "{result:?}");
    assert_eq!(main_rights(&system, UPCALLS), Some(Rights::All));
}
