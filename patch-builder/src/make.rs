//! Calls the kernel's build system.

use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::Error;

/// What the kernels of both series were built with.
pub const COMPILER: &str = "gcc-12";

/// One call of `make`.
pub struct Make {
    command: Command,
}

impl Make {
    /// In a source tree or a folder of headers.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = Command::new("make");
        command
            .arg("-C")
            .arg(folder)
            .arg(format!("-j{jobs}"))
            .arg(format!("CC={COMPILER}"))
            .arg(format!("HOSTCC={COMPILER}"))
            .env("LC_ALL", "C");
        // Settings of a make around us are not for this one.
        for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", "ARCH", "KCFLAGS"] {
            command.env_remove(name);
        }
        Self { command }
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.arg(format!("{name}={value}"));
        self
    }

    /// Sets a variable of the programs that make starts.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &Path) -> Self {
        self.command.env(name, value);
        self
    }

    /// Makes targets, whatever happens.
    ///
    /// # Errors
    /// When make does not start.
    pub fn output(mut self, targets: &[&str]) -> Result<Output, Error> {
        self.command
            .args(targets)
            .output()
            .map_err(|error| Error::Program { program: "make".into(), message: error.to_string() })
    }

    /// Makes as many of the targets as can be made, and gives all that was printed; what was said
    /// about one target stands together.
    ///
    /// # Errors
    /// When make does not start or is ended by a signal.
    pub fn transcript(mut self, targets: &[&str]) -> Result<String, Error> {
        let failed = |error: std::io::Error| Error::Program {
            program: "make".into(),
            message: error.to_string(),
        };
        let mut text = tempfile::tempfile().map_err(failed)?;
        self.command.args(["--keep-going", "--output-sync=target"]).args(targets);
        self.command.stdout(text.try_clone().map_err(failed)?);
        self.command.stderr(text.try_clone().map_err(failed)?).stdin(Stdio::null());
        let status = self.command.status().map_err(failed)?;
        if status.code().is_none() {
            return Err(Error::Program { program: "make".into(), message: status.to_string() });
        }
        let mut bytes = Vec::new();
        text.rewind().and_then(|()| text.read_to_end(&mut bytes)).map_err(failed)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes targets.
    ///
    /// # Errors
    /// When make does not start or fails.
    pub fn run(self, targets: &[&str]) -> Result<(), Error> {
        let output = self.output(targets)?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Program { program: format!("make {}", targets.join(" ")), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_make_that_is_ended_has_no_transcript() {
        let folder = tempfile::tempdir().unwrap();
        let makefile = "bad: ; @echo mm/x.c:1:1: error: x; false\nended: ; @kill -KILL $$PPID\n";
        std::fs::write(folder.path().join("Makefile"), makefile).unwrap();
        let text = Make::new(folder.path()).transcript(&["bad"]).unwrap();
        assert!(text.contains("error: x"), "{text}");
        let error = Make::new(folder.path()).transcript(&["ended"]).unwrap_err();
        assert!(error.to_string().contains("signal: 9"), "{error}");
    }
}
