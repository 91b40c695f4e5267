mod confine;

use lucos_abi::object::{Access, Event, ExitReason, FlatStart, PortAccess};
use lucos_abi::registers::{Registers, SIZE};
use proptest::prelude::*;

use crate::{
    Assists, ExitCode, Intercepts, MsrMap, Setup, Vmcb, exit_reason, instruction_length,
    is_refused, registers, start_flat, write_back,
};
use lucos_vcpu::event::{combined, exception, nmi};

const SETUP: Setup = Setup {
    asid: 1,
    nested_root: 0x7f00_0000,
    msr_map: 0x7f00_2000,
    io_map: 0x7f00_4000,
    cpuid: false,
    invlpgb: false,
};

const START: FlatStart = FlatStart {
    rip: 0x100_0200,
    rsi: 0x9_0000,
    cr3: 0x7e00_0000,
    gdt_base: 0x7e00_8000,
    gdt_limit: 0x1f,
    code_selector: 0x10,
    data_selector: 0x18,
};

/// A guest that is ready to run.
fn ready(assists: Assists) -> (Vmcb, Registers) {
    let mut vmcb = Vmcb::default();
    let mut gprs = Registers::default();
    vmcb.configure(assists, &SETUP);
    start_flat(&mut vmcb, &mut gprs, &START);
    (vmcb, gprs)
}

fn each_assist() -> impl Iterator<Item = Assists> {
    let none = core::iter::once(Assists::empty());
    let all = core::iter::once(Assists::all());
    none.chain(Assists::all().iter()).chain(all).map(|assists| assists | Assists::NESTED_PAGING)
}

#[test]
fn assists_are_those_of_the_cpuid_leaf() {
    let tcg = Assists::from_bits_truncate(1);
    assert_eq!(tcg, Assists::NESTED_PAGING);
    let bochs = Assists::from_bits_truncate(0x44f);
    let expected = Assists::NESTED_PAGING | Assists::LAST_BRANCH | Assists::NEXT_RIP;
    assert_eq!(bochs, expected);
    assert_eq!(Assists::from_bits_truncate(u32::MAX), Assists::all());
}

#[test]
fn pass_through_intercepts() {
    let (vmcb, _) = ready(Assists::NESTED_PAGING);
    let intercepts = vmcb.intercepts();
    assert_eq!(vmcb.control.nested_control, 1);
    for needed in [Intercepts::NMI, Intercepts::MSR, Intercepts::SHUTDOWN, Intercepts::EXTENSION] {
        assert!(intercepts.contains(needed), "{needed:?}");
    }
    assert_eq!(intercepts.bits() & 1, 0, "interrupts are the guest's");
    assert_eq!(intercepts.bits() & 0xffff_ffff, 0x9c40_0002);
    assert_eq!(intercepts.bits() >> 32, 0x7f);
}

#[test]
fn cpuid_and_invlpgb_are_as_asked_for() {
    let (mut vmcb, _) = ready(Assists::NESTED_PAGING);
    for (cpuid, invlpgb, nested_control) in [(true, false, 1), (false, true, 0x81)] {
        vmcb.configure(Assists::NESTED_PAGING, &Setup { cpuid, invlpgb, ..SETUP });
        assert_eq!(vmcb.intercepts().contains(Intercepts::CPUID), cpuid);
        assert_eq!(vmcb.control.nested_control, nested_control);
    }
}

#[test]
fn a_flush_is_asked_for_once() {
    let (mut vmcb, _) = ready(Assists::NESTED_PAGING);
    assert_eq!(vmcb.control.tlb_control, 1, "the first run flushes");
    vmcb.exited();
    assert_eq!(vmcb.control.tlb_control, 0);
    vmcb.request_flush();
    assert_eq!(vmcb.control.tlb_control, 1);
}

#[test]
fn intercepts_switch_on_and_off() {
    let mut vmcb = Vmcb::default();
    vmcb.set_intercepts(Intercepts::VMRUN | Intercepts::IRET, true);
    vmcb.set_intercepts(Intercepts::IRET, false);
    assert_eq!(vmcb.intercepts(), Intercepts::VMRUN);
}

