//! One `cargo xtask run` without a person.

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use lucos_patch_builder::kernel_log;
use wait_timeout::ChildExt;

use crate::kernels;
use crate::restarts::{self, Fault, Kind};

/// Time for builds and downloads before the machine starts.
const PREPARATION: Duration = Duration::from_secs(900);

/// In place of a series: Debian 6.1 under VT-x ([`Run::bochs`]).
pub const BOCHS: &str = "bochs";

/// By how much a machine has more time under Bochs than under QEMU.
const BOCHS_SLOWNESS: u64 = 3;

/// How often it is looked whether a run has ended.
const LOOK: Duration = Duration::from_millis(500);

/// Lines of standard error and of the log in the message of a failed test.
const LINES_SHOWN: usize = 40;

/// Taken by every machine; by one with a thread for each of its processors for itself alone.
static HOST: RwLock<()> = RwLock::new(());

/// The guest's kernel.
enum Chosen {
    /// The one of a series that tests run.
    Pinned(String),
    /// A version.
    Version(String),
    /// A bzImage.
    Image(PathBuf),
}

/// A run to be started.
pub struct Run {
    guest: Chosen,
    arguments: Vec<OsString>,
    /// Words for the kernel's command line.
    words: Vec<String>,
    cpus: Option<u32>,
    /// Under Bochs, whose processors take turns.
    is_bochs: bool,
    timeout: u64,
    kind: Kind,
    kept: Vec<Box<dyn Any + Send>>,
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
    /// The longest time for which the host did not run the program that waited for the run.
    pub pause: Duration,
}

impl Run {
    /// A guest under a LUCOS that checks itself as it runs.
    pub fn lucos() -> Self {
        Self::new(false).argument("--debug")
    }

    /// A guest under LUCOS as people get it, without the checks of [`Run::lucos`].
    pub fn released() -> Self {
        Self::new(false)
    }

    /// [`Run::lucos`] with the guest of a series, or [`BOCHS`].
    pub fn checked(machine: &str) -> Self {
        match machine {
            BOCHS => Self::bochs(),
            series => Self::lucos().guest(series),
        }
    }

    /// A guest of a series: the newer one under the released LUCOS, the older one under the LUCOS that
    /// checks itself. So what runs with both series tests both images. Or [`BOCHS`].
    pub fn of_series(machine: &str) -> Self {
        match machine {
            "debian-6.12" => Self::released().guest(machine),
            _ => Self::checked(machine),
        }
    }

    /// A guest of Debian 6.1 under VT-x, on two processors of Bochs. The words spare it half of the time to
    /// boot: no test of ciphers, and no wait for timers that run by instructions.
    pub fn bochs() -> Self {
        let mut run = Self::lucos().argument("--machine").argument("bochs");
        run.is_bochs = true;
        run.cpus(2).append("cryptomgr.notests no_timer_check")
    }

    /// A guest without LUCOS.
    ///
    /// Nothing of ours runs in such a machine. On a busy host the emulator, or Linux in it, hangs
    /// once in a great while; so a machine that hung is started again.
    pub fn bare() -> Self {
        Self::new(true).argument("--bare")
    }

    fn new(bare: bool) -> Self {
        Self {
            guest: Chosen::Pinned(String::from("debian-6.1")),
            arguments: Vec::new(),
            words: Vec::new(),
            cpus: None,
            is_bochs: false,
            timeout: 120,
            kind: Kind { bare, races: false, wants_timeout: false },
            kept: Vec::new(),
        }
    }

    /// Says that the end of its time is the end that the test wants.
    #[must_use]
    pub fn until_timeout(mut self, seconds: u64) -> Self {
        self.kind.wants_timeout = true;
        self.timeout(seconds)
    }

    /// Gives each processor a thread of the emulator's, for tests that look for races. Without this
    /// they take turns, since with several threads QEMU has races of its own. Bochs has one thread.
    #[must_use]
    pub fn racing(mut self) -> Self {
        self.kind.races = !self.is_bochs;
        self
    }

