//! A machine under Bochs, whose processors have VT-x, and assists of AMD-V that QEMU's TCG lacks.
//!
//! It boots from a CD-ROM and speaks through the log port alone. Bochs has no port that ends it
//! with a value, so the system says by its last line that it is done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::channel::pump;
use crate::log::{Lines, Log, Origin};
use crate::process::Process;
use crate::session::{Error, FAULT};

/// Files that this needs, each with the Debian package that brings it.
pub const NEEDS: [(&str, &str); 4] = [
    (PROGRAM, "bochs"),
    ("/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so", "bochs-term"),
    (BIOS, "bochsbios"),
    (VGA_BIOS, "vgabios"),
];

const PROGRAM: &str = "bochs-bin";
const BIOS: &str = "/usr/share/bochs/BIOS-bochs-latest";
const VGA_BIOS: &str = "/usr/share/vgabios/vgabios.bin";

/// Names in the folder in which Bochs runs, so that no path has to be quoted.
const CONFIGURATION: &str = "bochsrc";
const COMMANDS: &str = "commands";
const DISC: &str = "disc";
const OWN_LOG: &str = "log";

/// How many of Bochs's own lines about the processor a log gets: LUCOS's last lines shall stay in sight.
const OWN_LINES: usize = 10;
const POLL: Duration = Duration::from_millis(20);

/// A processor of Bochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// AMD Ryzen: AMD-V with next-RIP save and flush-by-ASID.
    Ryzen,
    /// Intel Haswell: VT-x with all that LUCOS uses.
    Haswell,
    /// Intel Sandy Bridge: its EPT has no pages of 1 GiB.
    SandyBridge,
    /// Intel Lynnfield: VT-x without unrestricted guest.
    Lynnfield,
    /// Intel Penryn: VT-x without EPT.
    Penryn,
    /// Intel Celeron of the first with 64 bits: no extension.
    Celeron,
}

impl Model {
    fn name(self) -> &'static str {
        match self {
            Self::Ryzen => "ryzen",
            Self::Haswell => "corei7_haswell_4770",
            Self::SandyBridge => "corei7_sandy_bridge_2600k",
            Self::Lynnfield => "corei5_lynnfield_750",
            Self::Penryn => "core2_penryn_t9600",
            Self::Celeron => "p4_prescott_celeron_336",
        }
    }
}

/// A machine to be run under Bochs.
pub struct Bochs {
    /// Its processors.
    pub model: Model,
    /// How many there are.
    pub cpus: u32,
    /// RAM in MiB.
    pub memory: u32,
    /// The CD-ROM image that it boots.
    pub iso: PathBuf,
    /// A line that contains one of these is the last.
    pub closing: Vec<String>,
    /// The log file.
    pub log: PathBuf,
    /// The machine is ended after this time.
    pub timeout: Duration,
}

/// How a machine under Bochs ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The system wrote this closing text.
    Closed(String),
    /// LUCOS stopped with an error of its own.
    HypervisorFault,
    /// The time was over.
    Timeout,
    /// Bochs ended on its own.
    BochsEnded,
}

impl Bochs {
    /// Runs the machine to its end.
    ///
    /// # Errors
    /// When it cannot begin. Everything later is an [`Ending`].
    pub fn run(self) -> Result<Ending, Error> {
        let log = Log::create(&self.log)
            .map_err(|source| Error::Log { path: self.log.clone(), source })?;
        let log = Arc::new(log);
        let folder = tempfile::Builder::new().prefix("lucos-").tempdir().map_err(Error::Folder)?;
        let Self { model, cpus, memory, .. } = self;
        let parts = Parts { model, cpus, memory, iso: &self.iso, serial: &[] };
        let mut process = parts.start(folder.path())?;
        let (sender, endings) = mpsc::channel();
        let mut readers = Vec::new();
        if let Some(output) = process.take_output() {
            readers.push(read(output, Origin::Lucos, &log, self.closing, sender.clone()));
        }
        if let Some(errors) = process.take_errors() {
            readers.push(read(errors, Origin::Bochs, &log, Vec::new(), sender));
        }
        let ending = follow(&endings, Instant::now() + self.timeout);
        process.kill();
        for reader in readers {
            let _ = reader.join();
        }
        keep_own_lines(folder.path(), &log);
        Ok(ending)
    }
}

/// The terminal of the process, for a serial port.
pub(crate) const TERMINAL: &str = "/dev/tty";

/// What a machine under Bochs is made of.
pub(crate) struct Parts<'a> {
    pub(crate) model: Model,
    pub(crate) cpus: u32,
    /// RAM in MiB.
    pub(crate) memory: u32,
    /// The CD-ROM image that it boots.
    pub(crate) iso: &'a Path,
    /// Where its serial ports lead, from COM1 on: pipes in the folder, by their names, or [`TERMINAL`].
    pub(crate) serial: &'a [&'a str],
}