#[test]
fn last_branch_records_are_apart_where_they_can_be() {
    for assists in each_assist() {
        let (vmcb, _) = ready(assists);
        let expected = u64::from(assists.contains(Assists::LAST_BRANCH));
        assert_eq!(vmcb.control.last_branch_control, expected);
    }
}

#[test]
fn events_are_encoded_as_the_manual_says() {
    let invalid_opcode = Event { vector: 6, error_code: None };
    assert_eq!(exception(invalid_opcode), 0x8000_0306);
    let protection = Event { vector: 13, error_code: Some(0x18) };
    assert_eq!(exception(protection), 0x18_8000_0b0d);
}

#[test]
fn an_event_is_delivered_once() {
    for assists in each_assist() {
        let (mut vmcb, _) = ready(assists);
        vmcb.inject(nmi());
        assert_eq!(vmcb.control.event_injection, nmi());
        vmcb.exited();
        assert_eq!(vmcb.control.event_injection, 0, "not at the next run too");
    }
}

#[test]
fn an_interrupted_event_is_delivered_again_unless_its_instruction_repeats() {
    let cases = [
        (0x8000_0041, Some(0x8000_0041)),
        (0x8000_0202, Some(0x8000_0202)),
        (0x2_8000_0b0e, Some(0x2_8000_0b0e)),
        (0x8000_0480, None),
        (0x8000_0303, None),
        (0x8000_0304, None),
        (0x0000_0041, None),
        (0, None),
    ];
    for (event, expected) in cases {
        let (mut vmcb, _) = ready(Assists::NESTED_PAGING);
        vmcb.control.exit_interrupt_info = event;
        assert_eq!(vmcb.interrupted_event(), expected, "{event:#x}");
    }
}

fn exit(code: u64, info1: u64, info2: u64) -> Vmcb {
    let (mut vmcb, _) = ready(Assists::all());
    let control = &mut vmcb.control;
    control.exit_code = code;
    control.exit_info1 = info1;
    control.exit_info2 = info2;
    vmcb
}

const fn port(port: u16, size: u8, input: bool, string: bool) -> ExitReason {
    ExitReason::Port(PortAccess { port, size, input, string })
}

#[test]
fn exits_have_the_same_names_for_every_vendor() {
    let cases = [
        (0x7c, 0, ExitReason::ReadMsr),
        (0x7c, 1, ExitReason::WriteMsr),
        (0x81, 0, ExitReason::Hypercall),
        (0x7f, 0, ExitReason::Shutdown),
        (0x76, 0, ExitReason::InvalidateCaches),
        (0x7b, 0x0604_0020, port(0x604, 2, false, false)),
        (0x7b, 0x0092_0011, port(0x92, 1, true, false)),
        (0x7b, 0x0608_004c, port(0x608, 4, false, true)),
        (0x5e, 0, ExitReason::Init),
        (0x60, 0, ExitReason::Interrupted),
        (u64::MAX, 0, ExitReason::InvalidState),
        (0xffff_ffff, 0, ExitReason::InvalidState),
        (0x46, 9, ExitReason::Exception(Event { vector: 6, error_code: None })),
        (0x4e, 9, ExitReason::Exception(Event { vector: 14, error_code: Some(9) })),
        (0x61, 7, ExitReason::Other { code: 0x61, info1: 7, info2: 0x1234_5678 }),
    ];
    for (code, info1, expected) in cases {
        let vmcb = exit(code, info1, 0x1234_5678);
        assert_eq!(exit_reason(&vmcb), expected, "{code:#x}");
    }
    for code in [0x7a, 0x80, 0x82, 0x83, 0x84, 0x85, 0x86] {
        let reason = exit_reason(&exit(code, 0, 0));
        assert_eq!(reason, ExitReason::Virtualization, "{code:#x}");
    }
}

#[test]
fn exactly_the_manuals_exceptions_have_an_error_code() {
    let with: Vec<u64> = (0..32)
        .filter(|vector| {
            let reason = exit_reason(&exit(0x40 + vector, 0x77, 0));
            matches!(reason, ExitReason::Exception(Event { error_code: Some(0x77), .. }))
        })
        .collect();
    assert_eq!(with, [8, 10, 11, 12, 13, 14, 17, 21, 29]);
}

