//! VT-x: a back-end.

pub mod host;
pub mod vcpu;
pub mod world_switch;

use crate::arch::backend::{Backend, Extension};
use crate::arch::msr;
use crate::fatal::Fatal;
use crate::memory::direct::Pages;
use alloc::boxed::Box;
use lucos_paging::{Format, PageSize};
use lucos_vtx::{Capabilities, MsrMap, Offer, may_be_switched_on};
use spin::Once;
use x86::msr::{
    IA32_FEATURE_CONTROL, IA32_VMX_BASIC, IA32_VMX_EPT_VPID_CAP, IA32_VMX_PROCBASED_CTLS2,
    IA32_VMX_TRUE_ENTRY_CTLS, IA32_VMX_TRUE_EXIT_CTLS, IA32_VMX_TRUE_PINBASED_CTLS,
    IA32_VMX_TRUE_PROCBASED_CTLS,
};

/// What this processor offers.
fn capabilities() -> Capabilities {
    let read = |number| msr::read(number).unwrap_or_default();
    Capabilities {
        basic: read(IA32_VMX_BASIC),
        pin: read(IA32_VMX_TRUE_PINBASED_CTLS),
        primary: read(IA32_VMX_TRUE_PROCBASED_CTLS),
        secondary: read(IA32_VMX_PROCBASED_CTLS2),
        exit: read(IA32_VMX_TRUE_EXIT_CTLS),
        entry: read(IA32_VMX_TRUE_ENTRY_CTLS),
        ept: read(IA32_VMX_EPT_VPID_CAP),
    }
}

/// What LUCOS uses of it.
fn offer() -> Result<Offer, Fatal> {
    capabilities().offer().map_err(Fatal::MissingFeature)
}

/// The extension is there, not locked, and has what LUCOS needs.
///
/// # Errors
/// What is missing.
pub fn probe() -> Result<Extension, Fatal> {
    unlock()?;
    let offer = offer()?;
    log::info!("VT-x, secondary controls {:#x}", offer.controls.secondary);
    let make = |_: &Extension, shared, descriptors: &_| {
        Ok(Box::new(vcpu::VtxVcpu::new(shared, descriptors)?) as Box<dyn Backend>)
    };
    let largest = if offer.huge_pages { PageSize::Huge } else { PageSize::Large };
    Ok(Extension { format: Format::IntelEpt, largest, hides_cpuid: true, make })
}

/// Lets VMXON work, where the firmware has left that open.
fn unlock() -> Result<(), Fatal> {
    let control = msr::read(IA32_FEATURE_CONTROL).unwrap_or_default();
    let change = may_be_switched_on(control).ok_or(Fatal::ExtensionLocked)?;
    // SAFETY: the register says which extensions may be switched on, and nothing else of what changes.
    let written =
        change.is_none_or(|value| unsafe { msr::write(IA32_FEATURE_CONTROL, value) }.is_some());
    written.then_some(()).ok_or(Fatal::ExtensionLocked)
}

/// Makes a region that the processor keeps for itself. Returns its physical address.
fn region(revision: u32) -> Result<u64, Fatal> {
    let page = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
    let phys = page.phys();
    if let Some(first) = page.leak().first_chunk_mut() {
        *first = revision.to_le_bytes();
    }
    Ok(phys)
}

/// Physical address of the map of registers that stop the guest, the same for every vCPU.
fn msr_map() -> Result<u64, Fatal> {
    static MAP: Once<u64> = Once::new();
    let make = || {
        let page = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
        let phys = page.phys();
        // SAFETY: the map is bytes, and the page has its size.
        unsafe { page.leak_as::<MsrMap>() }.configure();
        Ok(phys)
    };
    MAP.try_call_once(make).copied()
}
