use lucos_abi::object::FlatStart;
use lucos_abi::registers::{Registers, SIZE};
use lucos_svm::{Assists, Intercepts, Setup, Vmcb, start_flat, write_back};
use proptest::prelude::*;

use crate::{HostFacts, VmcbProblem, check_vmcb};

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

fn host(assists: Assists) -> HostFacts {
    HostFacts { assists, asids: 16, physical_bits: 40 }
}

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
fn a_configured_guest_may_run_with_every_assist_and_without() {
    for assists in each_assist() {
        let (mut vmcb, _) = ready(assists);
        assert_eq!(check_vmcb(&vmcb, &host(assists)), Ok(()), "{assists:?}");
        vmcb.exited();
        assert_eq!(check_vmcb(&vmcb, &host(assists)), Ok(()), "{assists:?}");
    }
}

#[test]
fn cpuid_and_invlpgb_make_no_difference() {
    let (mut vmcb, _) = ready(Assists::NESTED_PAGING);
    for (cpuid, invlpgb) in [(true, false), (false, true)] {
        vmcb.configure(Assists::NESTED_PAGING, &Setup { cpuid, invlpgb, ..SETUP });
        assert_eq!(check_vmcb(&vmcb, &host(Assists::NESTED_PAGING)), Ok(()));
    }
}

/// For each check of the manual: a change after which exactly this problem is found.
#[test]
fn every_check_finds_its_problem_and_nothing_else() {
    type Change = fn(&mut Vmcb);
    let cases: [(Change, VmcbProblem); 27] = [
        (|v| v.save.efer &= !(1 << 12), VmcbProblem::SvmeClear),
        (|v| v.save.efer |= 1 << 9, VmcbProblem::EferReserved),
        (|v| v.save.efer |= 1 << 63, VmcbProblem::EferReserved),
        (|v| v.save.cr0 |= 1 << 29, VmcbProblem::WriteThroughWithoutDisable),
        (|v| v.save.cr0 |= 1 << 32, VmcbProblem::Cr0High),
        (|v| v.save.cr3 |= 1 << 40, VmcbProblem::Cr3Reserved),
        (|v| v.save.cr4 |= 1 << 15, VmcbProblem::Cr4Reserved),
        (|v| v.save.cr4 |= 1 << 32, VmcbProblem::Cr4Reserved),
        (|v| v.save.dr6 |= 1 << 32, VmcbProblem::Dr6High),
        (|v| v.save.dr7 |= 1 << 32, VmcbProblem::Dr7High),
        (|v| v.save.cr4 &= !0x20, VmcbProblem::LongModeWithoutPae),
        (|v| v.save.cr0 &= !1, VmcbProblem::LongModeWithoutProtection),
        (|v| v.save.cs.attributes |= 1 << 10, VmcbProblem::LongAndDefault),
        (|v| v.save.pat |= 2 << 24, VmcbProblem::BadPat),
        (|v| v.save.pat |= 8 << 56, VmcbProblem::BadPat),
        (|v| v.set_intercepts(Intercepts::VMRUN, false), VmcbProblem::VmrunNotIntercepted),
        (|v| v.control.io_map = (1 << 40) - 0x2000, VmcbProblem::IoMapOutside),
        (|v| v.control.msr_map = (1 << 40) - 0x1000, VmcbProblem::MsrMapOutside),
        (|v| v.control.asid = 0, VmcbProblem::BadAsid),
        (|v| v.control.asid = 16, VmcbProblem::BadAsid),
        (|v| v.inject(0x8000_0120), VmcbProblem::BadEvent),
        (|v| v.inject(0x8000_0320), VmcbProblem::BadEvent),
        (|v| v.inject(0x8000_0302), VmcbProblem::BadEvent),
        (|v| v.control.nested_control = 0, VmcbProblem::NoNestedPaging),
        (|v| v.control.nested_root |= 1 << 40, VmcbProblem::NestedRoot),
        (|v| v.control.nested_root |= 8, VmcbProblem::NestedRoot),
        (|v| v.inject(0x8000_0720), VmcbProblem::BadEvent),
    ];
    for (change, expected) in cases {
        let (mut vmcb, _) = ready(Assists::all());
        let facts = host(Assists::all());
        assert_eq!(check_vmcb(&vmcb, &facts), Ok(()));
        change(&mut vmcb);
        assert_eq!(check_vmcb(&vmcb, &facts), Err(expected));
    }
    // The same values where they are legal.
    let legal: [Change; 8] = [
        |v| v.save.cr0 |= 3 << 29,
        |v| v.save.cr3 |= 1 << 39,
        |v| v.save.efer |= 1 << 11 | 1,
        |v| v.save.cr4 |= 0x3f_0000 & !(1 << 19) | 1 << 12,
        |v| v.control.io_map = (1 << 40) - 0x3000,
        |v| v.control.asid = 15,
        |v| v.inject(0x0000_0120),
        |v| {
            // Real mode: the rules of long mode do not hold.
            let save = &mut v.save;
            (save.efer, save.cr0, save.cr4) = (1 << 12, 0x10, 0);
            save.cs.attributes |= 1 << 10;
        },
    ];
    for change in legal {
        let (mut vmcb, _) = ready(Assists::all());
        change(&mut vmcb);
        assert_eq!(check_vmcb(&vmcb, &host(Assists::all())), Ok(()));
    }
}

#[test]
fn an_assist_that_is_not_there_is_not_used() {
    let (vmcb, _) = ready(Assists::all());
    let problem = check_vmcb(&vmcb, &host(Assists::all() - Assists::LAST_BRANCH));
    assert_eq!(problem, Err(VmcbProblem::MissingAssist));
    let (vmcb, _) = ready(Assists::empty());
    assert_eq!(check_vmcb(&vmcb, &host(Assists::empty())), Err(VmcbProblem::NoNestedPaging));
}

proptest! {
    #[test]
    fn whatever_a_task_writes_the_guest_may_run(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
        let (mut vmcb, mut gprs) = ready(Assists::NESTED_PAGING);
        write_back(&mut vmcb, &mut gprs, &Registers::from_bytes(&bytes).unwrap());
        prop_assert_eq!(check_vmcb(&vmcb, &host(Assists::NESTED_PAGING)), Ok(()));
    }
}