#[test]
fn a_nested_fault_tells_what_the_guest_did() {
    type Bit = fn(&Access) -> bool;
    let bits: [(u64, Bit); 4] = [
        (1, |access| access.present),
        (1 << 1, |access| access.write),
        (1 << 4, |access| access.execute),
        (1 << 33, |access| access.table_walk),
    ];
    for (info, expected) in bits {
        for (other, field) in bits {
            let vmcb = exit(0x400, info | 1 << 2, 0xfee0_0300);
            let ExitReason::NestedFault { gpa, access } = exit_reason(&vmcb) else {
                panic!("not a nested fault");
            };
            assert_eq!(gpa, 0xfee0_0300);
            assert_eq!(field(&access), info == other);
            assert!(expected(&access));
        }
    }
}

#[test]
fn a_nested_fault_tells_of_an_event_whose_delivery_it_ended() {
    for (event, expected) in [(0x8000_0041, true), (0x41, false), (nmi(), true)] {
        let mut vmcb = exit(0x400, 2, 0x1000);
        vmcb.control.exit_interrupt_info = event;
        let ExitReason::NestedFault { access, .. } = exit_reason(&vmcb) else {
            panic!("not a nested fault");
        };
        assert_eq!(access.delivery, expected, "{event:#x}");
    }
}

#[test]
fn an_event_that_is_put_off_is_not_lost() {
    let (mut vmcb, _) = ready(Assists::NESTED_PAGING);
    let cases = [
        // An interrupt of vector 0x41 waits whatever its priority, until the guest lets it in.
        (0x8000_0041, false, 0x41 << 32 | 1 << 20 | 1 << 8),
        (nmi(), true, 0),
        // An exception comes again by itself.
        (0x2_8000_0b0e, false, 0),
        (0, false, 0),
    ];
    for (event, is_nmi, virtual_interrupts) in cases {
        vmcb.control.virtual_interrupts = 0;
        vmcb.inject(event);
        assert_eq!(vmcb.put_off(), is_nmi, "{event:#x}");
        assert_eq!(vmcb.control.event_injection, 0);
        assert_eq!(vmcb.control.virtual_interrupts, virtual_interrupts);
    }
}

#[test]
fn the_length_is_known_only_with_the_assist() {
    let length = |code: u64, next: u64, info2: u64, assist: bool| {
        let mut vmcb = exit(code, 0, info2);
        vmcb.save.rip = 0xffff_ffff_ffff_fffe;
        vmcb.control.next_rip = next;
        instruction_length(&vmcb, assist)
    };
    assert_eq!(length(0x72, 0, 0, true), 2, "the address wraps");
    assert_eq!(length(0x72, 13, 0, true), 15);
    assert_eq!(length(0x72, 14, 0, true), 0, "no instruction is so long");
    assert_eq!(length(0x72, 0xffff_ffff_ffff_fffe, 0, true), 0);
    assert_eq!(length(0x72, 0x1000, 0, true), 0);
    assert_eq!(length(0x72, 0, 0, false), 0);
    assert_eq!(length(0x7b, 0, 1, false), 3, "IN and OUT tell by themselves");
    assert_eq!(length(0x7b, 5, 1, true), 3);
    assert_eq!(ExitCode::IO.0, 0x7b);
}

#[test]
fn the_start_state_is_flat_64_bit_code() {
    let (vmcb, gprs) = ready(Assists::NESTED_PAGING);
    let save = &vmcb.save;
    assert_eq!(save.cs.attributes, 0xa9b);
    assert_eq!(save.cs.selector, 0x10);
    assert_eq!((save.ss.attributes, save.ss.selector), (0xc93, 0x18));
    assert_eq!((save.gdtr.base, save.gdtr.limit), (0x7e00_8000, 0x1f));
    assert_eq!(save.rflags, 2, "interrupts are off");
    let block = registers(&vmcb, &gprs);
    assert_eq!(block.rip, START.rip);
    assert_eq!(block.rsi, START.rsi);
    assert_eq!(block.cr3, START.cr3);
    assert_eq!(block.efer, 0xd00, "the guest does not see SVME");
    assert_eq!((block.code_size, block.cpl), (64, 0));
}

