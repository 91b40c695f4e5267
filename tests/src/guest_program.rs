//! Programs of `tests/guest-programs`, compiled for the guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

/// Compiles a program, a folder of C files or one file, into `folder`. Gives the program's place.
///
/// # Errors
/// When there is no such program, or it does not compile, with what the compiler says.
pub fn guest_program(name: &str, folder: &Path) -> Result<PathBuf, Failed> {
    let place = folder.join(name);
    let output = Command::new("cc")
        .args(["-O2", "-static", "-pthread", "-I"])
        .arg(crate::folder("../guest/include"))
        .arg("-o")
        .arg(&place)
        .args(sources(name)?)
        .output()?;
    if output.status.success() {
        return Ok(place);
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn sources(name: &str) -> Result<Vec<PathBuf>, Failed> {
    let program = crate::folder("guest-programs").join(name);
    if !program.is_dir() {
        return Ok(vec![program.with_extension("c")]);
    }
    let mut sources: Vec<PathBuf> = std::fs::read_dir(program)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    Ok(sources)
}
