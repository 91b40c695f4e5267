//! Confined runs: the guest goes on in a copy of its VMCB, in which it keeps hardly any of its freedom.
//!
//! What the copy says of events, intercepts and tables is made anew for each run, so nothing has to be
//! put back afterwards: the guest's own VMCB is as its last exit left it.

use lucos_abi::registers::{DR6_SINGLE_STEP, RFLAGS_TRAP, Registers};
use lucos_vcpu::reset::{self, CR0_TS};
use lucos_vcpu::{BeforeStep, DR6_MET, Stepped};

use crate::assists::FLUSH_ALL;
use crate::exit::{DEBUG_EXCEPTION, PAGE_FAULT};
use crate::state::write_back;
use crate::vmcb::{Control, Intercepts, Vmcb};

/// The host's RFLAGS.IF holds interrupts, not the guest's (APM vol. 2, 15.21.1).
const V_INTR_MASKING: u64 = 1 << 24;

/// How the guest runs confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Address space id.
    pub asid: u32,
    /// Root of the nested page table.
    pub nested_root: u64,
    /// Old translations are forgotten first.
    pub flush: bool,
    /// For one instruction, with interrupts held back; otherwise until there is one, if the host lets
    /// interrupts in.
    pub step: bool,
}

impl Vmcb {
    /// Goes on where the guest of `other` is, and tells of its exit.
    pub fn follow(&mut self, other: &Self) {
        self.save.clone_from(&other.save);
        let (control, from) = (&mut self.control, &other.control);
        control.interrupt_shadow = from.interrupt_shadow;
        control.exit_code = from.exit_code;
        control.exit_info1 = from.exit_info1;
        control.exit_info2 = from.exit_info2;
        control.next_rip = from.next_rip;
    }

    /// Goes on with other registers, and what they do shall not concern the guest: it keeps its
    /// breakpoints to itself, and its floating-point registers by an exception.
    pub fn begin_detour(&mut self, general: &mut Registers, block: &Registers) {
        write_back(self, general, block);
        self.save.cr0 |= CR0_TS;
        self.save.dr7 = reset::DR7;
    }

    /// Prepares a confined run; `own` is the control area of the guest's own VMCB.
    pub fn confine(&mut self, own: &Control, how: Confinement) -> BeforeStep {
        let interrupt_shadow = self.control.interrupt_shadow;
        self.control.clone_from(own);
        let control = &mut self.control;
        control.intercept_exceptions = u32::MAX;
        (control.intercept_cr, control.intercept_dr) = (u32::MAX, u32::MAX);
        control.asid = how.asid;
        control.nested_root = how.nested_root;
        control.tlb_control = if how.flush { FLUSH_ALL } else { 0 };
        control.virtual_interrupts = V_INTR_MASKING;
        control.event_injection = 0;
        control.interrupt_shadow = interrupt_shadow;
        self.set_intercepts(Intercepts::INTR, !how.step);
        self.set_intercepts(Intercepts::HLT | Intercepts::MWAIT, true);
        self.set_intercepts(Intercepts::IRET, false);
        let save = &mut self.save;
        let before = BeforeStep { rflags: save.rflags, dr6: save.dr6 };
        save.dr6 &= !(DR6_SINGLE_STEP | DR6_MET);
        if how.step {
            save.rflags |= RFLAGS_TRAP;
        }
        before
    }

    /// Takes the step's flag out of the guest's state, unless the instruction has loaded all flags,
    /// and gives the address to a page fault.
    pub fn end_step(&mut self, before: BeforeStep, loads_flags: bool) -> Stepped {
        let (code, address) = (self.exit_code(), self.control.exit_info2);
        let save = &mut self.save;
        if code == PAGE_FAULT {
            save.cr2 = address;
        }
        let told = (code == DEBUG_EXCEPTION).then_some(save.dr6);
        before.end(told, loads_flags, [&mut save.rflags, &mut save.dr6], save.dr7)
    }
}
