//! Programs of this machine.

use std::process::Command;

use crate::error::Error;

/// Runs a program that has nothing to say.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| Error::Program { program: program.clone(), message: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program, message })
}
