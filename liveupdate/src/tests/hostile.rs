//! A guest that hands over anything at all.

use super::guest::{DATA, Guest, MODULE, NONCE, Pages, SPACE, System, TEXT, descriptor, record};
use crate::service::Liveupdate;
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::Part;
use lucos_guest_interface::call::{Call, MAX_GROUP_LENGTH, NO_ITEM};
use lucos_service::{LiveupdateReply, LiveupdateRequest};
use lucos_x86_code::jump::TRAP;
use proptest::prelude::*;

#[test]
fn calls_of_vmx_and_unknown_ones_are_not_ours() {
    let mut system = System::bare();
    for number in [0, 9, 15, 0x7fff, 0xffff] {
        let request =
            LiveupdateRequest::Hypercall { number, arguments: [0; 4], space: SPACE, again: false };
        let reply = system.task.answer(&mut system.guest, &request);
        assert_eq!(reply, LiveupdateReply::NoSuchHypercall, "{number}");
    }
}

/// An upcall ends with DONE, and there is none.
#[test]
fn done_means_nothing_without_an_upcall() {
    let mut system = System::new();
    let refused = Err((ErrorCode::Unsupported, NO_ITEM, Call::Done.number().into()));
    assert_eq!(system.call(Call::Done, [NONCE, 0, 0, 0]), refused);
}

#[test]
fn lengths_and_addresses_are_checked_before_anything_is_copied() {
    let mut system = System::new();
    for length in [0, 55, MAX_GROUP_LENGTH as u64 + 1, u64::MAX] {
        let refused = Err((ErrorCode::Length, NO_ITEM, length));
        assert_eq!(system.call(Call::Apply, [NONCE, DATA, length, 0]), refused);
    }
    let long = MAX_GROUP_LENGTH as u64;
    let behind = DATA + 32 * 0x1000;
    let refused = Err((ErrorCode::Address, NO_ITEM, behind));
    assert_eq!(system.call(Call::Apply, [NONCE, behind - 4096, long, 0]), refused);
    let wraps = system.call(Call::Apply, [NONCE, u64::MAX - 10, long, 0]);
    assert!(matches!(wraps, Err((ErrorCode::Address, NO_ITEM, _))));
}

#[test]
fn a_function_as_long_as_everything_is_refused() {
    let mut system = System::new();
    let mut function = record("plain", 0x100);
    function.old_size = 0x2000;
    // The whole text with all its functions: the broken one is in it.
    let answer = system.apply("fix", &[function]);
    assert!(matches!(answer, Err((ErrorCode::Decode, 0, _))), "{answer:?}");
}

#[test]
fn one_caller_at_a_time() {
    let mut system = System::new();
    let bytes = descriptor("fix", &[record("plain", 0x100)]);
    let address = system.place(&bytes);
    let _held = system.task.hold();
    let request = |call: Call, arguments| LiveupdateRequest::Hypercall {
        number: call.number() as u16,
        arguments,
        space: SPACE,
        again: false,
    };
    let apply = request(Call::Apply, [NONCE, address, bytes.len() as u64, 0]);
    let busy = ErrorCode::Busy.register_value();
    let reply = system.task.answer(&mut system.guest, &apply);
    assert_eq!(reply, LiveupdateReply::Results([busy, NONCE, NO_ITEM.into(), 0]));
    // Traps and the log do not wait.
    let rip = TEXT;
    let trap = LiveupdateRequest::InvalidOpcode { rip, space: SPACE, cpl: 0 };
    let reply = system.task.answer(&mut system.guest, &trap);
    assert_eq!(reply, LiveupdateReply::NotOurs);
    // What others have logged is shared by all tests, and limited.
    system.guest.log = b"a line of the log\n".to_vec();
    let log = request(Call::Log, [0, 0, DATA, 10]);
    let reply = system.task.answer(&mut system.guest, &log);
    assert!(matches!(reply, LiveupdateReply::Results([10, ..])));
}

#[test]
fn without_a_journal_nothing_is_done() {
    let mut system =
        System { guest: Guest::new(), task: Liveupdate::new(Pages(vec![0; 4096]), 2, 0) };
    assert!(system.task.journal_error().is_some());
    let answer = system.register(&super::guest::registration(), NONCE);
    assert_eq!(answer, Err((ErrorCode::Internal, NO_ITEM, Part::Journal as u64)));
    assert_eq!(system.invalid_opcode(TEXT, 0), LiveupdateReply::NotOurs);
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(NONCE),
        Just(u64::MAX),
        0..200_u64,
        any::<u64>(),
        (0..0x2000_u64).prop_map(|offset| TEXT + offset),
        (0..0x2000_u64).prop_map(|offset| MODULE + offset),
        (0..0x22000_u64).prop_map(|offset| DATA + offset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_calls_change_nothing_and_fault_nothing(
        calls in prop::collection::vec((1..10_u16, [number(), number(), number(), number()]), 1..40),
        data in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut system = System::new();
        system.place(&data);
        let original = system.guest.text();
        for (number, arguments) in calls {
            let space = SPACE;
            // A random UNREGISTER with the right nonce is a right one.
            let request = LiveupdateRequest::Hypercall { number, arguments, space, again: false };
            system.task.answer(&mut system.guest, &request);
            prop_assert!(!system.guest.stopped);
        }
        prop_assert_eq!(system.guest.text(), original);
        prop_assert!(!system.guest.intercept);
    }

    #[test]
    fn a_changed_descriptor_is_applied_whole_or_not_at_all(
        changes in prop::collection::vec((0..640_usize, any::<u8>()), 1..4),
    ) {
        let mut system = System::new();
        let original = system.guest.text();
        let functions = [record("plain", 0x100), record("long_first", 0x200)];
        let mut bytes = descriptor("fix", &functions);
        for (place, value) in changes {
            let length = bytes.len();
            bytes[place % length] = value;
        }
        let applied = system.apply_bytes(&bytes);
        let now = system.guest.text();
        let traps = now.iter().zip(&original).filter(|(now, then)| now != then);
        let expected = match applied {
            Ok([_, 0]) | Err(_) => 0,
            Ok(_) => 2,
        };
        prop_assert_eq!(traps.count(), expected, "{:?}", applied);
        if expected == 2 {
            prop_assert!(now.contains(&TRAP));
            system.rollback(1).unwrap();
            prop_assert_eq!(system.guest.text(), original);
        }
    }

    #[test]
    fn random_code_is_judged_without_a_fault(
        code in prop::collection::vec(any::<u8>(), 64),
        site_offset in 0..64_u32,
        expected_length in 0..4_u32,
    ) {
        let mut system = System::new();
        let start = super::guest::start_of("plain");
        system.guest.poke(start, &code);
        let original = system.guest.text();
        let mut function = record("plain", 0x100);
        function.site_offset = site_offset;
        function.flags = 0;
        function.expected_length = expected_length.min(64 - site_offset);
        if system.apply("fix", &[function]).is_ok() {
            let _ = system.jump(1, 0);
            system.rollback(1).unwrap();
        }
        prop_assert_eq!(system.guest.text(), original);
    }
}
