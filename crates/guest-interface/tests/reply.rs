//! Replies of the update manager: what is accepted keeps what its records promise.

use lucos_guest_interface::call::Cause;
use lucos_guest_interface::reply::{
    Event, EventKind, Failure, Inside, Item, LoadOutcome, LoadedFunction, LoadedPatch, LoadedState,
    ManagerStatus, MeasuredStops, Probation, RecordKind, ReplyBuilder, ReplyFault, TwinCount, read,
};
use lucos_guest_interface::status::{ExitCounters, STATUS_VERSION, ValueStatus};
use lucos_guest_interface::{ErrorCode, name};
use proptest::prelude::*;

fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, ReplyFault> {
    read(bytes)?.collect()
}

fn one(kind: RecordKind, record: &[u8]) -> Vec<u8> {
    ReplyBuilder::default().record(kind, record).build()
}

fn patch() -> LoadedPatch {
    LoadedPatch {
        state: LoadedState::Applied.number(),
        number: 1,
        functions: 2,
        overridden: 1,
        name: name::field("fix").unwrap(),
        module: name::field("fix_ko").unwrap(),
        description: [0; 128],
    }
}

#[test]
fn records_come_back_in_their_order() {
    let stops = MeasuredStops { stops: 3, longest: 4000 };
    let reply = ReplyBuilder::default()
        .record(RecordKind::Loaded, &patch().to_bytes())
        .record(RecordKind::Stops, &stops.to_bytes())
        .log(7, b"text")
        .build();
    let expected = [Item::Loaded(patch()), Item::Stops(stops), Item::Log(7, b"text")];
    assert_eq!(items(&reply).unwrap(), expected);
    assert_eq!(items(&ReplyBuilder::default().build()), Ok(Vec::new()));
}

#[test]
fn a_reply_is_as_long_as_it_says() {
    let reply = one(RecordKind::Loaded, &patch().to_bytes());
    for length in 0..reply.len() {
        assert_eq!(items(&reply[..length]), Err(ReplyFault::Length), "{length}");
    }
    let mut longer = reply.clone();
    longer.push(0);
    assert_eq!(items(&longer), Err(ReplyFault::Length));
    // Bytes that belong to no record, and a record that is not there.
    for records in [0, 2] {
        let mut wrong = reply.clone();
        wrong[4] = records;
        assert_eq!(items(&wrong), Err(ReplyFault::Length), "{records}");
    }
    let mut newer = reply;
    newer[0] = 2;
    assert_eq!(items(&newer), Err(ReplyFault::Version(2)));
}

#[test]
fn a_record_has_its_kind_and_size() {
    let mut unknown = one(RecordKind::Stops, &MeasuredStops::default().to_bytes());
    unknown[16] = 0;
    assert_eq!(items(&unknown), Err(ReplyFault::Kind(0)));
    let longer = [0; MeasuredStops::SIZE + 8];
    let reply = one(RecordKind::Stops, &longer);
    assert_eq!(items(&reply), Err(ReplyFault::Size(RecordKind::Stops)));
    assert_eq!(items(&one(RecordKind::Stops, &[0; 8])), Err(ReplyFault::Size(RecordKind::Stops)));
}

#[test]
fn every_field_is_checked() {
    let wrong = |kind, record: &[u8], field| {
        let fault = items(&one(kind, record)).unwrap_err();
        assert_eq!(fault, ReplyFault::Field(kind, field));
    };
    let edit = |change: fn(&mut LoadedPatch)| {
        let mut record = patch();
        change(&mut record);
        record.to_bytes()
    };
    wrong(RecordKind::Loaded, &edit(|patch| patch.state = 7), "state");
    wrong(RecordKind::Loaded, &edit(|patch| patch.overridden = 3), "overridden");
    wrong(RecordKind::Loaded, &edit(|patch| patch.name[1] = b' '), "name");
    wrong(RecordKind::Loaded, &edit(|patch| patch.module[63] = 1), "module");
    wrong(RecordKind::Loaded, &edit(|patch| patch.description = [b'x'; 128]), "description");
    let failure = Failure { code: 1, ..Failure::default() };
    wrong(RecordKind::Failure, &Failure { code: 0, ..failure }.to_bytes(), "code");
    wrong(RecordKind::Failure, &Failure { reserved: 1, ..failure }.to_bytes(), "reserved field");
    let outcome = |verdict, reserved| LoadOutcome { verdict, reserved }.to_bytes();
    wrong(RecordKind::Outcome, &outcome(5, 0), "verdict");
    wrong(RecordKind::Outcome, &outcome(1, 1), "reserved field");
    let function = LoadedFunction::default();
    wrong(
        RecordKind::Function,
        &LoadedFunction { at_slot: 9999, ..function }.to_bytes(),
        "at_slot",
    );
    wrong(
        RecordKind::Function,
        &LoadedFunction { overridden: 2, ..function }.to_bytes(),
        "overridden",
    );
    let mut twins = TwinCount::default();
    twins.name[63] = 1;
    wrong(RecordKind::Twins, &twins.to_bytes(), "name");
    let inside = |change: fn(&mut Inside)| {
        let mut record =
            Inside { thread: 1, reserved: 0, seconds: 0, name: [0; 64], place: [0; 128] };
        change(&mut record);
        record.to_bytes()
    };
    wrong(RecordKind::Inside, &inside(|inside| inside.reserved = 1), "reserved field");
    wrong(RecordKind::Inside, &inside(|inside| inside.name[63] = 1), "name");
    wrong(RecordKind::Inside, &inside(|inside| inside.place[127] = 1), "place");
    let probation = |seconds, reserved| Probation { seconds, reserved }.to_bytes();
    wrong(RecordKind::Probation, &probation(0, 0), "seconds");
    wrong(RecordKind::Probation, &probation(1, 1), "reserved field");
    let mut exits = ExitCounters { version: STATUS_VERSION, count: 1, ..Default::default() };
    exits.counters[1] = 1;
    wrong(RecordKind::Exits, &exits.to_bytes(), "count");
    exits.count = 25;
    wrong(RecordKind::Exits, &exits.to_bytes(), "count");
}

