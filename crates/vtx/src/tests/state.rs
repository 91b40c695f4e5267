//! The guest's registers.

use lucos_abi::registers::Registers;
use proptest::prelude::*;
use x86::vmx::vmcs::{control, guest};

use super::{Fake, START, ready};
use crate::{GUEST_FIELDS, Vmcs, hide_error_reporting, registers, set_masks, write_back};

#[test]
fn a_guest_starts_in_64_bit_mode_with_flat_segments() {
    let (vmcs, general) = ready();
    let seen = registers(&vmcs, &general);
    assert_eq!((seen.rip, seen.rsi, seen.cr3), (START.rip, START.rsi, START.cr3));
    assert_eq!((seen.cr0, seen.cr4, seen.efer), (0x8001_0033, 0x20, 0xd00));
    assert_eq!((seen.code_size, seen.cpl, seen.rflags, seen.dr6), (64, 0, 2, 0xffff_0ff0));
    assert_eq!(vmcs.read(guest::CR4), 0x2020, "VT-x stays on");
    // What an entry asks of segments in 64-bit mode (SDM 28.3.1.2).
    for (field, expected) in [
        (guest::CS_ACCESS_RIGHTS, 0xa09b),
        (guest::SS_ACCESS_RIGHTS, 0xc093),
        (guest::GS_ACCESS_RIGHTS, 0xc093),
        (guest::TR_ACCESS_RIGHTS, 0x8b),
        (guest::LDTR_ACCESS_RIGHTS, 0x1_0000),
        (guest::CS_SELECTOR, 0x10),
        (guest::SS_SELECTOR, 0x18),
        (guest::DS_LIMIT, 0xffff_ffff),
        (guest::GDTR_BASE, START.gdt_base),
        (guest::GDTR_LIMIT, 0x1f),
    ] {
        assert_eq!(vmcs.read(field), expected, "{field:#x}");
    }
}

#[test]
fn nothing_of_an_earlier_run_is_left() {
    let (fresh, _) = ready();
    let fields =
        || GUEST_FIELDS.iter().flat_map(|(first, count)| (0..*count).map(move |n| first + 2 * n));
    let mut vmcs = Fake::default();
    fields().for_each(|field| vmcs.write(field, 0x5555));
    let mut general = Registers { rax: 1, cr2: 2, dr6: 3, ..Registers::default() };
    crate::start_flat(&mut vmcs, &mut general, &START);
    assert_eq!((general.rax, general.cr2), (0, 0));
    // PDPTEs are read in PAE mode only, and loaded on the way there.
    let is_read = |field: &u32| !(guest::PDPTE0_FULL..=guest::PDPTE3_FULL).contains(field);
    for field in fields().filter(is_read) {
        assert_eq!(vmcs.read(field), fresh.read(field), "{field:#x}");
    }
    for field in fresh.0.keys() {
        let is_kept = fields().any(|kept| kept == *field);
        let is_mask = matches!(*field, control::CR0_GUEST_HOST_MASK | control::CR4_GUEST_HOST_MASK);
        assert!(is_kept || is_mask, "a detour would change {field:#x}");
    }
}

#[test]
fn the_guest_sees_no_extension_in_its_control_registers() {
    let (mut vmcs, general) = ready();
    let seen = |vmcs: &Fake| {
        let Registers { cr0, cr4, .. } = registers(vmcs, &general);
        (cr0, cr4)
    };
    let before = seen(&vmcs);
    vmcs.write(guest::CR4, 0x2620);
    vmcs.write(guest::CR0, 0x8005_0033);
    assert_eq!(seen(&vmcs), (0x8005_0033, 0x620));
    set_masks(&mut vmcs, true);
    assert_eq!(vmcs.read(control::CR0_GUEST_HOST_MASK), u64::MAX);
    assert_eq!(seen(&vmcs), (0x8005_0033, 0x620));
    set_masks(&mut vmcs, false);
    assert_eq!(seen(&vmcs), (0x8005_0033, 0x620));
    // What the guest writes without an exit is seen.
    vmcs.write(guest::CR0, 0x8001_0033);
    vmcs.write(guest::CR4, 0x2020);
    assert_eq!(seen(&vmcs), before);
}

#[test]
fn the_guest_can_switch_error_reporting_off() {
    let (mut vmcs, general) = ready();
    hide_error_reporting(&mut vmcs);
    assert_eq!(registers(&vmcs, &general).cr0, 0x8001_0013);
    assert_eq!(vmcs.read(guest::CR0), 0x8001_0033, "the processor wants it");
    // It stays off over a confined run.
    set_masks(&mut vmcs, true);
    set_masks(&mut vmcs, false);
    assert_eq!(registers(&vmcs, &general).cr0, 0x8001_0013);
    hide_error_reporting(&mut vmcs);
    assert_eq!(registers(&vmcs, &general).cr0, 0x8001_0033);
}

#[test]
fn the_size_of_code_follows_mode_and_segment() {
    for (efer, rights, size) in [
        (0xd00, 0xa09b, 64),
        (0xd00, 0xc09b, 32),
        (0xd00, 0x809b, 16),
        (0, 0xa09b, 16),
        (0, 0xc09b, 32),
    ] {
        let (vmcs, general) = ready();
        let vmcs = vmcs.with(&[(guest::IA32_EFER_FULL, efer), (guest::CS_ACCESS_RIGHTS, rights)]);
        assert_eq!(registers(&vmcs, &general).code_size, size, "{efer:#x} {rights:#x}");
    }
    let (vmcs, general) = ready();
    let vmcs = vmcs.with(&[(guest::SS_ACCESS_RIGHTS, 0xc0f3)]);
    assert_eq!(registers(&vmcs, &general).cpl, 3);
}

#[test]
fn who_goes_on_elsewhere_halts_no_more() {
    let (vmcs, mut general) = ready();
    let halted = vmcs.with(&[(guest::ACTIVITY_STATE, 1), (guest::INTERRUPTIBILITY_STATE, 9)]);
    let block = registers(&halted, &general);
    let mut same = halted.clone();
    write_back(&mut same, &mut general, &block);
    assert_eq!(same, halted);
    let mut moved = halted.clone();
    let behind = Registers { rip: block.rip + 1, interrupt_shadow: 0, ..block };
    write_back(&mut moved, &mut general, &behind);
    assert_eq!(moved.read(guest::ACTIVITY_STATE), 0);
    assert_eq!(moved.read(guest::INTERRUPTIBILITY_STATE), 8, "an NMI is still being handled");
}

proptest! {
    #[test]
    fn what_a_task_may_change_is_changed_and_nothing_else(words in prop::array::uniform32(any::<u64>())) {
        let (mut vmcs, mut general) = ready();
        let before = registers(&vmcs, &general);
        let mut bytes = [0; lucos_abi::registers::SIZE];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        let block = Registers::from_bytes(&bytes).unwrap();
        write_back(&mut vmcs, &mut general, &block);
        let after = registers(&vmcs, &general);
        let rflags = block.rflags & 0x003f_7fd5 | 2;
        let dr6 = before.dr6 | block.dr6 & 1 << 14;
        let kept = Registers {
            rflags, dr6, cr0: before.cr0, cr2: before.cr2, cr3: before.cr3, cr4: before.cr4,
            efer: before.efer, cpl: before.cpl, code_size: before.code_size,
            interrupt_shadow: before.interrupt_shadow, cs_base: before.cs_base,
            idt_base: before.idt_base, gs_base: before.gs_base, ..block
        };
        prop_assert_eq!(after, kept);
    }
}
