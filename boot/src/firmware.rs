//! The firmware's ACPI tables: which processors there are.

use core::ptr::NonNull;

use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use heapless::Vec;
use lucos_abi::boot::MAX_CPUS;
use lucos_boot::error::BootError;

use crate::console;
use crate::load::REACH;

/// APIC ids of the usable processors; `own`, of the one that runs this, comes first.
///
/// # Errors
/// The tables are broken, or name no processors or too many.
pub fn processors(rsdp: u64, own: u32) -> Result<Vec<u32, MAX_CPUS>, BootError> {
    let no_processors = |_| BootError::NoProcessors;
    let address = usize::try_from(rsdp).map_err(|_| BootError::NoProcessors)?;
    // SAFETY: the address is the one that firmware or boot loader gave; the crate checks signature
    // and checksum of everything it follows from there.
    let tables = unsafe { AcpiTables::from_rsdp(Firmware, address) }.map_err(no_processors)?;
    let madt = tables.find_table::<Madt>().map_err(no_processors)?;
    let mut ids = Vec::from_iter([own]);
    for id in madt.get().entries().filter_map(|entry| usable(&entry)) {
        if !ids.contains(&id) {
            ids.push(id).map_err(|_| BootError::TooManyProcessors)?;
        }
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

/// Tables are where the stub's own tables map all memory in reach.
#[derive(Clone, Copy, Debug)]
struct Firmware;

impl AcpiHandler for Firmware {
    unsafe fn map_physical_region<T>(
        &self,
        address: usize,
        size: usize,
    ) -> PhysicalMapping<Self, T> {
        let in_reach = address.checked_add(size).is_some_and(|end| end as u64 <= REACH);
        match NonNull::new(address as *mut T).filter(|_| in_reach) {
            // SAFETY: the stub's tables map everything in reach onto itself.
            Some(place) => unsafe { PhysicalMapping::new(address, place, size, size, Self) },
            None => console::fault(&BootError::OutOfReach(address as u64)),
        }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}
