//! `cargo xtask run`: one machine from boot to power off.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use image_builder::bundle::GuestParts;
use image_builder::iso;
use qemu_runner::bochs::{self, Model};
use qemu_runner::{
    Accelerator, AcceleratorChoice, Boot, Console, Emulator, ExtensionChoice, Machine, Output,
    Report, Session, Threads, Verdict,
};

use crate::guest::{self, GuestArgs, GuestFiles, Script};
use crate::images::{self, Images, Mode};
use crate::workspace::Workspace;
use lucos_debian_archive::packages::{self, Consent, Need};
use lucos_patch_builder::output_file;

/// Exit statuses for what is not the command's own end.
mod status {
    /// The guest's kernel panicked.
    pub const PANIC: u8 = 121;
    /// LUCOS stopped with a fault.
    pub const FAULT: u8 = 122;
    /// QEMU or LUCOS did not start.
    pub const NO_START: u8 = 123;
    /// The time was over.
    pub const TIMEOUT: u8 = 124;
    /// The machine was powered off before the command had ended.
    pub const NO_STATUS: u8 = 125;
    /// Interrupted by a signal.
    pub const INTERRUPTED: u8 = 130;
}

/// A command without a person ends at the latest after this, unless told otherwise.
const COMMAND_LIMIT: u64 = 300;

/// Options of LUCOS for the ports that a session watches.
const OPTIONS: &str = "debugcon=0xe9 exit=0xf4";

/// The same for the log alone: Bochs has no port that ends it with a status.
const LOG_OPTION: &str = "debugcon=0xe9";

/// What emulates the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MachineKind {
    /// QEMU.
    Qemu,
    /// Bochs.
    Bochs,
}

/// Options of `run`.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    mode: Mode,
    /// Words for the guest kernel's command line.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    append: Option<String>,
    /// Processors [default: 2, under Bochs 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: Option<u32>,
    /// RAM in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(128..))]
    memory: u32,
    /// A disk image, raw or qcow2.
    #[arg(long = "disk", value_name = "FILE")]
    disks: Vec<PathBuf>,
    /// Give the guest a network card.
    #[arg(long)]
    net: bool,
    /// A further argument for QEMU.
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    qemu_args: Vec<OsString>,
    /// What emulates the machine: qemu, or bochs, which has VT-x too but is slow and knows no disks.
    #[arg(long, value_name = "MACHINE", default_value = "qemu")]
    machine: MachineKind,
    /// What executes QEMU's machine: auto, kvm or tcg.
    #[arg(long, value_name = "ACCELERATOR", default_value = "auto")]
    accel: AcceleratorChoice,
    /// The virtualization extension: auto, svm or vmx.
    #[arg(long, value_name = "EXTENSION", default_value = "auto")]
    extension: ExtensionChoice,
    /// Threads of TCG for the processors: single (they take turns) or multi.
    #[arg(long, value_name = "THREADS", default_value = "multi")]
    threads: Threads,
    /// Every run is the same, and time counts instructions: slow, and only under TCG.
    #[arg(long, conflicts_with = "accel")]
    deterministic: bool,
    /// The same kernel, initramfs and machine without LUCOS.
    #[arg(long)]
    bare: bool,
    /// Run a command in the guest, print what it prints, exit with its status.
    #[arg(long, value_name = "CMD", conflicts_with = "script", allow_hyphen_values = true)]
    exec: Option<String>,
    /// The same with a script.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// End the machine after this time [default: 300 with --exec or --script, else never]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Where the logs of LUCOS and the guest's kernel go [default: lucos/run.log in cargo's target folder]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// Runs a machine; the exit code is the command's or tells what went wrong.
///
/// # Errors
/// When the machine cannot even be prepared.
pub fn run(workspace: &Workspace, args: &RunArgs) -> Result<ExitCode> {
    match prepare(workspace, args) {
        Ok(session) => start(session),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(status::NO_START))
        }
    }
}

/// A session and the files that it needs.
struct Prepared {
    session: Session,
    /// Removed when the session is over.
    _files: tempfile::TempDir,
}

