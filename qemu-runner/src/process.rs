//! The emulator's process: it never outlives us, and never leaves the terminal unusable.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

const QEMU: &str = "qemu-system-x86_64";
/// Part of Debian's base system. It has the system kill the emulator when the thread that started it
/// ends, however it ends.
const GUARD: &str = "/usr/bin/setpriv";

/// A running emulator, killed when dropped.
pub struct Process {
    child: Child,
    terminal: Option<Termios>,
}

impl Process {
    /// Starts QEMU. With `terminal` its standard input and output are ours.
    ///
    /// It is bound to the thread that calls this.
    pub fn start(arguments: &[OsString], terminal: bool) -> io::Result<Self> {
        let mut command = guarded(QEMU);
        command.args(arguments).stderr(Stdio::piped());
        if !terminal {
            command.stdin(Stdio::null()).stdout(Stdio::null());
        }
        // QEMU puts the terminal into raw mode and back; when it is killed, we put it back.
        let saved = terminal.then(|| tcgetattr(rustix::stdio::stdin()).ok()).flatten();
        Ok(Self { child: command.spawn()?, terminal: saved })
    }

    /// Starts another emulator in a folder, to read what it prints.
    ///
    /// It is bound to the thread that calls this.
    pub fn start_read(program: &str, arguments: &[&str], folder: &Path) -> io::Result<Self> {
        let child = guarded(program)
            .args(arguments)
            .current_dir(folder)
            // Bochs's text display wants to know a terminal, but needs none.
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // A serial port of Bochs may lead to the terminal, which is not put back.
        Ok(Self { child, terminal: tcgetattr(rustix::stdio::stdin()).ok() })
    }

    /// Its standard output, once, if it was started to be read.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, once.
    pub fn take_errors(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Its status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it, if it still runs.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn guarded(program: &str) -> Command {
    if !Path::new(GUARD).exists() {
        return Command::new(program);
    }
    let mut guard = Command::new(GUARD);
    guard.args(["--pdeathsig", "KILL", "--", program]);
    guard
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(saved) = &self.terminal {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, saved);
        }
    }
}