#[test]
fn starting_again_leaves_nothing_of_the_last_run() {
    let (fresh, fresh_gprs) = ready(Assists::all());
    let (mut vmcb, mut gprs) = ready(Assists::all());
    let block = Registers::from_bytes(&[0x5a; SIZE]).expect("a block");
    write_back(&mut vmcb, &mut gprs, &block);
    vmcb.inject(nmi());
    vmcb.control.virtual_interrupts = 1 << 8;
    let save = &mut vmcb.save;
    save.lstar = 7;
    save.cpl = 3;
    save.cr4 = 0xffff;
    save.idtr.base = 9;
    let control = &mut vmcb.control;
    control.interrupt_shadow = 1;
    control.exit_interrupt_info = 0x8000_0041;
    start_flat(&mut vmcb, &mut gprs, &START);
    assert_eq!(vmcb, fresh);
    assert_eq!(gprs, fresh_gprs);
}

#[test]
fn code_size_follows_segment_and_mode() {
    let (mut vmcb, gprs) = ready(Assists::NESTED_PAGING);
    let mut size = |efer, attributes| {
        let save = &mut vmcb.save;
        (save.efer, save.cs.attributes) = (efer, attributes);
        registers(&vmcb, &gprs).code_size
    };
    assert_eq!(size(0x1500, 0xa9b), 64);
    assert_eq!(size(0x1500, 0xc9b), 32);
    assert_eq!(size(0x1500, 0x89b), 16);
    assert_eq!(size(0x1000, 0xa9b), 16, "L means nothing outside long mode");
}

/// Lets every access through.
fn empty_map() -> MsrMap {
    MsrMap([0; 8192])
}

fn bit(map: &MsrMap, number: usize) -> bool {
    map.0[number / 8] >> (number % 8) & 1 != 0
}

#[test]
fn msr_bits_lie_where_the_manual_says() {
    let cases = [
        (0u32, 0usize),
        (0x1b, 0x36),
        (0x1fff, 0x3ffe),
        (0xc000_0000, 0x4000),
        (0xc000_0080, 0x4100),
        (0xc001_0000, 0x8000),
        (0xc001_0117, 0x822e),
        (0xc001_1fff, 0xbffe),
    ];
    for (msr, first) in cases {
        let mut map = empty_map();
        map.set(msr, true, false).expect("in a range");
        assert!(bit(&map, first) && !bit(&map, first + 1), "{msr:#x}");
        map.set(msr, false, true).expect("in a range");
        assert!(!bit(&map, first) && bit(&map, first + 1), "{msr:#x}");
        let set: u32 = map.0.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(set, 1);
        map.set(msr, false, false).expect("in a range");
        assert_eq!(map, empty_map());
    }
    for msr in [0x2000, 0x4000_0000, 0xbfff_ffff, 0xc000_2000, 0xc001_2000, u32::MAX] {
        let mut map = empty_map();
        assert_eq!(map.set(msr, true, true), None);
        assert_eq!(map, empty_map());
    }
}

proptest! {
    #[test]
    fn a_task_changes_only_what_it_may(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
        let (mut vmcb, mut gprs) = ready(Assists::NESTED_PAGING);
        let before = registers(&vmcb, &gprs);
        let block = Registers::from_bytes(&bytes).unwrap();
        write_back(&mut vmcb, &mut gprs, &block);
        let after = registers(&vmcb, &gprs);
        let expected = Registers {
            rflags: block.rflags & 0x3f_7fd5 | 2,
            interrupt_shadow: block.interrupt_shadow & 1,
            cr0: before.cr0,
            cr2: before.cr2,
            cr3: before.cr3,
            cr4: before.cr4,
            efer: before.efer,
            dr6: before.dr6 | block.dr6 & 1 << 14,
            cpl: before.cpl,
            code_size: before.code_size,
            cs_base: before.cs_base,
            idt_base: before.idt_base,
            gs_base: before.gs_base,
            ..block
        };
        prop_assert_eq!(after, expected);
    }

    #[test]
    fn no_exit_confuses(code: u64, info1: u64, info2: u64, next: u64, rip: u64, assist: bool) {
        let mut vmcb = exit(code, info1, info2);
        vmcb.save.rip = rip;
        vmcb.control.next_rip = next;
        let _ = exit_reason(&vmcb);
        prop_assert!(instruction_length(&vmcb, assist) <= 15);
    }
}

