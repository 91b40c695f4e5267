//! LUCOS's own state, which every exit brings back.

use super::world_switch::{CurrentVmcs, exit_address};
use crate::arch::descriptors::{Descriptors, KERNEL_CODE, KERNEL_DATA, TASK_STATE};
use crate::memory::kernel_space;
use lucos_vtx::Vmcs;
use x86::controlregs::{cr0, cr4};
use x86::msr::{IA32_EFER, IA32_PAT, rdmsr};
use x86::vmx::vmcs::host;

/// Fills the host's part of the VMCS.
pub fn write(vmcs: &mut CurrentVmcs, descriptors: &Descriptors) {
    // SAFETY: reading these registers has no effect, and every processor in 64-bit mode has them.
    let (cr0, cr4, pat, efer) = unsafe { (cr0(), cr4(), rdmsr(IA32_PAT), rdmsr(IA32_EFER)) };
    let [gdt, interrupts, task_state] = descriptors.places();
    let data = KERNEL_DATA.bits().into();
    for (field, value) in [
        (host::CR0, cr0.bits() as u64),
        (host::CR3, kernel_space::table().root),
        (host::CR4, cr4.bits() as u64),
        (host::CS_SELECTOR, KERNEL_CODE.bits().into()),
        (host::SS_SELECTOR, data),
        (host::DS_SELECTOR, data),
        (host::ES_SELECTOR, data),
        (host::FS_SELECTOR, 0),
        (host::GS_SELECTOR, 0),
        (host::TR_SELECTOR, TASK_STATE.bits().into()),
        (host::FS_BASE, 0),
        (host::GS_BASE, 0),
        (host::TR_BASE, task_state),
        (host::GDTR_BASE, gdt),
        (host::IDTR_BASE, interrupts),
        (host::IA32_PAT_FULL, pat),
        (host::IA32_EFER_FULL, efer),
        (host::IA32_SYSENTER_CS, 0),
        (host::IA32_SYSENTER_ESP, 0),
        (host::IA32_SYSENTER_EIP, 0),
        (host::RIP, exit_address()),
    ] {
        vmcs.write(field, value);
    }
}
