//! What the running system allows.

use std::ffi::CString;
use std::path::Path;

use lucos_guest_interface::cpuid;

use crate::error::Error;

/// Whether CPUID shows the signature of LUCOS.
#[must_use]
pub fn lucos_is_underneath() -> bool {
    let leaf = raw_cpuid::cpuid!(cpuid::LEAF_SIGNATURE);
    (leaf.ebx, leaf.ecx, leaf.edx)
        == (cpuid::SIGNATURE_EBX, cpuid::SIGNATURE_ECX, cpuid::SIGNATURE_EDX)
}

/// The running kernel's release, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Checks that patches can be loaded at all.
///
/// # Errors
/// [`Error::NotRoot`], or [`Error::Lockdown`] when the kernel is locked down.
pub fn check_permissions() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    // Absent where security file systems are not mounted; loading fails then with its own error.
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    match lockdown_degree(&text) {
        None | Some("none") => Ok(()),
        Some(degree) => Err(Error::Lockdown(degree.to_owned())),
    }
}

/// The word in brackets.
fn lockdown_degree(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// Loads a module.
///
/// # Errors
/// What the kernel answers.
pub fn load_module(image: &[u8], parameters: &str) -> std::io::Result<()> {
    let parameters = CString::new(parameters)?;
    Ok(rustix::system::init_module(image, &parameters)?)
}

/// The state of a module: `live`, `coming` or `going`; `None` when none of this name is loaded.
#[must_use]
pub fn module_state(name: &str) -> Option<String> {
    let state = std::fs::read_to_string(Path::new("/sys/module").join(name).join("initstate"));
    state.ok().map(|state| state.trim().to_owned())
}

/// The note section with the build id of a loaded module; `None` when it has none.
#[must_use]
pub fn loaded_build_note(name: &str) -> Option<Vec<u8>> {
    let notes = Path::new("/sys/module").join(name).join("notes");
    std::fs::read(notes.join(".note.gnu.build-id")).ok()
}

#[cfg(test)]
mod tests {
    use super::lockdown_degree;

    #[test]
    fn the_degree_stands_in_brackets() {
        assert_eq!(lockdown_degree("[none] integrity confidentiality\n"), Some("none"));
        assert_eq!(lockdown_degree("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(lockdown_degree(""), None);
    }
}
