//! AMD-V: one back-end of `arch::vcpu`.

pub mod nmi;
pub mod vcpu;
pub mod world_switch;

use crate::arch::cpuid;
use crate::fatal::Fatal;
use crate::memory::direct::Pages;
use lucos_svm::{Assists, MsrMap};
use spin::Mutex;
use x86::msr::{IA32_EFER, rdmsr, wrmsr};

const EFER_SVME: u64 = 1 << 12;
const VM_CR: u32 = 0xc001_0114;
const VM_CR_SVMDIS: u64 = 1 << 4;
/// INIT becomes an exception that LUCOS sees instead of a reset (APM vol. 2, 15.21.8, 15.30.1).
const VM_CR_R_INIT: u64 = 1 << 1;
const VM_HSAVE_PA: u32 = 0xc001_0117;
const SVM_KEY: u32 = 0xc001_0118;
const APIC_BASE: u32 = 0x1b;
const EFER: u32 = 0xc000_0080;

/// The extension is there, not locked, and has nested paging.
///
/// # Errors
/// What is missing.
pub fn probe() -> Result<(), Fatal> {
    // SAFETY: the caller has checked that the processor has SVM, so the register exists.
    if unsafe { rdmsr(VM_CR) } & VM_CR_SVMDIS != 0 {
        return Err(Fatal::ExtensionLocked);
    }
    if !assists().contains(Assists::NESTED_PAGING) {
        return Err(Fatal::MissingFeature("nested paging"));
    }
    if cpuid::has_hypervisor_interface() && !assists().contains(Assists::NEXT_RIP) {
        return Err(Fatal::MissingFeature("next-RIP save, needed to hide another hypervisor"));
    }
    log::info!("AMD-V, assists: {:?}", assists());
    Ok(())
}

/// Switches on that INIT comes to LUCOS. False where the processor does not implement that: there
/// the write is ignored.
pub fn redirect_init() -> bool {
    // SAFETY: the processor has SVM (`probe`). The bit only matters for INIT, which LUCOS sends to
    // no running processor.
    unsafe {
        wrmsr(VM_CR, rdmsr(VM_CR) | VM_CR_R_INIT);
        rdmsr(VM_CR) & VM_CR_R_INIT != 0
    }
}

/// What this processor offers beyond the basic extension.
pub fn assists() -> Assists {
    Assists::from_cpuid(cpuid::svm_features().edx)
}

/// Switches the extension on for this processor. Returns the physical address of the page in which
/// VMLOAD finds LUCOS's own state.
fn enable() -> Result<u64, Fatal> {
    let save_area = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
    let own_state = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
    // SAFETY: the extension is there (`probe`). The save area is a page of LUCOS that nobody else
    // uses; so is `own_state`, in which VMSAVE stores the present segments.
    unsafe {
        wrmsr(IA32_EFER, rdmsr(IA32_EFER) | EFER_SVME);
        wrmsr(VM_HSAVE_PA, save_area);
        world_switch::save(own_state);
    }
    redirect_init();
    Ok(own_state)
}

/// Physical address of the map of registers that LUCOS keeps from the guest, the same for every
/// vCPU.
fn msr_map() -> Result<u64, Fatal> {
    static MAP: Mutex<Option<u64>> = Mutex::new(None);
    let mut shared = MAP.lock();
    if let Some(phys) = *shared {
        return Ok(phys);
    }
    let pages = Pages::allocate(2).ok_or(Fatal::OutOfMemory)?;
    let phys = pages.phys();
    // SAFETY: a map is bytes, and the two pages are its size.
    let map = unsafe { pages.leak_as::<MsrMap>() };
    for (register, read, write) in [
        (EFER, true, true),
        (VM_CR, true, true),
        (VM_HSAVE_PA, true, true),
        (SVM_KEY, true, true),
        (APIC_BASE, false, true),
    ] {
        // All of them lie in the map's ranges.
        let _ = map.set(register, read, write);
    }
    *shared = Some(phys);
    Ok(phys)
}
