//! A CD-ROM image with GRUB, for BIOS and UEFI.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs and files that making an ISO needs, each with the Debian package that brings it.
pub const NEEDS: [(&str, &str); 5] = [
    ("grub-mkrescue", "grub-common"),
    ("xorriso", "xorriso"),
    ("mformat", "mtools"),
    ("/usr/lib/grub/i386-pc/moddep.lst", "grub-pc-bin"),
    ("/usr/lib/grub/x86_64-efi/moddep.lst", "grub-efi-amd64-bin"),
];

/// Why there is no ISO.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An option of LUCOS would be something else in GRUB's language.
    #[error("GRUB cannot pass on {0:?}")]
    Options(String),
    /// grub-mkrescue failed.
    #[error("grub-mkrescue: {0}")]
    Grub(String),
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// Writes an ISO that boots `image` (the boot stub) with the boot bundle and LUCOS's options.
///
/// # Errors
/// When a file cannot be read or written, or GRUB's program fails.
pub fn write(place: &Path, image: &Path, bundle: &[u8], options: &str) -> Result<(), Error> {
    let config = config(options)?;
    let work = tempfile::tempdir().map_err(file_error(&std::env::temp_dir()))?;
    let boot = work.path().join("boot");
    let grub = boot.join("grub");
    fs::create_dir_all(&grub).map_err(file_error(&grub))?;
    fs::copy(image, boot.join("lucos")).map_err(file_error(image))?;
    let member = boot.join("bundle");
    fs::write(&member, bundle).map_err(file_error(&member))?;
    let file = grub.join("grub.cfg");
    fs::write(&file, config).map_err(file_error(&file))?;
    let output = Command::new("grub-mkrescue")
        .arg("-o")
        .args([place, work.path()])
        .output()
        .map_err(|error| Error::Grub(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(Error::Grub(message.trim().to_owned()))
}

fn config(options: &str) -> Result<String, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "=.,:/_- ".contains(c);
    if !options.chars().all(allowed) {
        return Err(Error::Options(options.to_owned()));
    }
    Ok(format!(
        "set timeout=0\n\
         menuentry \"LUCOS\" {{\n\
         \tmultiboot2 /boot/lucos {options}\n\
         \tmodule2 /boot/bundle bundle\n\
         }}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_cannot_leave_their_line() {
        assert!(config("debugcon=0xe9 serial=0x3f8").is_ok());
        for options in ["a\nreboot", "a;b", "$a", "}"] {
            assert!(config(options).is_err(), "{options}");
        }
    }
}
