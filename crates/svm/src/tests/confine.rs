//! What a confined run gives the guest, and what it takes back.

use lucos_abi::registers::Registers;
use proptest::prelude::*;

use super::ready;
use crate::{Assists, Confinement, Intercepts, Vmcb};
use lucos_vcpu::Stepped;
use lucos_vcpu::event::nmi;

const STEP: Confinement =
    Confinement { asid: 2, nested_root: 0x7e10_0000, flush: true, step: true };

const TRAP: u64 = 1 << 8;
const SINGLE_STEP: u64 = 1 << 14;
const DEBUG: u64 = 0x41;

/// A guest and the copy that follows it.
fn pair() -> (Vmcb, Vmcb) {
    let (mut guest, _) = ready(Assists::all());
    guest.inject(nmi());
    guest.control.interrupt_shadow = 1;
    guest.set_intercepts(Intercepts::IRET, true);
    let mut copy = Vmcb::default();
    copy.follow(&guest);
    (guest, copy)
}

#[test]
fn a_confined_run_has_tables_of_its_own_and_no_events() {
    for step in [true, false] {
        let (guest, mut copy) = pair();
        let before = guest.clone();
        copy.confine(&guest.control, Confinement { step, ..STEP });
        assert_eq!(guest, before, "the guest's own stays");
        let control = &copy.control;
        assert_eq!((control.asid, control.nested_root, control.tlb_control), (2, 0x7e10_0000, 1));
        assert_eq!((control.event_injection, control.interrupt_shadow), (0, 1));
        let registers = (control.intercept_cr, control.intercept_dr);
        assert_eq!((control.intercept_exceptions, registers), (u32::MAX, (u32::MAX, u32::MAX)));
        assert_eq!(control.virtual_interrupts, 1 << 24);
        let intercepts = copy.intercepts();
        assert_eq!(intercepts.contains(Intercepts::INTR), !step);
        assert!(intercepts.contains(Intercepts::NMI | Intercepts::HLT | Intercepts::EXTENSION));
        assert!(!intercepts.contains(Intercepts::IRET));
        assert_eq!(copy.save.rflags & TRAP != 0, step);
    }
}

/// Steps a guest with these flags and DR6; the processor leaves with the code and DR6 that are given.
fn step(rflags: u64, dr6: u64, code: u64, dr6_after: u64, loads_flags: bool) -> (Stepped, Vmcb) {
    let (mut guest, mut copy) = pair();
    (guest.save.rflags, guest.save.dr6, guest.save.dr7) = (rflags, dr6, 0x402);
    copy.follow(&guest);
    let before = copy.confine(&guest.control, STEP);
    assert_eq!(copy.save.dr6 & (SINGLE_STEP | 0xf), 0, "what is old is not mistaken for new");
    copy.control.exit_code = code;
    copy.control.exit_info2 = 0x1234_5678;
    copy.save.dr6 = dr6_after;
    let stepped = copy.end_step(before, loads_flags);
    guest.follow(&copy);
    (stepped, guest)
}

#[test]
fn a_step_leaves_no_flag() {
    let (stepped, guest) = step(2, 0xffff_0ff0, DEBUG, 0xffff_4ff0, false);
    assert_eq!(stepped, Stepped::Done);
    assert_eq!((guest.save.rflags, guest.save.dr6), (2, 0xffff_0ff0));
    assert_eq!(guest.control.event_injection, nmi(), "what waited still waits");
    // Bochs says nothing in DR6.
    let (stepped, guest) = step(2, 0xffff_4ff1, DEBUG, 0xffff_0ff0, false);
    assert_eq!((stepped, guest.save.dr6), (Stepped::Done, 0xffff_4ff1));
    // Another exit, and an exception that is no single step.
    for (code, dr6) in [(0x400, 0xffff_0ff0), (0x4d, 0xffff_0ff0), (DEBUG, 0xffff_0ff1)] {
        let (stepped, guest) = step(2, 0xffff_0ff0, code, dr6, false);
        assert_eq!(stepped, Stepped::Not, "{code:#x}");
        assert_eq!((guest.save.rflags, guest.save.dr6), (2, dr6));
        assert_eq!(guest.exit_code().0, code as u32);
    }
}

#[test]
fn an_instruction_that_loads_the_flags_may_set_it() {
    let (_, guest) = step(2, 0xffff_0ff0, DEBUG, 0xffff_4ff0, true);
    assert_eq!(guest.save.rflags, 2 | TRAP);
    let (_, guest) = step(2, 0xffff_0ff0, 0x4d, 0xffff_0ff0, true);
    assert_eq!(guest.save.rflags, 2, "unless it was not executed");
}

#[test]
fn the_guests_own_steps_and_breakpoints_are_its_own() {
    let (stepped, guest) = step(2 | TRAP, 0xffff_0ff0, DEBUG, 0xffff_4ff0, false);
    assert_eq!(stepped, Stepped::Trapped);
    assert_eq!((guest.save.rflags, guest.save.dr6), (2 | TRAP, 0xffff_4ff0));
    // DR0 is on, DR1 is not.
    let (stepped, guest) = step(2, 0xffff_0ff0, DEBUG, 0xffff_4ff1, false);
    assert_eq!((stepped, guest.save.dr6), (Stepped::Trapped, 0xffff_0ff1));
    let (stepped, guest) = step(2, 0xffff_0ff4, DEBUG, 0xffff_4ff2, false);
    assert_eq!((stepped, guest.save.dr6), (Stepped::Done, 0xffff_0ff6));
}

#[test]
fn a_page_fault_has_its_address() {
    let (stepped, guest) = step(2, 0xffff_0ff0, 0x4e, 0xffff_0ff0, false);
    assert_eq!((stepped, guest.save.cr2), (Stepped::Not, 0x1234_5678));
    let (_, guest) = step(2, 0xffff_0ff0, 0x4d, 0xffff_0ff0, false);
    assert_eq!(guest.save.cr2, 0);
}

#[test]
fn a_detour_is_apart_from_the_guest() {
    let (guest, mut copy) = pair();
    let before = guest.clone();
    let mut general = Registers::default();
    let block = Registers { rip: 0x1000, rsp: 0x2000, rflags: 2, rdi: 7, ..Registers::default() };
    copy.begin_detour(&mut general, &block);
    assert_eq!((copy.save.rip, copy.save.rsp, general.rdi), (0x1000, 0x2000, 7));
    assert_eq!(copy.control.interrupt_shadow, 0);
    assert_eq!(copy.save.dr7, 0x400, "no breakpoints");
    assert_eq!(copy.save.cr0, guest.save.cr0 | 1 << 3, "no floating point");
    assert_eq!(guest, before);
}

proptest! {
    #[test]
    fn the_step_shows_in_nothing(rflags: u64, dr6: u64, code: u64, after: u64) {
        let (stepped, guest) = step(rflags, dr6, code, after, false);
        prop_assert_eq!(guest.save.rflags & TRAP, rflags & TRAP);
        let told = guest.save.dr6 & SINGLE_STEP != 0;
        let own = (dr6 | after) & SINGLE_STEP != 0;
        prop_assert!(own || !told);
        if stepped == Stepped::Done {
            prop_assert_eq!(guest.save.dr6 & SINGLE_STEP, dr6 & SINGLE_STEP);
        }
    }
}
