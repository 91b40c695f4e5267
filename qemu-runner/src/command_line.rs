//! QEMU's command line for a machine.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::accelerator::{Accelerator, Threads};

/// The port that LUCOS writes its log to.
pub const LOG_PORT: u16 = 0xe9;
/// The port that ends QEMU with status `2 * value + 1`.
pub const EXIT_PORT: u16 = 0xf4;

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The number of processors.
    pub cpus: u32,
    /// RAM in MiB.
    pub memory: u32,
    /// What executes its instructions.
    pub accelerator: Accelerator,
    /// Threads of [`Accelerator::Tcg`] for its processors.
    pub threads: Threads,
    /// Whether every run is the same, and the time-stamp counter counts instructions; only with
    /// [`Accelerator::Tcg`].
    pub deterministic: bool,
    /// Disk images, raw or qcow2, each a virtio disk.
    pub disks: Vec<PathBuf>,
    /// Whether it has a virtio network card on QEMU's user network.
    pub network: bool,
    /// Further arguments for QEMU.
    pub extra: Vec<OsString>,
}

/// What the machine boots.
#[derive(Clone, Debug)]
pub enum Boot {
    /// A Linux kernel by QEMU's own loader.
    Linux {
        /// The bzImage.
        kernel: PathBuf,
        /// The initramfs.
        initrd: PathBuf,
        /// The kernel's command line.
        cmdline: String,
    },
    /// LUCOS by its PVH entry.
    Lucos {
        /// The boot stub.
        image: PathBuf,
        /// The boot bundle.
        bundle: PathBuf,
        /// Options of LUCOS, those for the ports that a [`crate::Session`] watches included.
        options: String,
    },
    /// A CD-ROM image.
    Iso(PathBuf),
}

/// Where a character device of the machine leads.
#[derive(Clone, Debug)]
pub enum Wire {
    /// A named pipe that somebody reads.
    Pipe(PathBuf),
    /// QEMU's standard input and output, with its monitor behind Ctrl-A.
    Terminal,
}

/// The serial ports and the log port.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// The log port.
    pub log: Wire,
    /// COM1.
    pub console: Wire,
    /// COM2, COM3 and COM4, in a command session.
    pub command: Option<[PathBuf; 3]>,
}

impl Machine {
    /// QEMU's arguments.
    ///
    /// # Errors
    /// When a disk image cannot be read.
    pub fn arguments(&self, boot: &Boot, wiring: &Wiring) -> io::Result<Vec<OsString>> {
        let mut line = Line::default();
        line.add("-machine", "q35");
        match self.accelerator {
            Accelerator::Tcg => {
                let thread = match self.threads {
                    Threads::Multi if !self.deterministic => "multi",
                    _ => "single",
                };
                line.add("-accel", &format!("tcg,thread={thread}"));
                line.add("-cpu", "EPYC,+svm");
            }
            Accelerator::Kvm => {
                line.add("-accel", "kvm");
                line.add("-cpu", "host");
            }
        }
        if self.deterministic {
            // A tick is an instruction, a halt takes no time, and what is random is chosen by us.
            line.add("-icount", "shift=0,sleep=off");
            line.add("-seed", "1");
            line.add("-rtc", "base=2026-01-01T00:00:00,clock=vm");
        }
        line.add("-smp", &self.cpus.to_string());
        line.add("-m", &self.memory.to_string());
        for flag in ["-nodefaults", "-no-user-config"] {
            line.0.push(flag.into());
        }
        line.add("-display", "none");
        line.add("-vga", "none");
        wire(&mut line, wiring);
        let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4");
        line.add("-device", &exit);
        for (number, disk) in self.disks.iter().enumerate() {
            add_disk(&mut line, number, disk)?;
        }
        if self.network {
            line.add("-netdev", "user,id=network");
            line.add("-device", "virtio-net-pci,netdev=network");
        }
        add_boot(&mut line, boot);
        line.0.extend(self.extra.iter().cloned());
        Ok(line.0)
    }
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, option: &str, value: &str) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    /// Adds an option whose value begins with text and ends with a path. QEMU wants commas in
    /// such values doubled.
    fn add_path(&mut self, option: &str, start: &str, path: &Path) {
        let mut value = start.as_bytes().to_vec();
        for &byte in path.as_os_str().as_encoded_bytes() {
            value.push(byte);
            if byte == b',' {
                value.push(byte);
            }
        }
        self.0.push(option.into());
        self.0.push(std::os::unix::ffi::OsStringExt::from_vec(value));
    }

    fn add_plain_path(&mut self, option: &str, path: &Path) {
        self.0.push(option.into());
        self.0.push(path.into());
    }
}