    /// Adds one argument of `cargo xtask run`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments of QEMU.
    #[must_use]
    pub fn qemu<T: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = T>) -> Self {
        arguments.into_iter().fold(self, |run, argument| {
            let mut joined = OsString::from("--qemu-arg=");
            joined.push(argument);
            run.argument(joined)
        })
    }

    /// Chooses the guest's series, `debian-6.1` (as without this) or `debian-6.12`: its kernel is
    /// the one that `tests/kernels.toml` pins.
    #[must_use]
    pub fn guest(mut self, series: &str) -> Self {
        self.guest = Chosen::Pinned(series.to_owned());
        self
    }

    /// Chooses one version of the guest's kernel, as the archive or `uname -r` writes it.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.guest = Chosen::Version(version.to_owned());
        self
    }

    /// Chooses a kernel that is a file, for which there are no headers.
    #[must_use]
    pub fn kernel(mut self, image: &Path) -> Self {
        self.guest = Chosen::Image(image.to_owned());
        self
    }

    /// Builds the modules of a folder below `tests/guest-modules` for the guest, "" for those of
    /// that folder itself.
    #[must_use]
    pub fn modules(self, name: &str) -> Self {
        let modules = crate::folder("guest-modules").join(name);
        self.argument("--modules").argument(modules)
    }

    /// Sets the number of processors.
    #[must_use]
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = Some(count);
        self
    }

    /// Adds words to the kernel's command line.
    #[must_use]
    pub fn append(mut self, words: impl Into<String>) -> Self {
        self.words.push(words.into());
        self
    }

    /// Sets the time, in seconds, after which the machine is ended; Bochs has thrice of it.
    #[must_use]
    pub fn timeout(mut self, seconds: u64) -> Self {
        self.timeout = seconds;
        self
    }

    /// Keeps something until the machine has ended: a folder with files that its arguments name.
    #[must_use]
    pub fn keep(mut self, thing: impl Any + Send) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    /// Runs a shell command in the guest.
    ///
    /// A machine that shows a fault of the emulator is started again, as often as it takes to
    /// believe that (see `restarts`). A second fault is taken for one of ours.
    ///
    /// # Errors
    /// When the run does not start, or does not even end by its own time limit.
    pub fn exec(self, command: &str) -> Result<Finished, Failed> {
        let mut finished = self.start(command)?;
        let Some(fault) = Fault::of(self.kind, &finished) else {
            return Ok(finished);
        };
        let place = restarts::keep(self.kind, fault, &finished)?;
        let times = fault.repetitions();
        let reason = format!(
            "{}; the machine is started again, {times} times. All that it said is in {}",
            fault.text(),
            place.display()
        );
        eprintln!("{reason}");
        for _ in 0..times {
            finished = self.start(command)?;
            if let Some(again) = Fault::of(self.kind, &finished) {
                return Err(finished.explain(&format!("{}, after {reason}", again.text()).into()));
            }
        }
        Ok(finished)
    }

    /// Runs a shell command in the guest and looks at what came of it.
    ///
    /// # Errors
    /// Those of [`Run::exec`], and that of `check`, with the ends of standard error and of the log.
    pub fn check(
        self,
        command: &str,
        check: impl FnOnce(&Finished) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let finished = self.exec(command)?;
        check(&finished).map_err(|failed| finished.explain(&failed))
    }

    fn start(&self, command: &str) -> Result<Finished, Failed> {
        if self.kind.races {
            let _alone = HOST.write().unwrap_or_else(PoisonError::into_inner);
            return self.start_beside(command);
        }
        let _beside = HOST.read().unwrap_or_else(PoisonError::into_inner);
        self.start_beside(command)
    }

    fn start_beside(&self, command: &str) -> Result<Finished, Failed> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let mut xtask = crate::xtask();
        xtask.arg("run");
        self.guest.choose(&mut xtask)?;
        if let Some(count) = self.cpus {
            xtask.arg("--cpus").arg(count.to_string());
        }
        if !self.words.is_empty() {
            xtask.arg("--append").arg(self.words.join(" "));
        }
        let timeout = self.timeout * if self.is_bochs { BOCHS_SLOWNESS } else { 1 };
        let mut child = xtask
            .args(&self.arguments)
            .arg("--yes")
            .arg("--log")
            .arg(&log)
            .args(["--timeout", &timeout.to_string()])
            .args(["--threads", if self.kind.races { "multi" } else { "single" }])
            .args(["--exec", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        let limit = Duration::from_secs(timeout) + PREPARATION;
        let (status, pause) = wait(&mut child, limit)?;
        restarts::count_machine(self.kind);
        let finished = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
            reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        Ok(Finished {
            status,
            stdout: finished(stdout),
            stderr: finished(stderr),
            log: fs::read_to_string(&log).unwrap_or_default(),
            pause,
        })
    }
}

