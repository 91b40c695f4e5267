//! One `cargo xtask run` without a person.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use wait_timeout::ChildExt;

/// Time for builds and downloads before the machine starts.
const PREPARATION: Duration = Duration::from_secs(900);

/// A run to be started.
pub struct Run {
    arguments: Vec<OsString>,
    timeout: u64,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status.
    pub status: Option<i32>,
    /// What came on standard output.
    pub stdout: Vec<u8>,
    /// What came on standard error.
    pub stderr: Vec<u8>,
    /// The log of LUCOS and the guest's kernel.
    pub log: String,
}

impl Run {
    /// A guest under LUCOS.
    pub fn lucos() -> Self {
        Self { arguments: Vec::new(), timeout: 120 }.argument("--debug")
    }

    /// A guest without LUCOS.
    pub fn bare() -> Self {
        Self { arguments: Vec::new(), timeout: 120 }.argument("--bare")
    }

    /// Adds one argument of `cargo xtask run`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Chooses the guest's series: `debian-6.1` or `debian-6.12`.
    #[must_use]
    pub fn guest(self, series: &str) -> Self {
        self.argument("--guest").argument(series)
    }

    /// Sets the number of processors.
    #[must_use]
    pub fn cpus(self, count: u32) -> Self {
        self.argument("--cpus").argument(count.to_string())
    }

    /// Sets the time, in seconds, after which the machine is ended.
    #[must_use]
    pub fn timeout(mut self, seconds: u64) -> Self {
        self.timeout = seconds;
        self
    }

    /// Runs a shell command in the guest.
    ///
    /// # Errors
    /// When the run does not start, or does not even end by its own time limit.
    pub fn exec(self, command: &str) -> Result<Finished, Failed> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let mut child = crate::xtask()
            .arg("run")
            .args(&self.arguments)
            .arg("--yes")
            .arg("--log")
            .arg(&log)
            .args(["--timeout", &self.timeout.to_string()])
            .args(["--exec", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        let status = wait(&mut child, Duration::from_secs(self.timeout) + PREPARATION)?;
        let finished = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
            reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        Ok(Finished {
            status,
            stdout: finished(stdout),
            stderr: finished(stderr),
            log: fs::read_to_string(&log).unwrap_or_default(),
        })
    }
}

impl Finished {
    /// The standard output of a command that ended with status 0.
    ///
    /// # Errors
    /// When it ended otherwise; the message has what it printed.
    pub fn success(self) -> Result<String, Failed> {
        if self.status == Some(0) {
            return Ok(String::from_utf8_lossy(&self.stdout).into_owned());
        }
        Err(format!(
            "status {:?}\nstdout:\n{}\nstderr:\n{}",
            self.status,
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        )
        .into())
    }
}

fn collect(mut source: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = source.read_to_end(&mut bytes);
        bytes
    })
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<i32>> {
    if let Some(status) = child.wait_timeout(limit)? {
        return Ok(status.code());
    }
    // QEMU ends with the thread that started it.
    child.kill()?;
    child.wait()?;
    Err(io::Error::other("the run did not end by its own time limit"))
}