fn prepare(workspace: &Workspace, args: &RunArgs) -> Result<Prepared> {
    output_file::check([args.log.as_ref()])?;
    let consent = Consent::new(args.yes);
    let (emulator, accelerator) = emulator(args, consent)?;
    let script = match (&args.exec, &args.script) {
        (Some(command), _) => Some(Script::of_command(command)),
        (None, Some(path)) => Some(Script::of_file(path)?),
        (None, None) => None,
    };
    let guest = guest::prepare(workspace, &args.guest, script.as_ref(), consent)?;
    let work = workspace.target.join("lucos");
    fs::create_dir_all(&work)?;
    let files = tempfile::Builder::new().prefix("run-").tempdir_in(&work)?;
    let mut words = Vec::new();
    if args.bare {
        // Without LUCOS its manager could only taint the kernel.
        words.push("modprobe.blacklist=lucos");
    }
    words.extend(args.append.as_deref());
    let cmdline = cmdline(&guest, &words);
    let boot = if let Emulator::Bochs(_) = emulator {
        let images = images::build(workspace, &args.mode, consent)?;
        let disc = files.path().join("disc");
        iso::write(&disc, &images.boot, &pack(&images, &guest, &cmdline)?, LOG_OPTION)?;
        Boot::Iso(disc)
    } else if args.bare {
        let initrd = files.path().join("initrd");
        fs::write(&initrd, &guest.initrd)?;
        Boot::Linux { kernel: guest.kernel.image, initrd, cmdline }
    } else {
        let images = images::build(workspace, &args.mode, consent)?;
        let bundle = files.path().join("bundle");
        fs::write(&bundle, pack(&images, &guest, &cmdline)?)?;
        Boot::Lucos { image: images.boot, bundle, options: String::from(OPTIONS) }
    };
    let command =
        script.map(|_| Output { stdout: Box::new(io::stdout()), stderr: Box::new(io::stderr()) });
    let limit = args.timeout.or(command.as_ref().map(|_| COMMAND_LIMIT)).map(Duration::from_secs);
    let session = Session {
        emulator,
        machine: Machine {
            cpus: args.cpus.unwrap_or(if emulator == Emulator::Qemu { 2 } else { 1 }),
            memory: args.memory,
            accelerator,
            threads: args.threads,
            deterministic: args.deterministic,
            disks: args.disks.clone(),
            network: args.net,
            extra: args.qemu_args.clone(),
        },
        boot,
        console: match command {
            Some(_) => Console::Log,
            None => Console::Terminal,
        },
        command,
        log: args.log.clone().unwrap_or_else(|| work.join("run.log")),
        timeout: limit,
        stop: Some(stop_flag()?),
    };
    Ok(Prepared { session, _files: files })
}

/// What emulates the machine, and what executes QEMU's, with all that they need installed.
fn emulator(args: &RunArgs, consent: Consent) -> Result<(Emulator, Accelerator)> {
    if args.machine == MachineKind::Bochs {
        let is_more = args.bare
            || args.net
            || args.deterministic
            || !args.disks.is_empty()
            || !args.qemu_args.is_empty();
        ensure!(!is_more, "Bochs runs LUCOS and its guest, without disks and network");
        let needs: Vec<Need> = [iso::NEEDS.as_slice(), &bochs::NEEDS]
            .concat()
            .into_iter()
            .map(|(file, package)| Need { file, package })
            .collect();
        packages::ensure(&needs, consent)?;
        let model = match args.extension {
            ExtensionChoice::Svm => Model::Ryzen,
            ExtensionChoice::Auto | ExtensionChoice::Vmx => Model::Haswell,
        };
        return Ok((Emulator::Bochs(model), Accelerator::Tcg));
    }
    let needs = [Need { file: "qemu-system-x86_64", package: "qemu-system-x86" }];
    packages::ensure(&needs, consent)?;
    let accelerator = match args.deterministic {
        true => AcceleratorChoice::Tcg,
        false => args.accel,
    };
    let (accelerator, _) =
        qemu_runner::choose(accelerator, args.extension).map_err(anyhow::Error::msg)?;
    Ok((Emulator::Qemu, accelerator))
}

/// The boot bundle with this guest.
fn pack(images: &Images, guest: &GuestFiles, cmdline: &str) -> Result<Vec<u8>> {
    let image = &guest.kernel.image;
    let kernel = fs::read(image).with_context(|| image.display().to_string())?;
    images.bundle(Some(GuestParts { kernel: &kernel, initrd: &guest.initrd, cmdline }))
}

