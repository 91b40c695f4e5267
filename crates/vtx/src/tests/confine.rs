//! What a confined run gives the guest, and what it takes back.

use lucos_abi::registers::Registers;
use lucos_vcpu::Stepped;
use proptest::prelude::*;
use x86::vmx::vmcs::{guest, ro};

use super::{Fake, ready};
use crate::{Vmcs, begin_detour, begin_step, end_step};

const TRAP: u64 = 1 << 8;
const SINGLE_STEP: u64 = 1 << 14;
const DEBUG: u64 = 0x8000_0301;
const PAGE_FAULT: u64 = 0x8000_0b0e;

/// An exit: its reason, interruption information and qualification.
type Exit = (u64, u64, u64);

/// Steps a guest with these flags, held-off events and pending exceptions.
fn step(rflags: u64, held: u64, pending: u64, exit: Exit) -> (Stepped, Fake, Registers) {
    let (vmcs, mut general) = ready();
    let mut vmcs = vmcs.with(&[
        (guest::RFLAGS, rflags),
        (guest::INTERRUPTIBILITY_STATE, held),
        (guest::PENDING_DBG_EXCEPTIONS, pending),
        (guest::IA32_DEBUGCTL_FULL, 3),
        (guest::DR7, 0x402),
    ]);
    general.dr6 |= 1;
    let begun = begin_step(&mut vmcs, &mut general, true);
    // What an entry asks for (SDM 28.3.1.5): not both, and the flag's exception pending.
    assert_eq!(vmcs.read(guest::INTERRUPTIBILITY_STATE) & 3, 2);
    assert_eq!(vmcs.read(guest::INTERRUPTIBILITY_STATE) & 8, held & 8);
    assert_ne!(vmcs.read(guest::PENDING_DBG_EXCEPTIONS) & SINGLE_STEP, 0);
    assert_eq!(vmcs.read(guest::IA32_DEBUGCTL_FULL), 0);
    assert_ne!(vmcs.read(guest::RFLAGS) & TRAP, 0);
    assert_eq!(general.dr6 & (SINGLE_STEP | 0xf), 0, "what is old is not mistaken for new");
    let (reason, info, qualification) = exit;
    vmcs.write(ro::EXIT_REASON, reason);
    vmcs.write(ro::VMEXIT_INTERRUPTION_INFO, info);
    vmcs.write(ro::EXIT_QUALIFICATION, qualification);
    if info == DEBUG {
        // The processor has gone on.
        vmcs.write(guest::INTERRUPTIBILITY_STATE, held & 8);
    }
    let stepped = end_step(&mut vmcs, &mut general, begun, [true, true]);
    (stepped, vmcs, general)
}

#[test]
fn a_step_leaves_nothing_of_itself() {
    for held in [0, 1, 2, 8] {
        let (stepped, vmcs, general) = step(2, held, 0, (0, DEBUG, SINGLE_STEP));
        assert_eq!(stepped, Stepped::Done);
        assert_eq!(vmcs.read(guest::RFLAGS), 2);
        assert_eq!(vmcs.read(guest::INTERRUPTIBILITY_STATE), held & 8);
        assert_eq!(vmcs.read(guest::PENDING_DBG_EXCEPTIONS), 0);
        assert_eq!(vmcs.read(guest::IA32_DEBUGCTL_FULL), 3);
        assert_eq!(general.dr6, 0xffff_0ff1, "as it was");
    }
}

#[test]
fn a_guest_that_steps_by_itself_gets_its_exception() {
    let (stepped, vmcs, general) = step(TRAP | 2, 0, 0, (0, DEBUG, SINGLE_STEP));
    assert_eq!(stepped, Stepped::Trapped);
    assert_eq!(vmcs.read(guest::RFLAGS), TRAP | 2);
    assert_eq!(general.dr6, 0xffff_4ff1);
}

#[test]
fn a_watchpoint_of_the_guest_comes_behind_the_step() {
    let (stepped, _, general) = step(2, 0, 0, (0, DEBUG, SINGLE_STEP | 1));
    assert_eq!(stepped, Stepped::Trapped);
    assert_eq!(general.dr6 & (SINGLE_STEP | 0xf), 1);
    // One that is not switched on is only told.
    let (stepped, ..) = step(2, 0, 0, (0, DEBUG, SINGLE_STEP | 2));
    assert_eq!(stepped, Stepped::Done);
}

#[test]
fn an_instruction_that_was_not_executed_is_as_before() {
    for exit in [(48, 0, 0x182), (0, PAGE_FAULT, 0x5000), (0, DEBUG, 1), (12, 0, 0)] {
        for (held, pending) in [(0, 0), (1, SINGLE_STEP), (2, 0), (8, 0)] {
            let (stepped, vmcs, general) = step(TRAP | 2, held, pending, exit);
            assert_eq!(stepped, Stepped::Not, "{exit:?}");
            assert_eq!(vmcs.read(guest::RFLAGS), TRAP | 2);
            if exit.1 != DEBUG {
                assert_eq!(vmcs.read(guest::INTERRUPTIBILITY_STATE), held);
            }
            assert_eq!(vmcs.read(guest::PENDING_DBG_EXCEPTIONS), pending);
            let address = if exit.1 == PAGE_FAULT { 0x5000 } else { 0 };
            assert_eq!((general.dr6 & 1, general.cr2), (1, address));
        }
    }
}

#[test]
fn a_run_that_did_not_begin_says_nothing() {
    let (vmcs, mut general) = ready();
    // The last exit was a step.
    let mut vmcs =
        vmcs.with(&[(ro::VMEXIT_INTERRUPTION_INFO, DEBUG), (ro::EXIT_QUALIFICATION, SINGLE_STEP)]);
    let before = (vmcs.clone(), general);
    let begun = begin_step(&mut vmcs, &mut general, true);
    let stepped = end_step(&mut vmcs, &mut general, begun, [true, false]);
    assert_eq!((stepped, (vmcs, general)), (Stepped::Not, before));
}

#[test]
fn a_detour_keeps_breakpoints_and_floating_point_away() {
    let (vmcs, mut general) = ready();
    let mut vmcs = vmcs.with(&[(guest::DR7, 0x402)]);
    let block = Registers { rip: 0x77, rsp: 0x88, rdi: 9, rflags: 2, ..Registers::default() };
    begin_detour(&mut vmcs, &mut general, &block);
    assert_eq!((vmcs.read(guest::RIP), vmcs.read(guest::RSP), general.rdi), (0x77, 0x88, 9));
    assert_ne!(vmcs.read(guest::CR0) & 8, 0);
    assert_eq!(vmcs.read(guest::DR7), 0x400);
}

proptest! {
    /// Without a step nothing of the guest's changes but by what it does.
    #[test]
    fn a_free_run_changes_nothing(rflags in any::<u64>(), held in 0..4_u64, dr6 in any::<u64>()) {
        let (vmcs, mut general) = ready();
        let fields = [(guest::RFLAGS, rflags), (guest::INTERRUPTIBILITY_STATE, held)];
        let mut vmcs = vmcs.with(&fields).with(&[(ro::EXIT_REASON, 1)]);
        general.dr6 = dr6;
        let before = (vmcs.clone(), general);
        let begun = begin_step(&mut vmcs, &mut general, false);
        prop_assert_eq!(&vmcs, &before.0);
        prop_assert_eq!(end_step(&mut vmcs, &mut general, begun, [false, true]), Stepped::Not);
        prop_assert_eq!((vmcs, general), before);
    }
}
