//! Events that are delivered to the guest (SDM 26.8.3, 26.9.3), in the encoding of `lucos_vcpu::event`.

use lucos_vcpu::event::{EXCEPTION, HAS_ERROR_CODE, INTERRUPT, NMI, VALID, kind};
use lucos_vcpu::reset::CR0_PE;
use x86::vmx::vmcs::control::PrimaryControls;
use x86::vmx::vmcs::{control, guest, ro};

use crate::Vmcs;

/// The vector of debug exceptions.
pub const DEBUG: u8 = 1;
/// Those of INT3 and INTO.
const BREAKPOINT: u8 = 3;
const OVERFLOW: u8 = 4;

/// Type of the exceptions of INT3 and INTO, which come behind their instruction.
const SOFTWARE_EXCEPTION: u64 = 6;
/// DR7: an access to a debug register is an exception. A debug exception clears it.
const GENERAL_DETECT: u64 = 1 << 13;

/// Interrupts are held off behind STI, or behind MOV SS, with NMIs; an NMI is being handled (SDM table
/// 26-3).
pub(crate) const BY_STI: u64 = 1;
pub(crate) const BY_MOV_SS: u64 = 1 << 1;
const BY_NMI: u64 = 1 << 3;

/// The IRET that faulted had let NMIs in: a bit of what an exit tells (SDM 29.2.2).
const UNBLOCKED_BY_IRET: u64 = 1 << 12;

/// Has the next entry deliver an encoded event, or nothing for 0. `length` is that of the instruction at
/// RIP.
pub fn deliver(vmcs: &mut impl Vmcs, event: u64, length: u8) {
    if event == 0 {
        vmcs.write(control::VMENTRY_INTERRUPTION_INFO_FIELD, 0);
        return;
    }
    let vector = event as u8;
    let mut info = event & 0xffff_ffff;
    match (kind(event), vector) {
        (EXCEPTION, BREAKPOINT | OVERFLOW) => {
            info = info & !(7 << 8) | SOFTWARE_EXCEPTION << 8;
            vmcs.write(control::VMENTRY_INSTRUCTION_LEN, length.max(1).into());
        }
        (EXCEPTION, DEBUG) => {
            let dr7 = vmcs.read(guest::DR7);
            vmcs.write(guest::DR7, dr7 & !GENERAL_DETECT);
        }
        // It may come there, and the entry wants it so.
        (NMI, _) => change_interruptibility(vmcs, BY_STI, 0),
        _ => {}
    }
    // In real mode nothing has an error code.
    if vmcs.read(guest::CR0) & CR0_PE == 0 {
        info &= !HAS_ERROR_CODE;
    }
    vmcs.write(control::VMENTRY_EXCEPTION_ERR_CODE, event >> 32);
    vmcs.write(control::VMENTRY_INTERRUPTION_INFO_FIELD, info);
    vmcs.write(guest::ACTIVITY_STATE, 0);
}

/// Takes note of what the exit says of NMIs, and gives the event whose delivery it interrupted, to be
/// delivered again, since nobody else remembers it. The instructions of software interrupts, INT3, INTO
/// and INT1 run again.
pub fn interrupted_event(vmcs: &mut impl Vmcs) -> Option<u64> {
    let info = vmcs.read(ro::IDT_VECTORING_INFO);
    if info & VALID == 0 {
        return None;
    }
    match kind(info) {
        // Its handler has not begun.
        NMI => forget_virtual_nmi(vmcs),
        INTERRUPT | EXCEPTION => {}
        _ => return None,
    }
    let has_code = info & HAS_ERROR_CODE != 0;
    let code = if has_code { vmcs.read(ro::IDT_VECTORING_ERR_CODE) } else { 0 };
    Some(info & (VALID | HAS_ERROR_CODE | 0x7ff) | code << 32)
}

/// After a fault of IRET, whose exit tells so in `told`, an NMI is still being handled.
pub(crate) fn mind_iret(vmcs: &mut impl Vmcs, told: u64) {
    if told & UNBLOCKED_BY_IRET != 0 && vmcs.read(ro::IDT_VECTORING_INFO) & VALID == 0 {
        change_interruptibility(vmcs, 0, BY_NMI);
    }
}

/// No NMI is being handled.
pub fn forget_virtual_nmi(vmcs: &mut impl Vmcs) {
    change_interruptibility(vmcs, BY_NMI, 0);
}

/// An NMI cannot be delivered now.
pub fn nmi_is_held(vmcs: &impl Vmcs) -> bool {
    vmcs.read(guest::INTERRUPTIBILITY_STATE) & (BY_MOV_SS | BY_NMI) != 0
}

/// An interrupt cannot be delivered now.
pub fn interrupt_is_held(vmcs: &impl Vmcs) -> bool {
    const INTERRUPTS: u64 = 1 << 9;
    vmcs.read(guest::INTERRUPTIBILITY_STATE) & (BY_STI | BY_MOV_SS) != 0
        || vmcs.read(guest::RFLAGS) & INTERRUPTS == 0
}

/// Controls that make the guest leave as soon as it can take an NMI, or an interrupt.
pub const fn window(nmi: bool, interrupt: bool) -> u32 {
    let nmi = if nmi { PrimaryControls::NMI_WINDOW_EXITING.bits() } else { 0 };
    nmi | if interrupt { PrimaryControls::INTERRUPT_WINDOW_EXITING.bits() } else { 0 }
}

pub(crate) fn change_interruptibility(vmcs: &mut impl Vmcs, clear: u64, set: u64) {
    let state = vmcs.read(guest::INTERRUPTIBILITY_STATE);
    vmcs.write(guest::INTERRUPTIBILITY_STATE, state & !clear | set);
}
