//! QEMU's monitor: what a machine looks like from outside while it stands still.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// QEMU makes its socket soon after it starts.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A connection to the monitor of a machine (QMP).
pub struct Monitor {
    reader: BufReader<UnixStream>,
}

/// A page of an address space, as its last table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The virtual address.
    pub virt: u64,
    /// The physical address.
    pub phys: u64,
    /// Stores are allowed.
    pub write: bool,
    /// Execution is allowed.
    pub execute: bool,
    /// Ring 3 may use it.
    pub user: bool,
    /// It is a page of 2 MiB or more.
    pub large: bool,
}

/// Registers of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the processor's")]
pub struct Processor {
    pub rip: u64,
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    /// Address of the interrupt table.
    pub idt: u64,
    /// It stands at HLT.
    pub is_halted: bool,
}

impl Monitor {
    /// Connects to a socket that QEMU makes.
    ///
    /// # Errors
    /// When it does not, or does not speak QMP.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        let mut monitor = Self { reader: BufReader::new(stream) };
        monitor.message()?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Has the machine stand still.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn pause(&mut self) -> io::Result<()> {
        self.execute("stop", json!({})).map(|_| ())
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn resume(&mut self) -> io::Result<()> {
        self.execute("cont", json!({})).map(|_| ())
    }

    /// Everything that a processor's page tables map.
    ///
    /// # Errors
    /// When QEMU has ended or prints something else.
    pub fn mappings(&mut self, cpu: u32) -> io::Result<Vec<Mapping>> {
        let text = self.human(cpu, "info tlb")?;
        text.lines()
            .filter(|line| !line.trim().is_empty() && !line.contains("PG disabled"))
            .map(|line| mapping(line).ok_or_else(|| unexpected(line)))
            .collect()
    }

    /// Registers of a processor.
    ///
    /// # Errors
    /// When QEMU has ended or prints something else.
    pub fn processor(&mut self, cpu: u32) -> io::Result<Processor> {
        let text = self.human(cpu, "info registers")?;
        let register = |name: &str| {
            let rest = text.split_once(name).map(|(_, rest)| rest.trim_start());
            let digits = rest.and_then(|rest| rest.split_whitespace().next());
            let value = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            value.ok_or_else(|| unexpected(&text))
        };
        Ok(Processor {
            // A processor in 32-bit code shows EIP.
            rip: register("RIP=").or_else(|_| register("EIP="))?,
            cr0: register("CR0=")?,
            cr3: register("CR3=")?,
            cr4: register("CR4=")?,
            efer: register("EFER=")?,
            idt: register("IDT=")?,
            is_halted: register("HLT=")? == 1,
        })
    }

    /// Has a processor take a machine check, an uncorrected error in bank 4, after which it can go on
    /// or not. QEMU resets the machine when the processor takes none now (CR4.MCE), or has not finished
    /// with the one before.
    ///
    /// # Errors
    /// When QEMU has ended or does not do it.
    pub fn machine_check(&mut self, cpu: u32, goes_on: bool) -> io::Result<()> {
        /// Valid, uncorrected, enabled, context not corrupt.
        const STATUS: u64 = 0xb000_0000_0000_0000;
        /// A check is being handled. Beside it: the restart address is valid.
        const MCG_STATUS: u64 = 1 << 2;
        let mcg_status = MCG_STATUS | u64::from(goes_on);
        let line = format!("mce {cpu} 4 {STATUS:#x} {mcg_status:#x} 0 0");
        match self.human(cpu, &line)?.as_str() {
            "" => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Has every processor take an NMI, as their APICs deliver it.
    ///
    /// # Errors
    /// When QEMU has ended or does not do it.
    pub fn nmi(&mut self) -> io::Result<()> {
        match self.human(0, "nmi")?.as_str() {
            "" => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Ends the machine.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub(crate) fn quit(&mut self) -> io::Result<()> {
        self.execute("quit", json!({})).map(|_| ())
    }

    /// Makes a server for debuggers, with a socket at `path`.
    pub(crate) fn serve_debugger(&mut self, path: &Path) -> io::Result<()> {
        let line = format!("gdbserver unix:{},server=on,wait=off", path.display());
        let answer = self.human(0, &line)?;
        if answer.starts_with("Waiting") { Ok(()) } else { Err(unexpected(&answer)) }
    }

    /// A command of the monitor for people.
    fn human(&mut self, cpu: u32, line: &str) -> io::Result<String> {
        let arguments = json!({ "command-line": line, "cpu-index": cpu });
        let answer = self.execute("human-monitor-command", arguments)?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    fn execute(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut message = self.message()?;
            // Others are events.
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if message.get("error").is_some() {
                return Err(io::Error::other(format!("{command}: {message}")));
            }
        }
    }

    fn message(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

fn unexpected(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unexpected answer of the monitor: {text}"))
}

/// A line such as `ffff800000001000: 0000000000001000 XG-DA---W`.
fn mapping(line: &str) -> Option<Mapping> {
    let (virt, rest) = line.split_once(": ")?;
    let (phys, flags) = rest.trim_end().split_once(' ')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let [no_execute, _, large, .., user, write] = flags.as_bytes() else {
        return None;
    };
    Some(Mapping {
        virt: number(virt)?,
        phys: number(phys)?,
        write: *write == b'W',
        execute: *no_execute != b'X',
        user: *user == b'U',
        large: *large == b'P',
    })
}
