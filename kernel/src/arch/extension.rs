//! Which virtualization extension this machine has.

use super::backend::Extension;
use super::{cpuid, port, svm, vtx};
use crate::fatal::Fatal;
use crate::memory::direct::Pages;
use lucos_vcpu::IoMap;
use spin::Once;

static EXTENSION: Once<Extension> = Once::new();
static PORTS: Once<(&'static IoMap, u64)> = Once::new();

/// Finds the extension, once and for all processors. Each switches it on in `Vcpu::new`. The guest
/// must not use the interface of a hypervisor below, if there is one.
///
/// # Errors
/// There is none, it is locked, or it lacks something.
pub fn probe(hypervisor_below: bool) -> Result<(), Fatal> {
    let probe = || match [cpuid::has(cpuid::SVM), cpuid::has(cpuid::VMX)] {
        [true, _] => svm::probe(hypervisor_below),
        [_, true] => vtx::probe(),
        _ => Err(Fatal::NoExtension),
    };
    EXTENSION.try_call_once(probe).map(|_| ())
}

/// The extension that [`probe`] found.
///
/// # Errors
/// It was not called, or found none.
pub fn extension() -> Result<&'static Extension, Fatal> {
    EXTENSION.get().ok_or(Fatal::NoExtension)
}

/// The map of ports that stop the guest, the same for every vCPU, and where it lies.
///
/// # Errors
/// The region is full.
pub fn io_map() -> Result<(&'static IoMap, u64), Fatal> {
    let make = || {
        let pages = Pages::allocate(3).ok_or(Fatal::OutOfMemory)?;
        let phys = pages.phys();
        // SAFETY: the map is bytes, and the pages have its size.
        Ok((&*unsafe { pages.leak_as::<IoMap>() }, phys))
    };
    PORTS.try_call_once(make).copied()
}

/// Makes every access of the guest to a port an exit; `None` before there is a vCPU.
pub fn intercept_port(port: u16) -> Option<()> {
    PORTS.get().map(|(map, _)| map.intercept(port))
}

/// Reads a port, or writes it, for the guest; `None` unless an access of this size is an exit.
pub fn access_port(port: u16, size: u8, output: Option<u32>) -> Option<u32> {
    let (map, _) = PORTS.get()?;
    map.stops(port, size).then(|| port::access(port, size, output))?
}