#[test]
fn a_guest_writes_the_registers_of_a_list() {
    let mut map = empty_map();
    map.configure();
    let place = |msr: u32| match msr {
        0..=0x1fff => msr as usize,
        0xc000_0000..=0xc000_1fff => 0x2000 + (msr & 0x1fff) as usize,
        _ => 0x4000 + (msr & 0x1fff) as usize,
    };
    let access = |msr: u32| (bit(&map, 2 * place(msr)), bit(&map, 2 * place(msr) + 1));
    // The whole machine, TSC, PAT, LSTAR, a counter, a performance state, LS_CFG, DE_CFG.
    for msr in [0, 0x10, 0x277, 0xc000_0082, 0xc001_0200, 0xc001_0062, 0xc001_1020, 0xc001_1029] {
        assert_eq!(access(msr), (false, false), "{msr:#x}");
    }
    let address = [0xc001_0010, 0xc001_0016, 0xc001_0019, 0xc001_001a, 0xc001_001d, 0xc001_0058];
    let firmware = [0xc001_0050, 0xc001_0056, 0xc001_0111, 0xc001_0112, 0xc001_0113, 0xc001_0116];
    let nested = [0xc001_0132, 0xc001_0133, 0xc001_0136, 0xc001_0137];
    let others = [0x1b, 0xc001_0015, 0xc001_0020, 0xc001_1004, 0xc001_1005, 0xc001_1fff];
    for msr in address.into_iter().chain(firmware).chain(nested).chain(others) {
        assert_eq!(access(msr), (false, true), "{msr:#x}");
    }
    for msr in [0xc000_0080, 0xc001_0114, 0xc001_0117, 0xc001_0118] {
        assert_eq!(access(msr), (true, true), "{msr:#x}");
    }
}

#[test]
fn an_exception_within_a_delivery_is_what_the_processor_makes_of_it() {
    let fault = |vector| Event { vector, error_code: Some(7) };
    let double = Some(Event { vector: 8, error_code: Some(0) });
    let first = |vector| exception(fault(vector));
    for contributory in [0, 10, 11, 12, 13] {
        for second in [0, 10, 11, 12, 13] {
            assert_eq!(combined(first(contributory), fault(second)), double);
        }
        assert_eq!(combined(first(contributory), fault(14)), Some(fault(14)));
        assert_eq!(combined(first(14), fault(contributory)), double);
        assert_eq!(combined(first(8), fault(contributory)), None);
    }
    assert_eq!(combined(first(14), fault(14)), double);
    assert_eq!(combined(first(8), fault(14)), None);
    // Nothing, an interrupt, an NMI, INT3, and exceptions that harm no other.
    for first in [0, VALID_INTERRUPT, nmi(), first(3), first(1), first(6), first(17)] {
        for second in [1, 6, 13, 14] {
            assert_eq!(combined(first, fault(second)), Some(fault(second)));
        }
    }
    for second in [1, 6, 17] {
        assert_eq!(combined(first(8), fault(second)), Some(fault(second)));
    }
}

/// An external interrupt of vector 13, whose number is that of an exception.
const VALID_INTERRUPT: u64 = 1 << 31 | 13;

#[test]
fn states_that_a_guest_must_not_make_are_seen_before_the_entry() {
    let (mut vmcb, _) = ready(Assists::NESTED_PAGING);
    assert!(!is_refused(&vmcb));
    let cr0 = vmcb.save.cr0;
    vmcb.save.cr0 = cr0 | 1 << 29;
    assert!(is_refused(&vmcb), "NW without CD");
    vmcb.save.cr0 = cr0 | 3 << 29;
    assert!(!is_refused(&vmcb), "NW with CD");
    vmcb.save.cs.attributes |= 1 << 9 | 1 << 10;
    assert!(is_refused(&vmcb), "L and D");
}
