//! Which virtualization extension this machine has.

use super::backend::Extension;
use super::{cpuid, port, svm};
use crate::fatal::Fatal;
use spin::Once;

static EXTENSION: Once<Extension> = Once::new();

/// Finds the extension, once and for all processors. Each switches it on in `Vcpu::new`. The guest
/// must not use the interface of a hypervisor below, if there is one.
///
/// # Errors
/// There is none, it is locked, or it lacks something.
pub fn probe(hypervisor_below: bool) -> Result<(), Fatal> {
    if !cpuid::has(cpuid::SVM) {
        return Err(Fatal::NoExtension);
    }
    EXTENSION.try_call_once(|| svm::probe(hypervisor_below)).map(|_| ())
}

/// The extension that [`probe`] found.
///
/// # Errors
/// It was not called, or found none.
pub fn extension() -> Result<&'static Extension, Fatal> {
    EXTENSION.get().ok_or(Fatal::NoExtension)
}

/// Makes every access of the guest to a port an exit; `None` before there is a vCPU.
pub fn intercept_port(port: u16) -> Option<()> {
    svm::io_map().map(|map| map.intercept(port))
}

/// Reads a port, or writes it, for the guest; `None` unless an access of this size is an exit.
pub fn access_port(port: u16, size: u8, output: Option<u32>) -> Option<u32> {
    svm::io_map()?.stops(port, size).then(|| port::access(port, size, output))?
}
