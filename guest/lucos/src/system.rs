//! What the running system allows.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lucos_guest_interface::detection;

use crate::error::Error;
use crate::resolve::Sections;

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

/// Unloads a module that nobody uses.
///
/// # Errors
/// What the kernel answers.
pub fn unload_module(name: &str) -> std::io::Result<()> {
    // Without waiting for those who use it.
    const NO_WAIT: i32 = 0o4000;
    Ok(rustix::system::delete_module(&CString::new(name)?, NO_WAIT)?)
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

/// Where a section of a loaded module is; `None` when the kernel does not show it.
#[must_use]
pub fn section_address(module: &str, section: &str) -> Option<u64> {
    let sections = Path::new("/sys/module").join(module).join("sections");
    let text = std::fs::read_to_string(sections.join(section)).ok()?;
    let address = u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()?;
    // What is hidden shows as zero.
    (address != 0).then_some(address)
}

/// Sections and build ids of the modules that are loaded.
pub struct LoadedSections;

impl Sections for LoadedSections {
    fn build_id(&self, module: &str) -> Option<String> {
        build_id_of_note(&loaded_build_note(module)?)
    }

    fn address(&self, module: &str, section: &str) -> Option<u64> {
        section_address(module, section)
    }
}

/// The identifier in a note section with a GNU build id, in hexadecimal digits.
#[must_use]
pub fn build_id_of_note(note: &[u8]) -> Option<String> {
    // Lengths of name and identifier, a type, the name `GNU`, each in words of four bytes.
    const NAME: &[u8] = b"\x04\0\0\0";
    const KIND_AND_OWNER: &[u8] = b"\x03\0\0\0GNU\0";
    let (length, rest) = note.strip_prefix(NAME)?.split_first_chunk::<4>()?;
    let id = rest.strip_prefix(KIND_AND_OWNER)?;
    let id = id.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::{build_id_of_note, lockdown_degree};

    #[test]
    fn a_build_id_is_read_out_of_its_note() {
        let note = b"\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\x0a\xff\x01\0";
        assert_eq!(build_id_of_note(note).as_deref(), Some("0aff01"));
        assert_eq!(build_id_of_note(&note[..18]), None);
        assert_eq!(build_id_of_note(&note[1..]), None);
        assert_eq!(build_id_of_note(b""), None);
    }

    #[test]
    fn the_degree_stands_in_brackets() {
        assert_eq!(lockdown_degree("[none] integrity confidentiality\n"), Some("none"));
        assert_eq!(lockdown_degree("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(lockdown_degree(""), None);
    }
}
