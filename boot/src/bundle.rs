//! The bundle: one tar archive with everything that LUCOS consists of.

use heapless::{String, Vec};
use lucos_abi::boot::{MAX_MODULES, Module};
use tar_no_std::TarArchiveRef;

use crate::error::BootError;

/// What is in the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// The kernel's ELF file.
    pub kernel: &'a [u8],
    /// All other members.
    pub modules: Vec<Module, MAX_MODULES>,
}

/// Opens the bundle that lies at physical address `address`.
///
/// # Errors
/// The bytes are no tar archive, a name is not usable, or there is no kernel.
pub fn open(bytes: &[u8], address: u64) -> Result<Bundle<'_>, BootError> {
    let archive = TarArchiveRef::new(bytes).map_err(BootError::BadBundle)?;
    let mut kernel = None;
    let mut modules: Vec<Module, MAX_MODULES> = Vec::new();
    for entry in archive.entries() {
        let name = entry.filename();
        let name = name.as_str().map_err(|_| BootError::BadMember)?;
        let known = modules.iter().any(|module| module.name == name);
        if known || (name == "kernel" && kernel.is_some()) {
            return Err(BootError::BadMember);
        }
        if name == "kernel" {
            kernel = Some(entry.data());
            continue;
        }
        let offset = entry.data().as_ptr() as u64 - bytes.as_ptr() as u64;
        let module = Module {
            name: String::try_from(name).map_err(|_| BootError::BadMember)?,
            start: address + offset,
            length: entry.data().len() as u64,
        };
        modules.push(module).map_err(|_| BootError::BadMember)?;
    }
    let kernel = kernel.ok_or(BootError::NoKernel)?;
    Ok(Bundle { kernel, modules })
}
