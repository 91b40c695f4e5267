//! Files in which names stand, found by reading words: for advice, and for what a cut lacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, at};

/// The files of the parts that this architecture compiles in which one of the names stands.
pub(crate) fn files_naming(
    root: &Path,
    names: &BTreeSet<String>,
    pattern: &str,
) -> Result<Vec<String>, Error> {
    let mut command = Command::new("grep");
    command
        .current_dir(root)
        .args(["-rlwFI", "--include", pattern])
        .args(["--exclude-dir=Documentation", "--exclude-dir=tools", "--exclude-dir=samples"])
        .args(["--exclude-dir=scripts", "--exclude-dir=.git"]);
    for name in names {
        command.arg("-e").arg(name);
    }
    let folders = folders(root)?;
    let output = command
        .args(&folders)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| Error::Program { program: "grep".into(), message: error.to_string() })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

/// The top-level folders, of the architectures only x86.
fn folders(root: &Path) -> Result<Vec<String>, Error> {
    let mut folders = vec![String::from("arch/x86")];
    for entry in fs::read_dir(root).map_err(at(root))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != "arch" {
            folders.push(name);
        }
    }
    Ok(folders)
}
