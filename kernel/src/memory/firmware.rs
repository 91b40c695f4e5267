//! The firmware's ACPI tables: which processors there are.

use super::{PAGE, kernel_space};
use crate::arch::cpuid;
use crate::fatal::Fatal;
use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use alloc::vec::Vec;
use core::ptr::NonNull;
use lucos_abi::boot::MAX_CPUS;

/// APIC ids of the usable processors; the one that runs this comes first.
///
/// # Errors
/// The tables are broken, or name no processors or too many.
pub fn processors(rsdp: u64) -> Result<Vec<u32>, Fatal> {
    let address = usize::try_from(rsdp).map_err(|_| Fatal::NoProcessors)?;
    // SAFETY: the address is the one that firmware or boot loader gave; the crate checks signature
    // and checksum of everything it follows from there.
    let tables =
        unsafe { AcpiTables::from_rsdp(Firmware, address) }.map_err(|_| Fatal::NoProcessors)?;
    let madt = tables.find_table::<Madt>().map_err(|_| Fatal::NoProcessors)?;
    let own = cpuid::apic_id();
    let mut ids = Vec::from([own]);
    for id in madt.get().entries().filter_map(|entry| usable(&entry)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.len() > MAX_CPUS {
        return Err(Fatal::TooManyProcessors);
    }
    Ok(ids)
}

/// The APIC id of an enabled processor (ACPI 6.4, 5.2.12.2 and 5.2.12.12).
fn usable(entry: &MadtEntry<'_>) -> Option<u32> {
    const ENABLED: u32 = 1;
    let (id, flags) = match entry {
        MadtEntry::LocalApic(local) => (local.apic_id.into(), local.flags),
        MadtEntry::LocalX2Apic(local) => (local.x2apic_id, local.flags),
        _ => return None,
    };
    (flags & ENABLED != 0).then_some(id)
}

/// Maps tables into the direct map.
#[derive(Clone, Copy, Debug)]
struct Firmware;

impl AcpiHandler for Firmware {
    unsafe fn map_physical_region<T>(
        &self,
        address: usize,
        size: usize,
    ) -> PhysicalMapping<Self, T> {
        let start = address as u64 & !(PAGE - 1);
        let pages = (start..address as u64 + size as u64).step_by(PAGE as usize);
        let mapped = pages
            .map(|page| kernel_space::map_page(page, false))
            .try_fold((), |(), page| page.map(drop));
        let place = super::direct::DIRECT as usize + address;
        let (Some(()), Some(place)) = (mapped, NonNull::new(place as *mut T)) else {
            crate::fatal::die(Fatal::OutOfMemory);
        };
        // SAFETY: the whole region was just mapped at `place`, for ever.
        unsafe { PhysicalMapping::new(address, place, size, size, Self) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}
