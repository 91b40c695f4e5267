//! AMD-V: a back-end.

pub mod nmi;
pub mod vcpu;
pub mod world_switch;

use crate::arch::backend::{Backend, Extension};
use crate::arch::{cpuid, msr};
use crate::fatal::Fatal;
use crate::memory::direct::Pages;
use crate::memory::kernel_space::largest_page;
use alloc::boxed::Box;
use core::ops::RangeInclusive;
use lucos_paging::Format;
use lucos_svm::{Assists, EFER_SVME, MsrMap};
use spin::Once;
use x86::msr::{IA32_EFER, rdmsr, wrmsr};

const VM_CR: u32 = 0xc001_0114;
const VM_CR_SVMDIS: u64 = 1 << 4;
/// INIT becomes an exception (APM vol. 2, 15.30.1).
const VM_CR_R_INIT: u64 = 1 << 1;
const VM_HSAVE_PA: u32 = 0xc001_0117;
/// What CPUID says in EDX (lower half) and ECX of leaf 0x8000_0001, on AMD's own processors.
const CPUID_FEATURES: u32 = 0xc001_1005;
const FEATURE_SVM: u64 = 1 << (32 + 2);
/// Registers of machine-check banks (APM vol. 2, 9.3.2.1). They lie outside of the map, so that every
/// access leaves the guest; Linux ends with a panic when one fails.
const MACHINE_CHECK: RangeInclusive<u32> = 0xc000_2000..=0xc000_2fff;
/// Registers of which the guest may change some bits, those that Linux changes. HWCR: MONITOR in
/// ring 3, writable machine-check registers, the boost switch, counting while halted, the counter of
/// retired instructions. NB_CFG: extended configuration space by the ports.
const PARTLY_WRITABLE: [(u32, u64); 2] =
    [(0xc001_0015, 1 << 10 | 1 << 18 | 1 << 25 | 1 << 26 | 1 << 30), (0xc001_001f, 1 << 46)];

/// The extension is there, not locked, and has nested paging.
///
/// # Errors
/// What is missing.
pub fn probe(hypervisor_below: bool) -> Result<Extension, Fatal> {
    // SAFETY: the caller has checked that the processor has SVM, so the register exists.
    if unsafe { rdmsr(VM_CR) } & VM_CR_SVMDIS != 0 {
        return Err(Fatal::ExtensionLocked);
    }
    if !assists().contains(Assists::NESTED_PAGING) {
        return Err(Fatal::MissingFeature("nested paging"));
    }
    if hypervisor_below && !assists().contains(Assists::NEXT_RIP) {
        return Err(Fatal::MissingFeature("next-RIP save, needed to hide another hypervisor"));
    }
    log::info!("AMD-V, assists: {:?}", assists());
    let make = |extension: &Extension, shared, _: &_| {
        Ok(Box::new(vcpu::SvmVcpu::new(extension, shared)?) as Box<dyn Backend>)
    };
    let (format, largest) = (Format::AmdNested, largest_page());
    Ok(Extension { format, largest, hides_cpuid: hypervisor_below, make })
}

/// What this processor offers beyond the basic extension.
pub fn assists() -> Assists {
    Assists::from_bits_truncate(cpuid::svm_features().edx)
}

/// Switches the extension on for this processor. Returns the physical address of the page in which
/// VMLOAD finds LUCOS's own state.
///
/// INIT becomes an exception, #SX, in the guest and in LUCOS alike (APM vol. 2, 15.28). An intercept
/// of INIT would not do: the INIT stays pending, and would be taken after STGI. A processor without
/// that ignores the write.
fn enable() -> Result<u64, Fatal> {
    let save_area = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
    let own_state = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
    // SAFETY: the extension is there (`probe`). The save area is a page of LUCOS that nobody else
    // uses; so is `own_state`, in which VMSAVE stores the present segments. #SX has its handler
    // (`trap`), and LUCOS sends INIT to no running processor.
    unsafe {
        wrmsr(IA32_EFER, rdmsr(IA32_EFER) | EFER_SVME);
        wrmsr(VM_HSAVE_PA, save_area);
        world_switch::save(own_state);
        wrmsr(VM_CR, rdmsr(VM_CR) | VM_CR_R_INIT);
    }
    hide_extension();
    Ok(own_state)
}

/// Takes AMD-V out of what CPUID says, where the processor has a register for that.
fn hide_extension() {
    let said = u64::from(cpuid::read(0x8000_0001, 0).ecx);
    if let Some(features) = msr::read(CPUID_FEATURES).filter(|features| features >> 32 == said) {
        // SAFETY: the register only changes what CPUID says, and LUCOS has asked already.
        let _ = unsafe { msr::write(CPUID_FEATURES, features & !FEATURE_SVM) };
    }
}

/// The value of a register whose reads leave the guest though it is the machine's own.
pub fn read_register(number: u32) -> Option<u64> {
    MACHINE_CHECK.contains(&number).then(|| msr::read(number))?
}

/// Writes a register for the guest; `None` when it may not write it, or not this value.
pub fn write_register(number: u32, value: u64) -> Option<()> {
    if !MACHINE_CHECK.contains(&number) {
        let (_, bits) = PARTLY_WRITABLE.into_iter().find(|(partly, _)| *partly == number)?;
        if (msr::read(number)? ^ value) & !bits != 0 {
            return None;
        }
    }
    // SAFETY: machine-check registers hold reports of errors; of the others no further bit changes.
    unsafe { msr::write(number, value) }
}

/// Physical address of the map of registers that stop the guest, the same for every vCPU.
fn msr_map() -> Result<u64, Fatal> {
    static MAP: Once<u64> = Once::new();
    let make = || {
        let pages = Pages::allocate(2).ok_or(Fatal::OutOfMemory)?;
        let phys = pages.phys();
        // SAFETY: the map is bytes, and the pages have its size.
        unsafe { pages.leak_as::<MsrMap>() }.configure();
        Ok(phys)
    };
    MAP.try_call_once(make).copied()
}
