//! Confined runs: the guest keeps hardly any of its freedom.
//!
//! There is one VMCS. What of the controls differs is in [`crate::Mode`]; here is what the guest's state
//! needs. A detour keeps that state elsewhere meanwhile ([`GUEST_FIELDS`]).

use lucos_abi::registers::{DR6_SINGLE_STEP, RFLAGS_TRAP, Registers};
use lucos_vcpu::reset::{self, CR0_TS};
use lucos_vcpu::{BeforeStep, DR6_MET, Stepped};
use x86::vmx::vmcs::guest;

use crate::Vmcs;
use crate::event::{BY_MOV_SS, BY_STI, change_interruptibility};
use crate::exit::{debug_status, fault_address};
use crate::state::write_back;

/// The fields that hold the guest's state: the first of each row, and how many there are, two apart. In
/// their order: selectors; DEBUGCTL, PAT, EFER; PDPTEs; limits, access rights, interruptibility,
/// activity; SYSENTER_CS; what it reads of CR0 and CR4; control registers, bases, DR7 to SYSENTER_EIP.
pub const GUEST_FIELDS: [(u32, u32); 7] = [
    (guest::ES_SELECTOR, 8),
    (guest::IA32_DEBUGCTL_FULL, 3),
    (guest::PDPTE0_FULL, 4),
    (guest::ES_LIMIT, 20),
    (guest::IA32_SYSENTER_CS, 1),
    (x86::vmx::vmcs::control::CR0_READ_SHADOW, 2),
    (guest::CR0, 20),
];

/// Of the pending debug exceptions: a single step.
const PENDING_STEP: u64 = 1 << 14;

/// Goes on with other registers, and what they do shall not concern the guest: it keeps its breakpoints
/// to itself, and its floating-point registers by an exception.
pub fn begin_detour(vmcs: &mut impl Vmcs, general: &mut Registers, block: &Registers) {
    write_back(vmcs, general, block);
    vmcs.write(guest::CR0, vmcs.read(guest::CR0) | CR0_TS);
    vmcs.write(guest::DR7, reset::DR7);
}

/// What a step changes, as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    before: BeforeStep,
    interruptibility: u64,
    pending: u64,
    debug_control: u64,
}

/// Prepares a confined run, for one instruction when `step`.
///
/// Behind the instruction comes the debug exception of the trap flag, before any interrupt; what is
/// pending before it is held off as behind MOV SS (SDM 28.7.3), for which the entry wants the flag's own
/// exception pending.
pub fn begin_step(vmcs: &mut impl Vmcs, general: &mut Registers, step: bool) -> Begun {
    let begun = Begun {
        before: BeforeStep { rflags: vmcs.read(guest::RFLAGS), dr6: general.dr6 },
        interruptibility: vmcs.read(guest::INTERRUPTIBILITY_STATE),
        pending: vmcs.read(guest::PENDING_DBG_EXCEPTIONS),
        debug_control: vmcs.read(guest::IA32_DEBUGCTL_FULL),
    };
    general.dr6 &= !(DR6_SINGLE_STEP | DR6_MET);
    if step {
        vmcs.write(guest::RFLAGS, begun.before.rflags | RFLAGS_TRAP);
        change_interruptibility(vmcs, BY_STI, BY_MOV_SS);
        vmcs.write(guest::PENDING_DBG_EXCEPTIONS, begun.pending | PENDING_STEP);
        // Every instruction, not every branch.
        vmcs.write(guest::IA32_DEBUGCTL_FULL, 0);
        vmcs.write(guest::ACTIVITY_STATE, 0);
    }
    begun
}

/// Takes what the step has changed out of the guest's state, and gives the address to a page fault.
/// `entered`: the last exit is this run's.
pub fn end_step(
    vmcs: &mut impl Vmcs,
    general: &mut Registers,
    begun: Begun,
    [step, entered]: [bool; 2],
) -> Stepped {
    if let Some(address) = fault_address(vmcs).filter(|_| entered) {
        general.cr2 = address;
    }
    let told = debug_status(vmcs).filter(|_| entered);
    general.dr6 |= told.unwrap_or_default();
    let (mut rflags, dr7) = (vmcs.read(guest::RFLAGS), vmcs.read(guest::DR7));
    let stepped = begun.before.end(told, false, [&mut rflags, &mut general.dr6], dr7);
    vmcs.write(guest::RFLAGS, rflags);
    if step {
        vmcs.write(guest::IA32_DEBUGCTL_FULL, begun.debug_control);
        let pending = match stepped {
            Stepped::Not => {
                let held = begun.interruptibility & (BY_STI | BY_MOV_SS);
                change_interruptibility(vmcs, BY_STI | BY_MOV_SS, held);
                begun.pending
            }
            _ => 0,
        };
        vmcs.write(guest::PENDING_DBG_EXCEPTIONS, pending);
    }
    stepped
}