/// The guest's command line; what follows `--` goes to its first program and must stand last.
fn cmdline(guest: &GuestFiles, append: &[&str]) -> String {
    let mut words = vec!["console=ttyS0,115200"];
    words.extend(append);
    words.extend(guest.init);
    words.join(" ")
}

/// Becomes true when we are told to end: QEMU must not go on without us.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    Ok(stop)
}

fn start(prepared: Prepared) -> Result<ExitCode> {
    let log = prepared.session.log.clone();
    let command = prepared.session.command.is_some();
    if !command {
        eprintln!(
            "{}",
            match prepared.session.emulator {
                Emulator::Qemu => "Ctrl-A x ends QEMU, Ctrl-A c leads to its monitor and back",
                Emulator::Bochs(_) => "`poweroff -f` in the guest ends Bochs",
            }
        );
    }
    let report = match prepared.session.run() {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(status::NO_START));
        }
    };
    let code = match report.verdict {
        Verdict::Exited(status) => return Ok(ExitCode::from(status)),
        Verdict::PoweredOff if !command => return Ok(ExitCode::SUCCESS),
        Verdict::PoweredOff | Verdict::DebugExit(_) => status::NO_STATUS,
        Verdict::GuestPanic => status::PANIC,
        Verdict::HypervisorFault => status::FAULT,
        Verdict::QemuFailed => status::NO_START,
        Verdict::Timeout => status::TIMEOUT,
        Verdict::Interrupted => status::INTERRUPTED,
    };
    tell(&report, &log);
    Ok(ExitCode::from(code))
}

fn tell(report: &Report, log: &std::path::Path) {
    for line in &report.last_lines {
        eprintln!("{line}");
    }
    eprintln!("error: {}; the whole log is {}", report.verdict, log.display());
}

/// Options of `iso`.
#[derive(Args)]
pub struct IsoArgs {
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    mode: Mode,
    /// Words for the guest kernel's command line.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    append: Option<String>,
    /// Options of LUCOS; serial=PORT logs there until the guest starts.
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    options: String,
    /// Run a command in the guest, as `run --exec` does, and power off.
    #[arg(long, value_name = "CMD", allow_hyphen_values = true)]
    exec: Option<String>,
    /// A system that only tests itself, in place of LUCOS with a Debian guest.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["GuestArgs", "append", "exec"])]
    system: Option<PathBuf>,
    /// Install Bochs too, for who boots the ISO there.
    #[arg(long)]
    bochs: bool,
    /// The ISO [default: lucos/lucos.iso in cargo's target folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// The verb `iso`.
///
/// # Errors
/// When a part cannot be built or the ISO not be written.
pub fn iso(workspace: &Workspace, args: &IsoArgs) -> Result<()> {
    output_file::check([args.output.as_ref()])?;
    let consent = Consent::new(args.yes);
    let emulator: &[_] = if args.bochs { &bochs::NEEDS } else { &[] };
    let needs: Vec<Need> =
        iso::NEEDS.iter().chain(emulator).map(|&(file, package)| Need { file, package }).collect();
    packages::ensure(&needs, consent)?;
    let (boot, bundle) = match &args.system {
        Some(path) => {
            let images = images::build_system(workspace, path, &args.mode, consent)?;
            let bundle = images.self_contained_bundle()?;
            (images.boot, bundle)
        }
        None => guest_bundle(workspace, args, consent)?,
    };
    let work = workspace.target.join("lucos");
    fs::create_dir_all(&work)?;
    let place = args.output.clone().unwrap_or_else(|| work.join("lucos.iso"));
    iso::write(&place, &boot, &bundle, &args.options)?;
    println!("{}", place.display());
    Ok(())
}

/// The boot stub, and the boot bundle with a Debian guest.
fn guest_bundle(
    workspace: &Workspace,
    args: &IsoArgs,
    consent: Consent,
) -> Result<(PathBuf, Vec<u8>)> {
    let script = args.exec.as_deref().map(Script::of_command);
    let guest = guest::prepare(workspace, &args.guest, script.as_ref(), consent)?;
    let images = images::build(workspace, &args.mode, consent)?;
    let append: Vec<&str> = args.append.as_deref().into_iter().collect();
    let cmdline = cmdline(&guest, &append);
    let bundle = pack(&images, &guest, &cmdline)?;
    Ok((images.boot, bundle))
}