#[test]
fn an_event_has_the_code_of_its_kind() {
    let name = name::field("fix").unwrap();
    let busy = ErrorCode::Busy.number();
    for (kind, code, is_right) in [
        (EventKind::Applied, 0, true),
        (EventKind::RolledBack, busy, false),
        (EventKind::Refused, busy, true),
        (EventKind::NotRolledBack, 0, false),
        (EventKind::Withdrawn, Cause::Oops.number(), true),
        (EventKind::Withdrawn, busy, false),
    ] {
        let event = Event { kind: kind.number(), code, name, ..Event::default() };
        let reply = one(RecordKind::Event, &event.to_bytes());
        let expected = match is_right {
            true => Ok(vec![Item::Event(event)]),
            false => Err(ReplyFault::Field(RecordKind::Event, "code")),
        };
        assert_eq!(items(&reply), expected, "{kind:?}");
    }
    let unknown = Event { kind: 6, name, ..Event::default() };
    let fault = items(&one(RecordKind::Event, &unknown.to_bytes())).unwrap_err();
    assert_eq!(fault, ReplyFault::Field(RecordKind::Event, "kind"));
    let value = ValueStatus { version: STATUS_VERSION, length: 1, name, ..ValueStatus::default() };
    assert!(items(&one(RecordKind::Value, &value.to_bytes())).is_ok());
    for (wrong, field) in [
        (ValueStatus { version: 0, ..value }, "version"),
        (ValueStatus { state: 5, ..value }, "state"),
        (ValueStatus { length: 0, ..value }, "length"),
        (ValueStatus { length: 17, ..value }, "length"),
        (ValueStatus { name: [0; 64], ..value }, "name"),
    ] {
        let fault = items(&one(RecordKind::Value, &wrong.to_bytes())).unwrap_err();
        assert_eq!(fault, ReplyFault::Field(RecordKind::Value, field));
    }
}

#[test]
fn the_log_is_filled_up_with_zeros() {
    let reply = ReplyBuilder::default().log(0, b"five!").build();
    for (place, fault) in [(16 + 8 + 8, b'x'), (reply.len() - 1, 1)] {
        let mut wrong = reply.clone();
        wrong[place] = fault;
        assert_eq!(items(&wrong), Err(ReplyFault::Size(RecordKind::Log)), "{place}");
    }
    let end = ReplyBuilder::default().log(u64::MAX, b"!").build();
    assert_eq!(items(&end), Err(ReplyFault::Field(RecordKind::Log, "offset")));
}

proptest! {
    /// A reply that is changed anywhere is read to its end or refused; nothing else happens.
    #[test]
    fn any_bytes_are_read_or_refused(
        place in 0_usize..600, value in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..64)
    ) {
        let manager = ManagerStatus { interface: 2, overridden: 0 };
        let code = ErrorCode::Busy.number();
        let mut reply = ReplyBuilder::default()
            .record(RecordKind::Manager, &manager.to_bytes())
            .record(RecordKind::Loaded, &patch().to_bytes())
            .record(RecordKind::Failure, &Failure { code, ..Failure::default() }.to_bytes())
            .log(1, &bytes)
            .build();
        let count = items(&reply).unwrap().len();
        if let Some(byte) = reply.get_mut(place) {
            *byte = value;
        }
        if let Ok(items) = items(&reply) {
            prop_assert_eq!(items.len(), count);
        }
        let _ = items(&bytes);
    }
}