fn wire(line: &mut Line, wiring: &Wiring) {
    add_wire(line, "log", &wiring.log);
    let log = format!("isa-debugcon,iobase={LOG_PORT:#x},chardev=log");
    line.add("-device", &log);

    add_wire(line, "console", &wiring.console);
    line.add("-device", "isa-serial,index=0,chardev=console");
    if let Some(ports) = &wiring.command {
        // The PC's usual settings have two ports share an interrupt, which loses interrupts on
        // the ISA bus; ACPI tells the guest these.
        for (index, (path, interrupt)) in ports.iter().zip([3, 5, 7]).enumerate() {
            let index = index + 1;
            add_wire(line, &format!("com{index}"), &Wire::Pipe(path.clone()));
            let device = format!("isa-serial,index={index},irq={interrupt},chardev=com{index}");
            line.add("-device", &device);
        }
    }
}

fn add_wire(line: &mut Line, id: &str, wire: &Wire) {
    match wire {
        Wire::Pipe(path) => {
            line.add_path("-chardev", &format!("file,id={id},path="), path);
        }
        Wire::Terminal => {
            line.add("-chardev", &format!("stdio,id={id},mux=on,signal=off"));
            line.add("-mon", &format!("chardev={id},mode=readline"));
        }
    }
}

fn add_disk(line: &mut Line, number: usize, path: &Path) -> io::Result<()> {
    let format = disk_format(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let start = format!("if=none,id=disk{number},format={format},file=");
    line.add_path("-drive", &start, path);
    line.add("-device", &format!("virtio-blk-pci,drive=disk{number}"));
    Ok(())
}

/// QEMU guesses too, but does not let a guest write a header to a disk that it guessed to be raw.
fn disk_format(path: &Path) -> io::Result<&'static str> {
    let mut magic = [0; 4];
    let count = File::open(path)?.read(&mut magic)?;
    Ok(if count == 4 && magic == *b"QFI\xfb" { "qcow2" } else { "raw" })
}

fn add_boot(line: &mut Line, boot: &Boot) {
    match boot {
        Boot::Linux { kernel, initrd, cmdline } => {
            line.add_plain_path("-kernel", kernel);
            line.add_plain_path("-initrd", initrd);
            line.add("-append", cmdline);
        }
        Boot::Lucos { image, bundle, options } => {
            line.add_plain_path("-kernel", image);
            line.add_plain_path("-initrd", bundle);
            line.add("-append", options);
        }
        Boot::Iso(path) => {
            line.add_plain_path("-cdrom", path);
            line.add("-boot", "d");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            cpus: 2,
            memory: 1024,
            accelerator: Accelerator::Tcg,
            threads: Threads::Multi,
            deterministic: false,
            disks: Vec::new(),
            network: false,
            extra: vec![OsString::from("-S")],
        }
    }

    fn wiring() -> Wiring {
        Wiring {
            log: Wire::Pipe(PathBuf::from("/tmp/a,b/log")),
            console: Wire::Terminal,
            command: None,
        }
    }

    fn text(machine: &Machine, wiring: &Wiring) -> String {
        let boot = Boot::Iso(PathBuf::from("x.iso"));
        let arguments = machine.arguments(&boot, wiring).expect("no disks");
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert!(text(&machine(), &wiring()).contains("file,id=log,path=/tmp/a,,b/log"));
    }

    #[test]
    fn the_users_arguments_come_last() {
        assert!(text(&machine(), &wiring()).ends_with(" -S"));
    }

    #[test]
    fn a_command_session_has_four_ports() {
        let ports = ["o", "e", "c"].map(PathBuf::from);
        let mut wiring = wiring();
        assert_eq!(text(&machine(), &wiring).matches("isa-serial").count(), 1);
        wiring.command = Some(ports);
        assert_eq!(text(&machine(), &wiring).matches("isa-serial").count(), 4);
    }

    #[test]
    fn disk_formats_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let raw = folder.path().join("raw");
        let qcow2 = folder.path().join("qcow2");
        std::fs::write(&raw, "QF").expect("written");
        std::fs::write(&qcow2, b"QFI\xfb\0\0\0\x03").expect("written");
        assert_eq!(disk_format(&raw).ok(), Some("raw"));
        assert_eq!(disk_format(&qcow2).ok(), Some("qcow2"));
        let mut machine = machine();
        machine.disks.push(folder.path().join("none"));
        assert!(machine.arguments(&Boot::Iso(PathBuf::from("x")), &wiring()).is_err());
    }
}