impl Parts<'_> {
    /// Starts Bochs in a folder that this fills.
    pub(crate) fn start(&self, folder: &Path) -> Result<Process, Error> {
        self.prepare(folder).map_err(Error::Folder)?;
        let arguments = ["-q", "-f", CONFIGURATION, "-rc", COMMANDS];
        Process::start_read(PROGRAM, &arguments, folder).map_err(Error::Bochs)
    }

    /// Fills the folder in which Bochs runs.
    fn prepare(&self, folder: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(fs::canonicalize(self.iso)?, folder.join(DISC))?;
        fs::write(folder.join(CONFIGURATION), self.configuration())?;
        // Debian's Bochs starts in its debugger: go on, and quit when it comes back there.
        fs::write(folder.join(COMMANDS), "c\nq\n")
    }

    /// The configuration file.
    fn configuration(&self) -> String {
        let Self { cpus, memory, .. } = self;
        let model = self.model.name();
        // Without VBE GRUB stays in text mode; the text display panics in any other. The clock
        // counts instructions from a fixed date, so that every run is the same. What Bochs calls an
        // error is mostly an exit of the guest.
        let mut text = format!(
            "config_interface: textconfig\n\
             display_library: term\n\
             cpu: model={model}, count={cpus}, ips=50000000, reset_on_triple_fault=0\n\
             memory: guest={memory}, host={memory}\n\
             romimage: file={BIOS}, options=fastboot\n\
             vgaromimage: file={VGA_BIOS}\n\
             vga: extension=none\n\
             pci: enabled=1, chipset=i440fx\n\
             clock: sync=none, time0=1000000000\n\
             ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
             ata0-master: type=cdrom, path={DISC}, status=inserted\n\
             boot: cdrom\n\
             port_e9_hack: enabled=1\n\
             speaker: enabled=0\n\
             sound: driver=dummy\n\
             mouse: enabled=0\n\
             log: {OWN_LOG}\n\
             debugger_log: -\n\
             panic: action=fatal\n\
             error: action=report\n\
             info: action=report\n\
             debug: action=ignore\n"
        );
        for (number, pipe) in (1..).zip(self.serial) {
            let mode = if *pipe == TERMINAL { "term" } else { "file" };
            text += &format!("com{number}: enabled=1, mode={mode}, dev={pipe}\n");
        }
        text
    }
}

/// Reads lines for the log, and reports those that end the machine.
fn read(
    source: impl io::Read + Send + 'static,
    origin: Origin,
    log: &Arc<Log>,
    closing: Vec<String>,
    sender: Sender<Ending>,
) -> JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || {
        // Until Bochs is killed the system goes on, and may say something else.
        let mut is_over = false;
        let mut each = |line: &str| {
            if is_over {
                return;
            }
            log.line(origin, line);
            if let Some(ending) = ending_of(line, &closing) {
                is_over = true;
                let _ = sender.send(ending);
            }
        };
        let mut lines = Lines::default();
        pump(source, |bytes| lines.push(bytes, &mut each));
        lines.finish(each);
    })
}

fn ending_of(line: &str, closing: &[String]) -> Option<Ending> {
    if line.contains(FAULT) {
        return Some(Ending::HypervisorFault);
    }
    let text = closing.iter().find(|text| line.contains(text.as_str()))?;
    Some(Ending::Closed(text.clone()))
}

/// Waits for the first ending. The readers' ends of the channel go when Bochs does.
fn follow(endings: &Receiver<Ending>, deadline: Instant) -> Ending {
    match endings.recv_timeout(deadline.saturating_duration_since(Instant::now()).max(POLL)) {
        Ok(ending) => ending,
        Err(RecvTimeoutError::Timeout) => Ending::Timeout,
        Err(RecvTimeoutError::Disconnected) => Ending::BochsEnded,
    }
}

/// Bochs names there which check of a guest entry failed, and why it panicked.
pub(crate) fn keep_own_lines(folder: &Path, log: &Log) {
    let bytes = fs::read(folder.join(OWN_LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let of_processor: Vec<&str> =
        text.lines().filter(|line| line.contains("[CPU") || line.contains(">>PANIC<<")).collect();
    let skipped = of_processor.len().saturating_sub(OWN_LINES);
    for line in of_processor.iter().skip(skipped) {
        log.line(Origin::Bochs, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_closing_lines_and_faults_end_a_machine() {
        let closing = ["@@ passed", "@@ failed"].map(String::from);
        let ending = |line| ending_of(line, &closing);
        assert_eq!(ending("[suite] @@ test a ok"), None);
        assert_eq!(ending("[suite] @@ passed"), Some(Ending::Closed("@@ passed".into())));
        assert_eq!(ending("[suite] @@ failed"), Some(Ending::Closed("@@ failed".into())));
        assert_eq!(ending("LUCOS FAULT: x"), Some(Ending::HypervisorFault));
    }

    #[test]
    fn without_an_ending_the_time_or_the_emulator_ends_it() {
        let (sender, endings) = mpsc::channel();
        assert_eq!(follow(&endings, Instant::now()), Ending::Timeout);
        drop(sender);
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(follow(&endings, later), Ending::BochsEnded);
    }
}
