//! One run of a machine from start to verdict.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::bochs::{self, Model};
use crate::channel::{Channel, pump};
use crate::command_line::{Boot, Machine, Wire, Wiring};
use crate::log::{Lines, Log, Origin};
use crate::process::Process;
use crate::verdict::{Report, Verdict};

/// LUCOS begins its last line with this.
pub(crate) const FAULT: &str = "LUCOS FAULT: ";
/// Linux writes this when it panics.
const PANIC: &str = "Kernel panic - not syncing";
/// The guest reports a command's status with this.
const STATUS: &str = "LUCOS-EXIT ";

/// What LUCOS writes to the exit port on a fault.
const FAULT_VALUE: u8 = 0x13;

/// How long QEMU may go on after the end is known: to print a trace, to power off.
const PANIC_GRACE: Duration = Duration::from_secs(2);
const EXIT_GRACE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Where the console (COM1) goes.
pub enum Console {
    /// To the terminal, under QEMU with its monitor behind Ctrl-A c, and Ctrl-A x to end.
    Terminal,
    /// To the log.
    Log,
}

/// Receivers of a command's standard output and standard error.
pub struct Output {
    /// Standard output.
    pub stdout: Box<dyn Write + Send>,
    /// Standard error.
    pub stderr: Box<dyn Write + Send>,
}

/// What emulates the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU, with all that a [`Machine`] can have.
    Qemu,
    /// Bochs: processors, memory, and the CD-ROM that it boots.
    Bochs(Model),
}

/// A machine to be run.
pub struct Session {
    /// What emulates it.
    pub emulator: Emulator,
    /// The machine.
    pub machine: Machine,
    /// What it boots.
    pub boot: Boot,
    /// Where its console goes.
    pub console: Console,
    /// In a command session: where the command's output goes. The session ends with the command.
    pub command: Option<Output>,
    /// The log file.
    pub log: PathBuf,
    /// The session is ended after this time.
    pub timeout: Option<Duration>,
    /// The session is ended when this becomes true.
    pub stop: Option<Arc<AtomicBool>>,
}

/// Why a session could not even begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be written.
    #[error("{}: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A disk image cannot be read.
    #[error("disk {0}")]
    Disk(io::Error),
    /// Bochs boots from a CD-ROM alone.
    #[error("Bochs runs what boots from a CD-ROM")]
    NotForBochs,
    /// There is no place for pipes.
    #[error("cannot make pipes for the emulator: {0}")]
    Pipes(io::Error),
    /// QEMU is not there.
    #[error("qemu-system-x86_64 does not start: {0}")]
    Start(io::Error),
    /// The folder in which Bochs runs cannot be filled.
    #[error("cannot prepare the folder for Bochs: {0}")]
    Folder(io::Error),
    /// Bochs is not there.
    #[error("bochs-bin does not start: {0}")]
    Bochs(io::Error),
}

/// What a reader saw.
enum Event {
    Fault,
    Panic,
    Status(u8),
}

