//! Calls the kernel's build system.

use std::path::Path;
use std::process::{Command, Output};

use crate::error::Error;
use crate::kernel_tree::COMPILER;

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
