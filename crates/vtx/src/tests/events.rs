//! Events, both ways.

use lucos_abi::object::Event;
use lucos_vcpu::event::{exception, nmi};
use x86::vmx::vmcs::{control, guest, ro};

use super::{Fake, ready};
use crate::{Vmcs, deliver, interrupt_is_held, interrupted_event, nmi_is_held};

fn delivered(vmcs: Fake, event: u64, length: u8) -> (Fake, u64, u64) {
    let mut vmcs = vmcs;
    deliver(&mut vmcs, event, length);
    let info = vmcs.read(control::VMENTRY_INTERRUPTION_INFO_FIELD);
    let code = vmcs.read(control::VMENTRY_EXCEPTION_ERR_CODE);
    (vmcs, info, code)
}

#[test]
fn events_are_encoded_as_the_manual_says() {
    let of = |vector, error_code| exception(Event { vector, error_code });
    for (event, length, info, code) in [
        (of(6, None), 0, 0x8000_0306, 0),
        (of(13, Some(0x18)), 2, 0x8000_0b0d, 0x18),
        (nmi(), 0, 0x8000_0202, 0),
        (0x8000_0041, 0, 0x8000_0041, 0),
        (of(3, None), 1, 0x8000_0603, 0),
        (of(4, None), 0, 0x8000_0604, 0),
        (0, 3, 0, 0),
    ] {
        let (vmcs, found, error) = delivered(ready().0, event, length);
        assert_eq!((found, error), (info, code), "{event:#x}");
        if info >> 8 & 7 == 6 {
            assert_eq!(vmcs.read(control::VMENTRY_INSTRUCTION_LEN), 1);
        }
    }
}

#[test]
fn what_was_to_be_delivered_is_taken_back() {
    let (vmcs, ..) = delivered(ready().0, nmi(), 0);
    assert_eq!(delivered(vmcs, 0, 0).1, 0);
}

#[test]
fn an_entry_takes_the_state_around_an_event() {
    let halted = ready().0.with(&[(guest::ACTIVITY_STATE, 1)]);
    let (vmcs, ..) = delivered(halted, exception(Event { vector: 13, error_code: Some(0) }), 0);
    assert_eq!(vmcs.read(guest::ACTIVITY_STATE), 0);
    let shadow = ready().0.with(&[(guest::INTERRUPTIBILITY_STATE, 1)]);
    assert_eq!(delivered(shadow, nmi(), 0).0.read(guest::INTERRUPTIBILITY_STATE), 0);
    let detects = ready().0.with(&[(guest::DR7, 0x2402)]);
    assert_eq!(delivered(detects, exception(Event::SINGLE_STEP), 0).0.read(guest::DR7), 0x402);
    let real = ready().0.with(&[(guest::CR0, 0x20)]);
    let (_, info, _) = delivered(real, exception(Event { vector: 13, error_code: Some(0) }), 0);
    assert_eq!(info, 0x8000_030d, "no error code in real mode");
}

#[test]
fn an_interrupted_event_is_delivered_again_unless_its_instruction_repeats() {
    for (info, code, expected) in [
        (0x8000_0041, 7, Some(0x8000_0041)),
        (0x8000_0202, 7, Some(0x8000_0202)),
        (0x8000_0b0e, 2, Some(0x2_8000_0b0e)),
        (0x8000_1b0e, 2, Some(0x2_8000_0b0e)),
        (0x8000_0306, 2, Some(0x8000_0306)),
        (0x8000_0480, 0, None),
        (0x8000_0501, 0, None),
        (0x8000_0603, 0, None),
        (0x0000_0041, 0, None),
    ] {
        let (mut vmcs, _) = ready();
        vmcs.write(ro::IDT_VECTORING_INFO, info);
        vmcs.write(ro::IDT_VECTORING_ERR_CODE, code);
        vmcs.write(guest::INTERRUPTIBILITY_STATE, 8);
        assert_eq!(interrupted_event(&mut vmcs), expected, "{info:#x}");
        assert_eq!(nmi_is_held(&vmcs), expected != Some(nmi()), "its handler has not begun");
    }
}

#[test]
fn events_wait_for_what_holds_them() {
    for (state, rflags, nmi, interrupt) in [
        (0, 0x202, false, false),
        (0, 2, false, true),
        (1, 0x202, false, true),
        (2, 0x202, true, true),
        (8, 0x202, true, false),
    ] {
        let vmcs =
            ready().0.with(&[(guest::INTERRUPTIBILITY_STATE, state), (guest::RFLAGS, rflags)]);
        assert_eq!((nmi_is_held(&vmcs), interrupt_is_held(&vmcs)), (nmi, interrupt), "{state}");
    }
}
