//! Control registers: what must be on before tasks and guests run.

use super::cpuid;
use crate::fatal::Fatal;
use lucos_abi::registers::EFER_NXE;
use x86::controlregs::{Cr0, Cr4, cr0_write, cr4, cr4_write};
use x86::msr::{IA32_EFER, rdmsr, wrmsr};

/// Sets up this processor's control registers: write protection in ring 0, no-execute, SMEP and
/// SMAP, no floating point (the FPU holds the guest's state and is never touched here).
///
/// # Errors
/// The processor lacks something that LUCOS needs.
pub fn enable_protections() -> Result<(), Fatal> {
    if !cpuid::has(cpuid::NO_EXECUTE) {
        return Err(Fatal::MissingFeature("no-execute pages"));
    }
    // SAFETY: setting NXE changes only bit 63 of page-table entries, which LUCOS's tables use as
    // such.
    unsafe { wrmsr(IA32_EFER, rdmsr(IA32_EFER) | EFER_NXE) };
    // Without machine checks the error of another processor, which Intel's tell all, would end this
    // one as well.
    let mut protections =
        Cr4::CR4_ENABLE_PAE | Cr4::CR4_ENABLE_GLOBAL_PAGES | Cr4::CR4_ENABLE_MACHINE_CHECK;
    protections.set(Cr4::CR4_ENABLE_SMEP, cpuid::has(cpuid::SMEP));
    protections.set(Cr4::CR4_ENABLE_SMAP, cpuid::has(cpuid::SMAP));
    protections.set(Cr4::CR4_ENABLE_UMIP, cpuid::has(cpuid::UMIP));
    let on = Cr0::CR0_ENABLE_PAGING
        | Cr0::CR0_PROTECTED_MODE
        | Cr0::CR0_WRITE_PROTECT
        | Cr0::CR0_NUMERIC_ERROR
        | Cr0::CR0_EXTENSION_TYPE
        | Cr0::CR0_EMULATE_COPROCESSOR;
    // SAFETY: paging and PAE stay on. The added bits restrict; the kernel never executes or
    // touches user pages through user addresses and uses no floating point.
    unsafe {
        cr0_write(on);
        cr4_write(protections);
    }
    Ok(())
}

/// Lets VMXON work, and the guest's XSETBV be done.
pub fn enable_vtx() {
    let mut on = Cr4::CR4_ENABLE_VMX;
    on.set(Cr4::CR4_ENABLE_OS_XSAVE, cpuid::has(cpuid::XSAVE));
    // SAFETY: the processor has what is switched on, and nothing else changes.
    unsafe { cr4_write(cr4() | on) };
}

/// Writes the caches back to memory and empties them.
pub fn write_back_caches() {
    // SAFETY: the content of memory stays the same.
    unsafe { core::arch::asm!("wbinvd", options(nostack)) };
}

/// Halts for good, whatever comes.
pub fn halt_for_ever() -> ! {
    loop {
        // SAFETY: halting has no effect on memory.
        unsafe { x86::halt() }
    }
}
