//! Exits in words that hold for every vendor.

use lucos_abi::object::{Access, Event, ExitReason, PortAccess};
use x86::vmx::vmcs::{guest, ro};

use super::{Fake, ready};
use crate::{
    Basic, Vmcs, debug_status, exit_reason, has_failed, instruction_length, is_nmi, is_of_cr0,
    set_debug_status,
};

fn exit(reason: u64, qualification: u64) -> Fake {
    let fields = [(ro::EXIT_REASON, reason), (ro::EXIT_QUALIFICATION, qualification)];
    ready().0.with(&fields).with(&[(ro::VMEXIT_INSTRUCTION_LEN, 3)])
}

#[test]
fn each_exit_has_its_word() {
    let port = PortAccess { port: 0x605, size: 2, input: true, string: false };
    let strings = PortAccess { port: 0x80, size: 1, input: false, string: true };
    for (reason, qualification, expected) in [
        (1, 0, ExitReason::Interrupted),
        (2, 0, ExitReason::Shutdown),
        (3, 0, ExitReason::Init),
        (13, 0, ExitReason::InvalidateCaches),
        (18, 0, ExitReason::Hypercall),
        (30, 0x0605_0009, ExitReason::Port(port)),
        (30, 0x0080_0010, ExitReason::Port(strings)),
        (31, 0, ExitReason::ReadMsr),
        (32, 0, ExitReason::WriteMsr),
        (0x8000_0021, 0, ExitReason::InvalidState),
        (12, 5, ExitReason::Other { code: 12, info1: 5, info2: 0 }),
        (29, 5, ExitReason::Other { code: 29, info1: 5, info2: 0 }),
    ] {
        assert_eq!(exit_reason(&mut exit(reason, qualification)), expected, "{reason}");
    }
    for reason in [11, 19, 20, 21, 22, 23, 24, 25, 26, 27, 50, 53, 59] {
        assert_eq!(exit_reason(&mut exit(reason, 0)), ExitReason::Virtualization, "{reason}");
    }
    assert!(has_failed(&exit(0x8000_0021, 0)) && !has_failed(&exit(48, 0)));
    assert!(is_of_cr0(&exit(28, 0x300)) && !is_of_cr0(&exit(28, 0x304)));
}

#[test]
fn exceptions_and_nmis_are_told_apart() {
    let of = |info, code| {
        exit(0, 0)
            .with(&[(ro::VMEXIT_INTERRUPTION_INFO, info), (ro::VMEXIT_INTERRUPTION_ERR_CODE, code)])
    };
    assert!(is_nmi(&of(0x8000_0202, 0)) && !is_nmi(&of(0x8000_0306, 0)));
    assert!(!is_nmi(&exit(8, 0).with(&[(ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0202)])));
    let invalid = Event { vector: 6, error_code: None };
    assert_eq!(exit_reason(&mut of(0x8000_0306, 9)), ExitReason::Exception(invalid));
    let fault = Event { vector: 14, error_code: Some(2) };
    assert_eq!(exit_reason(&mut of(0x8000_0b0e, 2)), ExitReason::Exception(fault));
}

#[test]
fn the_exception_of_int1_comes_behind_it() {
    let mut vmcs = exit(0, 0).with(&[
        (ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0501),
        (ro::VMEXIT_INSTRUCTION_LEN, 1),
        (guest::RIP, 0x1000),
    ]);
    assert_eq!(debug_status(&vmcs), None, "no step");
    assert_eq!(exit_reason(&mut vmcs), ExitReason::Exception(Event::SINGLE_STEP));
    assert_eq!(vmcs.read(guest::RIP), 0x1001);
}

#[test]
fn debug_exceptions_say_in_dr6_what_they_are() {
    let vmcs = exit(0, 0xffff_4001).with(&[(ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0301)]);
    let told = debug_status(&vmcs);
    assert_eq!(told, Some(0x4001));
    let (_, mut general) = ready();
    general.dr6 |= 4;
    set_debug_status(&mut general, 0x4001);
    assert_eq!(general.dr6, 0xffff_4ff1);
}

#[test]
fn an_ept_violation_tells_what_was_done() {
    let none = Access::default();
    for (qualification, vectoring, expected) in [
        (0x182, 0, Access { write: true, ..none }),
        (0x1aa, 0, Access { write: true, present: true, ..none }),
        (0x184, 0, Access { execute: true, ..none }),
        (0x0ab, 0, Access { write: true, present: true, table_walk: true, ..none }),
        (0x181, 0x8000_0b0e, Access { delivery: true, ..none }),
        // Without an address nothing is known of a walk.
        (0x001, 0, none),
    ] {
        let mut vmcs = exit(48, qualification).with(&[
            (ro::GUEST_PHYSICAL_ADDR_FULL, 0x1234_5678),
            (ro::IDT_VECTORING_INFO, vectoring),
        ]);
        let expected = ExitReason::NestedFault { gpa: 0x1234_5678, access: expected };
        assert_eq!(exit_reason(&mut vmcs), expected, "{qualification:#x}");
    }
}

#[test]
fn an_iret_that_faulted_has_let_no_nmi_in() {
    const TOLD: u64 = 1 << 12;
    for (told, vectoring, held) in [(TOLD, 0, 8), (0, 0, 0), (TOLD, 0x8000_0b0e, 0)] {
        let fields = [(ro::IDT_VECTORING_INFO, vectoring)];
        let mut violation = exit(48, 0x182 | told).with(&fields);
        exit_reason(&mut violation);
        assert_eq!(violation.read(guest::INTERRUPTIBILITY_STATE), held);
        let mut fault = exit(0, 0).with(&fields);
        fault.write(ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0b0d | told);
        exit_reason(&mut fault);
        assert_eq!(fault.read(guest::INTERRUPTIBILITY_STATE), held);
    }
}

#[test]
fn instructions_have_a_length_and_other_exits_have_none() {
    for reason in [10, 13, 18, 27, 28, 30, 31, 32, 50, 53, 54, 55] {
        assert_eq!(instruction_length(&exit(reason, 0)), 3, "{reason}");
    }
    for reason in [0, 1, 2, 3, 7, 8, 48, 49, 52] {
        assert_eq!(instruction_length(&exit(reason, 0)), 0, "{reason}");
    }
    assert_eq!(Basic::of(&exit(0x8000_0021, 0)), Basic::INVALID_STATE);
}