impl Session {
    /// Runs the machine to its end.
    ///
    /// # Errors
    /// When it cannot begin. Everything later is a [`Verdict`].
    pub fn run(self) -> Result<Report, Error> {
        let log = Log::create(&self.log)
            .map_err(|source| Error::Log { path: self.log.clone(), source })?;
        let log = Arc::new(log);
        let folder = tempfile::Builder::new().prefix("lucos-").tempdir().map_err(Error::Pipes)?;
        let make = |name| Channel::make(folder.path(), name).map_err(Error::Pipes);
        let console = match self.console {
            Console::Log => Some(make("console")?),
            Console::Terminal => None,
        };
        let command = match &self.command {
            Some(_) => Some([make("com2")?, make("com3")?, make("com4")?]),
            None => None,
        };
        let (sender, events) = mpsc::channel();
        let mut readers = Readers { log: Arc::clone(&log), sender, threads: Vec::new() };
        let mut held = Vec::new();
        let (mut process, log_port) = match self.emulator {
            Emulator::Qemu => {
                let log_port = make("log")?;
                let pipe = |channel: &Channel| Wire::Pipe(channel.path().to_owned());
                let wiring = Wiring {
                    log: pipe(&log_port),
                    console: console.as_ref().map_or(Wire::Terminal, pipe),
                    command: command
                        .as_ref()
                        .map(|ports| ports.each_ref().map(|port| port.path().to_owned())),
                };
                let arguments = self.machine.arguments(&self.boot, &wiring).map_err(Error::Disk)?;
                let process = Process::start(&arguments, console.is_none());
                (process.map_err(Error::Start)?, Some(log_port))
            }
            Emulator::Bochs(model) => {
                let Boot::Iso(iso) = &self.boot else {
                    return Err(Error::NotForBochs);
                };
                let mut serial = vec![console.as_ref().map_or(bochs::TERMINAL, |_| "console")];
                if command.is_some() {
                    serial.extend(["com2", "com3", "com4"]);
                }
                // Bochs opens a port when the guest first writes to it.
                for channel in console.iter().chain(command.iter().flatten()) {
                    held.push(channel.hold().map_err(Error::Pipes)?);
                }
                let Machine { cpus, memory, .. } = self.machine;
                let mut process = bochs::Parts { model, cpus, memory, iso, serial: &serial }
                    .start(folder.path())?;
                if let Some(output) = process.take_output() {
                    readers.lines(output, Origin::Lucos);
                }
                (process, None)
            }
        };
        if let Some(errors) = process.take_errors() {
            readers.lines(errors, self.emulator.origin());
        }
        let connected = connect(
            &mut readers,
            &mut process,
            [log_port.as_ref(), console.as_ref()],
            command.as_ref(),
            self.command,
        );
        let watch = Watch {
            events,
            deadline: self.timeout.map(|timeout| Instant::now() + timeout),
            stop: self.stop,
            emulator: self.emulator,
        };
        let verdict = match connected {
            Ok(()) => watch.follow(&mut process),
            Err(_) => {
                process.kill();
                Verdict::QemuFailed
            }
        };
        drop((process, held));
        let verdict = readers.finish(verdict, &watch);
        if let Emulator::Bochs(_) = self.emulator {
            bochs::keep_own_lines(folder.path(), &log);
        }
        Ok(Report { verdict, last_lines: log.last_lines() })
    }
}

impl Emulator {
    /// Who says what it says of itself.
    const fn origin(self) -> Origin {
        match self {
            Self::Qemu => Origin::Qemu,
            Self::Bochs(_) => Origin::Bochs,
        }
    }
}

/// Takes the emulator's connections and starts the readers, in the order in which it makes them.
fn connect(
    readers: &mut Readers,
    process: &mut Process,
    lines: [Option<&Channel>; 2],
    ports: Option<&[Channel; 3]>,
    output: Option<Output>,
) -> io::Result<()> {
    let mut accept = |channel: &Channel| channel.accept(|| process.ended().is_none());
    for (channel, origin) in lines.into_iter().zip([Origin::Lucos, Origin::Guest]) {
        if let Some(channel) = channel {
            readers.lines(accept(channel)?, origin);
        }
    }
    if let (Some([stdout, stderr, control]), Some(output)) = (ports, output) {
        readers.output(accept(stdout)?, output.stdout);
        readers.output(accept(stderr)?, output.stderr);
        readers.status(accept(control)?);
    }
    Ok(())
}

/// The threads that read what the machine says.
struct Readers {
    log: Arc<Log>,
    sender: Sender<Event>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Reads lines for the log, and reports those that end a session.
    fn lines(&mut self, source: impl io::Read + Send + 'static, origin: Origin) {
        let log = Arc::clone(&self.log);
        let sender = self.sender.clone();
        self.threads.push(thread::spawn(move || {
            let mut lines = Lines::default();
            let each = |line: &str| {
                log.line(origin, line);
                let event = match origin {
                    Origin::Lucos if line.contains(FAULT) => Some(Event::Fault),
                    Origin::Guest if line.contains(PANIC) => Some(Event::Panic),
                    _ => None,
                };
                if let Some(event) = event {
                    let _ = sender.send(event);
                }
            };
            pump(source, |bytes| lines.push(bytes, each));
            lines.finish(each);
        }));
    }

