//! A machine that boots from a CD-ROM.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::Failed;
use lucos_debian_archive::kernel::Series;
use qemu_runner::{
    Accelerator, Boot, Console, Emulator, Machine, Output, Session, Threads, Verdict,
};

use crate::kernels;

/// Makes an ISO whose guest runs a command, boots it, and gives the command's standard output.
/// With `firmware` the machine has that UEFI in place of its BIOS.
///
/// # Errors
/// When the ISO cannot be made, or the command does not end with status 0.
pub fn boot_iso(command: &str, firmware: Option<&str>, limit: Duration) -> Result<String, Failed> {
    let folder = tempfile::tempdir()?;
    let iso = folder.path().join("iso");
    let output = crate::xtask()
        .args(["iso", "--yes", "--debug", "--options", "debugcon=0xe9 exit=0xf4"])
        .args(["--guest-version", &kernels::pinned(Series::Debian6_1)?.release])
        .args(["--exec", command, "--output"])
        .arg(&iso)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let stdout = Buffer::default();
    let extra = firmware.map(|path| ["-bios", path].map(Into::into).to_vec());
    let session = Session {
        emulator: Emulator::Qemu,
        machine: Machine {
            cpus: 2,
            memory: 1024,
            accelerator: Accelerator::Tcg,
            threads: Threads::Single,
            deterministic: false,
            disks: Vec::new(),
            network: false,
            extra: extra.unwrap_or_default(),
        },
        boot: Boot::Iso(iso),
        console: Console::Log,
        command: Some(Output { stdout: Box::new(stdout.clone()), stderr: Box::new(io::stderr()) }),
        log: folder.path().join("log"),
        timeout: Some(limit),
        stop: None,
    };
    let report = session.run()?;
    let text = String::from_utf8_lossy(&stdout.bytes()).into_owned();
    if report.verdict == Verdict::Exited(0) {
        return Ok(text);
    }
    Err(format!(
        "{}\nstdout:\n{text}\nend of the log:\n{}",
        report.verdict,
        report.last_lines.join("\n")
    )
    .into())
}

/// Bytes that a session writes and a test reads.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
