//! What the kernel says to calls that are not allowed or not well formed.
//!
//! The suite's own capabilities: log (write), machine (read, reset), vCPU (write), both assists (call). It has
//! none for the guest space, guest memory and journal.

use crate::suite::{ASSIST, Suite};
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Object;
use lucos_abi::message::{MESSAGE_SIZE, encode};
use lucos_abi::object::{LogRequest, MachineRequest, SpaceRequest, VcpuRequest, View};
use lucos_runtime::call_status;
use serde::Serialize;

/// Runs the tests of this module.
pub fn run(suite: &mut Suite) {
    capabilities(suite);
    malformed(suite);
    numbers(suite);
}

/// Sends a request to a slot, whatever is behind it.
fn send<T: Serialize>(suite: &mut Suite, slot: u64, request: &T) -> Option<CallStatus> {
    let mut bytes = [0; MESSAGE_SIZE];
    let length = encode(request, &mut bytes).unwrap_or(0);
    send_bytes(suite, slot, bytes.get(..length).unwrap_or(&[]))
}

fn send_bytes(suite: &mut Suite, slot: u64, bytes: &[u8]) -> Option<CallStatus> {
    let (status, _) = suite.thread.call_bytes(slot, bytes, bytes.len() as u64);
    call_status(status)
}

fn capabilities(suite: &mut Suite) {
    let space = SpaceRequest::Set {
        view: View::Main,
        start: 0,
        length: 4096,
        read: true,
        write: true,
        execute: true,
    };
    let found = send(suite, Object::GuestSpace.slot(), &space);
    suite.check("no_capability", found, Some(CallStatus::NoCapability));
    let found = send(suite, 99, &space);
    suite.check("no_such_slot", found, Some(CallStatus::NoCapability));
    let found = send(suite, u64::MAX, &space);
    suite.check("wild_slot", found, Some(CallStatus::NoCapability));
    let stop = MachineRequest::Stop { deadline: 1 };
    let found = send(suite, Object::Machine.slot(), &stop);
    suite.check("missing_right_stop", found, Some(CallStatus::MissingRight));
    for request in [VcpuRequest::Confined { registers: &[], steps: 1 }, VcpuRequest::Return] {
        let found = send(suite, Object::Vcpu.slot(), &request);
        suite.check("missing_right_confine", found, Some(CallStatus::MissingRight));
    }
    let text = LogRequest::Write { text: "for the log" };
    let found = send(suite, Object::Machine.slot(), &text);
    suite.check("wrong_object", found, Some(CallStatus::BadMessage));
}

fn malformed(suite: &mut Suite) {
    let machine = Object::Machine.slot();
    // `Stop { deadline: 300 }`: variant 0, varint 300.
    let whole = [0, 0xac, 0x02];
    let cases: [(&str, &[u8]); 6] = [
        ("message_empty", &[]),
        ("message_truncated", &whole[..2]),
        ("message_trailing_bytes", &[0, 0xac, 0x02, 0]),
        ("message_padded_varint", &[0, 0x85, 0x00]),
        ("message_unknown_variant", &[200]),
        ("message_endless_varint", &[0xff; 16]),
    ];
    for (name, bytes) in cases {
        let found = send_bytes(suite, machine, bytes);
        suite.check(name, found, Some(CallStatus::BadMessage));
    }
    let found = send_bytes(suite, machine, &whole);
    suite.check("message_whole", found, Some(CallStatus::MissingRight));
    for (name, length) in
        [("message_too_long", MESSAGE_SIZE as u64 + 1), ("message_wild_length", u64::MAX)]
    {
        for (object, suffix) in [(Object::Machine, "kernel"), (ASSIST, "task")] {
            let (status, _) = suite.thread.call_bytes(object.slot(), &[], length);
            let found = (suffix, call_status(status));
            suite.check(name, found, (suffix, Some(CallStatus::TooLong)));
        }
    }
}

fn numbers(suite: &mut Suite) {
    for (name, number) in [("call_number_3", 3), ("call_number_wild", u64::MAX)] {
        let found = call_status(suite.thread.call_number(number));
        suite.check(name, found, Some(CallStatus::NoSuchCall));
    }
}