    /// Copies bytes as they come.
    fn output(&mut self, source: impl io::Read + Send + 'static, mut sink: Box<dyn Write + Send>) {
        self.threads.push(thread::spawn(move || {
            // A reader that went away is no reason to block the guest.
            pump(source, |bytes| {
                let _ = sink.write_all(bytes).and_then(|()| sink.flush());
            });
        }));
    }

    fn status(&mut self, source: impl io::Read + Send + 'static) {
        let sender = self.sender.clone();
        self.threads.push(thread::spawn(move || {
            let mut lines = Lines::default();
            pump(source, |bytes| {
                lines.push(bytes, |line| {
                    let status = line.strip_prefix(STATUS).map(str::parse);
                    if let Some(Ok(status)) = status {
                        let _ = sender.send(Event::Status(status));
                    }
                });
            });
        }));
    }

    /// Waits until everything has been read. What was read last may change the verdict.
    fn finish(self, verdict: Verdict, watch: &Watch) -> Verdict {
        drop(self.sender);
        for thread in self.threads {
            let _ = thread.join();
        }
        watch.events.iter().fold(verdict, |verdict, event| match (event, verdict) {
            (Event::Fault, _) => Verdict::HypervisorFault,
            (Event::Status(status), Verdict::PoweredOff) => Verdict::Exited(status),
            (Event::Panic, Verdict::PoweredOff | Verdict::Timeout) => Verdict::GuestPanic,
            _ => verdict,
        })
    }
}

/// Follows a running machine.
struct Watch {
    events: Receiver<Event>,
    deadline: Option<Instant>,
    stop: Option<Arc<AtomicBool>>,
    emulator: Emulator,
}

impl Watch {
    /// Waits until QEMU ends or must be ended; it has ended on return.
    fn follow(&self, process: &mut Process) -> Verdict {
        // What is known already, and until when QEMU may go on.
        let mut known: Option<(Verdict, Instant)> = None;
        loop {
            match self.events.recv_timeout(POLL) {
                Ok(event) => known = Some(next(event, known)),
                Err(RecvTimeoutError::Timeout) => {}
                // All readers are done: QEMU is about to end.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
            }
            if let Some(status) = process.ended() {
                return match known {
                    Some((verdict, _)) => verdict,
                    None => self.of_status(status),
                };
            }
            let now = Instant::now();
            let over = match known {
                Some((verdict, until)) if now >= until => Some(verdict),
                _ if self.stopped() => Some(Verdict::Interrupted),
                None if self.deadline.is_some_and(|deadline| now >= deadline) => {
                    Some(Verdict::Timeout)
                }
                _ => None,
            };
            if let Some(verdict) = over {
                process.kill();
                return verdict;
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn of_status(&self, status: ExitStatus) -> Verdict {
        if self.stopped() {
            return Verdict::Interrupted;
        }
        match status.code() {
            Some(0) => Verdict::PoweredOff,
            // Bochs has no other end.
            Some(1) if matches!(self.emulator, Emulator::Bochs(_)) => Verdict::PoweredOff,
            // The exit port gives odd values; QEMU's own errors are 1.
            Some(code) if code > 1 && code % 2 == 1 => match u8::try_from(code / 2) {
                Ok(FAULT_VALUE) => Verdict::HypervisorFault,
                Ok(value) => Verdict::DebugExit(value),
                Err(_) => Verdict::QemuFailed,
            },
            _ => Verdict::QemuFailed,
        }
    }
}

/// What an event changes. A fault of LUCOS is worse than anything the guest says.
fn next(event: Event, known: Option<(Verdict, Instant)>) -> (Verdict, Instant) {
    let now = Instant::now();
    match (event, known) {
        (Event::Fault, _) => (Verdict::HypervisorFault, now + PANIC_GRACE),
        (_, Some(known)) => known,
        (Event::Panic, None) => (Verdict::GuestPanic, now + PANIC_GRACE),
        (Event::Status(status), None) => (Verdict::Exited(status), now + EXIT_GRACE),
    }
}
