//! What the running system allows.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lucos_guest_interface::detection;

use crate::error::Error;

/// Whether LUCOS's register is there; `None` where the kernel's driver for such registers is not.
#[must_use]
pub fn lucos_is_underneath() -> Option<bool> {
    let registers = File::open("/dev/cpu/0/msr").ok()?;
    let mut value = [0; 8];
    let read = registers.read_exact_at(&mut value, detection::REGISTER.into());
    let signature = (u64::from_le_bytes(value) >> 32) as u32;
    Some(read.is_ok() && signature == detection::SIGNATURE)
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