impl Chosen {
    /// Adds the options that choose it.
    fn choose(&self, xtask: &mut Command) -> Result<(), Failed> {
        match self {
            Self::Pinned(series) => {
                xtask.arg("--guest-version").arg(kernels::pinned(series.parse()?)?.release)
            }
            Self::Version(version) => xtask.arg("--guest-version").arg(version),
            Self::Image(image) => xtask.arg("--kernel").arg(image),
        };
        Ok(())
    }
}

impl Finished {
    /// The standard output of a command that ended with status 0.
    ///
    /// # Errors
    /// When it ended otherwise; the message has what it printed.
    pub fn success(self) -> Result<String, Failed> {
        let stdout = String::from_utf8_lossy(&self.stdout).into_owned();
        if self.status == Some(0) {
            return Ok(stdout);
        }
        Err(self.explain(&format!("status {:?}\nstdout:\n{stdout}", self.status).into()))
    }

    /// Fails unless the command ended with status 0 and printed exactly this.
    ///
    /// # Errors
    /// When it did not, with the ends of standard error and of the log.
    pub fn printed(&self, expected: &str) -> Result<(), Failed> {
        let end = (self.status, String::from_utf8_lossy(&self.stdout));
        crate::equal("status and output", end, (Some(0), expected.into()))
            .map_err(|failed| self.explain(&failed))
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The reason with the ends of standard error and of the log, and what the guest's kernel
    /// complained of first.
    #[must_use]
    pub fn explain(&self, failed: &Failed) -> Failed {
        format!(
            "{}\n(status {:?}, the host's longest pause {:?})\nend of standard error:\n{}\n\
             {}end of the log:\n{}",
            failed.message().unwrap_or("no reason given"),
            self.status,
            self.pause,
            last_lines(&self.errors()),
            first_complaint(&self.log),
            last_lines(&self.log)
        )
        .into()
    }
}

/// The lines around the first complaint in a log, with a heading, or nothing.
fn first_complaint(log: &str) -> String {
    let complaints = kernel_log::complaints(log).unwrap_or_default();
    let at = complaints.lines().next().and_then(|first| log.lines().position(|line| line == first));
    let Some(at) = at else {
        return String::new();
    };
    let first = at.saturating_sub(LINES_SHOWN / 4);
    let shown: Vec<_> = log.lines().skip(first).take(LINES_SHOWN).collect();
    format!("the kernel's first complaint:\n{}\n", shown.join("\n"))
}

fn last_lines(text: &str) -> &str {
    let start = text.trim_end().rmatch_indices('\n').nth(LINES_SHOWN - 1);
    text.get(start.map_or(0, |(index, _)| index + 1)..).unwrap_or_default()
}

fn collect(mut source: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = source.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for a run's end. Also says for how long the host kept this thread from waiting.
fn wait(child: &mut Child, limit: Duration) -> io::Result<(Option<i32>, Duration)> {
    let start = Instant::now();
    let mut pause = Duration::ZERO;
    while start.elapsed() < limit {
        let asked = Instant::now();
        let ended = child.wait_timeout(LOOK)?;
        pause = pause.max(asked.elapsed().saturating_sub(LOOK));
        if let Some(status) = ended {
            return Ok((status.code(), pause));
        }
    }
    // QEMU ends with the thread that started it.
    child.kill()?;
    child.wait()?;
    Err(io::Error::other("the run did not end by its own time limit"))
}
