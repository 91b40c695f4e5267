//! `cargo xtask bench`: what LUCOS costs, beside the same guest without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use lucos_bench::{
    Figures, Output, Pair, Problem, Recorded, Sizes, data, figures, judge, script, table,
};
use lucos_debian_archive::kernel::Series;
use lucos_debian_archive::packages::{self, Consent, Need};
use lucos_patch_builder::output_file;
use serde_json::{Value, json};

use crate::guest;
use crate::images::{self, Mode};
use crate::run::MachineKind;
use crate::size;
use crate::updates::{self, Wanted};
use crate::workspace::Workspace;

const COMPILER: &str = "gcc-12";

const NEEDS: [Need; 3] = [
    Need { file: COMPILER, package: "gcc-12" },
    Need { file: "/usr/lib/x86_64-linux-gnu/libc.a", package: "libc6-dev" },
    Need { file: "qemu-system-x86_64", package: "qemu-system-x86" },
];

/// Seconds after which a machine is ended.
pub const LIMIT: &str = "900";

/// The machines in which something is counted, and their processors: with one everything, with
/// several only stops, since in an emulator's deterministic mode they take turns.
const MACHINES: [(Series, u32); 3] =
    [(Series::Debian6_1, 1), (Series::Debian6_12, 1), (Series::Debian6_12, 2)];

/// Words for the kernel under Bochs: no test of ciphers, and no wait for timers that run by instructions.
const BOCHS_WORDS: &str = "cryptomgr.notests no_timer_check";

/// Seconds for a machine of Bochs.
const BOCHS_LIMIT: &str = "2700";

/// Where the recorded figures are, in the workspace.
const RECORDED: &str = "bench/recorded.toml";

/// Options of `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// Only this series of kernels: debian-6.1 or debian-6.12.
    #[arg(long, value_name = "SERIES")]
    guest: Option<Series>,
    /// Write the figures to a file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure code updates beside the guest's own livepatch instead.
    #[arg(long, conflicts_with = "guest")]
    updates: bool,
    /// What emulates the machine: under bochs, which has VT-x, exits and stops are counted, on one
    /// processor.
    #[arg(long, value_name = "MACHINE", default_value = "qemu", conflicts_with_all = ["updates", "record"])]
    machine: MachineKind,
    /// Make these figures the recorded ones for their kernel and QEMU; with --updates those of the
    /// documentation.
    #[arg(long)]
    record: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// The verb `bench`. Figures that miss a target, or are worse than the recorded ones, are an exit
/// code.
///
/// # Errors
/// When a machine does not do what it should.
pub fn run(workspace: &Workspace, args: &BenchArgs) -> Result<ExitCode> {
    output_file::check([args.json.as_ref()])?;
    let consent = Consent::new(args.yes);
    packages::ensure(&NEEDS, consent)?;
    if args.updates {
        let wanted = Wanted { json: args.json.as_deref(), record: args.record };
        return updates::run(workspace, &wanted, consent);
    }
    if args.machine == MachineKind::Bochs {
        return under_bochs(workspace, args);
    }
    let place = workspace.root.join(RECORDED);
    let mut recorded = match place.is_file() {
        true => {
            let text = fs::read_to_string(&place)?;
            Recorded::parse(&text).with_context(|| place.display().to_string())?
        }
        false => Recorded::default(),
    };
    let mut results = Vec::new();
    let mut passed = true;
    for (series, cpus) in MACHINES {
        if args.guest.is_some_and(|wanted| wanted != series) {
            continue;
        }
        let (pair, figures) = measure(workspace, series, cpus, consent)?;
        if args.record {
            recorded.set(&pair, &figures);
        }
        let before = recorded.find(&pair);
        let problems = judge(&figures, before, cpus);
        tell(&pair, &figures, before.is_some(), &problems);
        passed &= problems.is_empty();
        results.push(result(&pair, &figures, before.is_some(), &problems));
    }
    if args.record {
        fs::write(&place, recorded.text()?).with_context(|| place.display().to_string())?;
    }
    write(args, results)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts exits and stops under VT-x. Nothing of it is recorded; the targets apply.
fn under_bochs(workspace: &Workspace, args: &BenchArgs) -> Result<ExitCode> {
    let series = args.guest.unwrap_or(Series::Debian6_1);
    let work = Work::prepare(workspace, series)?;
    let output = work.boot("bochs", &script::exits_and_stops(), |command| {
        command.args(["--machine", "bochs", "--timeout", BOCHS_LIMIT, "--append"]);
        command.arg(format!("{} {BOCHS_WORDS}", script::WORDS));
    })?;
    let mut figures = figures::exits(&output)?;
    figures.extend(figures::stops(&output)?);
    let mut problems = judge(&figures, None, 1);
    // VT-x has no choice: CPUID exits.
    problems.retain(|problem| problem.figure != "load.CPUID");
    let kernel = output.text("kernel")?;
    println!("{kernel}, Bochs, processors: 1\n\n{}", table(&figures, 1));
    for problem in &problems {
        println!("WORSE {problem}");
    }
    write(
        args,
        vec![json!({ "kernel": kernel, "cpus": 1, "figures": figures, "problems": problems })],
    )?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the results to the file that was asked for.
fn write(args: &BenchArgs, results: Vec<Value>) -> Result<()> {
    let Some(file) = &args.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(&Value::Array(results))?;
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// What the machines of a kernel need.
struct Work<'a> {
    workspace: &'a Workspace,
    series: Series,
    release: String,
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl<'a> Work<'a> {
    fn prepare(workspace: &'a Workspace, series: Series) -> Result<Self> {
        let folder = workspace.target.join("lucos");
        fs::create_dir_all(&folder)?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&folder)?;
        let program = folder.path().join("figures");
        compile(workspace, &[workspace.root.join("tests/guest-programs/figures.c")], &program)?;
        let release = guest::pinned(workspace, series)?.release;
        Ok(Self { workspace, series, release, program, folder })
    }

    /// Runs a script in a machine that has the options of `choose`.
    fn boot(&self, name: &str, text: &str, choose: impl FnOnce(&mut Command)) -> Result<Output> {
        let script = self.folder.path().join(name);
        fs::write(&script, text)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--yes", "--guest-version", &self.release]);
        command.arg("--add").arg(format!("{}:/bin/figures", self.program.display()));
        command.arg("--script").arg(&script);
        command.arg("--modules").arg(self.workspace.root.join("bench/guest-modules"));
        command.arg("--log").arg(self.folder.path().join("log"));
        choose(&mut command);
        let output = command.stderr(std::process::Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{}, {name}: {}\n{text}", self.series, output.status);
        }
        // To look at when something is missing.
        let copy = self.workspace.target.join("lucos").join(format!("bench.{name}"));
        fs::write(copy, &*text)?;
        Ok(Output::parse(&text))
    }
}

/// Counts what there is to count in a machine.
fn measure(
    workspace: &Workspace,
    series: Series,
    cpus: u32,
    consent: Consent,
) -> Result<(Pair, Figures)> {
    let work = Work::prepare(workspace, series)?;
    let words = match series {
        Series::Debian6_1 => script::WORDS.to_owned(),
        Series::Debian6_12 => format!("{} {}", script::WORDS, script::NO_CIPHER_TESTS),
    };
    let boot = |name: &str, text: &str, bare: bool| {
        work.boot(name, text, |command| {
            command.args(["--deterministic", "--timeout", LIMIT, "--cpus", &cpus.to_string()]);
            command.args(["--append", &words]);
            if bare {
                command.arg("--bare");
            }
        })
    };
    let (lucos, figures) = if cpus == 1 {
        let bare = boot("bare", script::bare(), true)?;
        let lucos = boot("lucos", &script::work_and_stops(), false)?;
        let sizes = Sizes { image: image_size(workspace, consent)? };
        let mut figures = figures::work(&bare, &lucos, sizes)?;
        figures.extend(figures::stops(&lucos)?);
        figures.extend(data::figures(&lucos)?);
        (lucos, figures)
    } else {
        let lucos = boot("lucos", &script::stops(), false)?;
        let figures = figures::stops(&lucos)?;
        (lucos, figures)
    };
    let kernel = lucos.text("kernel")?.to_owned();
    Ok((Pair { kernel, qemu: qemu_version()?, cpus }, figures))
}

/// Compiles a program for the guest.
pub fn compile(workspace: &Workspace, sources: &[PathBuf], program: &Path) -> Result<()> {
    let status = Command::new(COMPILER)
        .args(["-O2", "-static", "-pthread", "-I"])
        .arg(workspace.root.join("guest/include"))
        .arg("-o")
        .arg(program)
        .args(sources)
        .status()
        .with_context(|| format!("{COMPILER} does not start"))?;
    if !status.success() {
        bail!("{} does not compile", program.display());
    }
    Ok(())
}

/// Bytes of everything that is loaded but the guest.
fn image_size(workspace: &Workspace, consent: Consent) -> Result<u64> {
    let images = images::build(workspace, &Mode { debug: false, task_feature: None }, consent)?;
    let sizes = images.paths().map(|path| {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        size::loaded(&bytes)
    });
    sizes.sum()
}

/// The version without the distribution's own part.
pub fn qemu_version() -> Result<String> {
    let output = Command::new("qemu-system-x86_64").arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
    Ok(version.context("QEMU does not tell its version")?.to_owned())
}

fn tell(pair: &Pair, figures: &Figures, known: bool, problems: &[Problem]) {
    let Pair { kernel, qemu, cpus } = pair;
    println!("{kernel}, QEMU {qemu}, processors: {cpus}\n\n{}", table(figures, *cpus));
    if !known {
        println!("Nothing is recorded for this kernel and QEMU: only the targets apply.");
    }
    for problem in problems {
        println!("WORSE {problem}");
    }
}

fn result(pair: &Pair, figures: &Figures, known: bool, problems: &[Problem]) -> Value {
    json!({
        "kernel": pair.kernel, "qemu": pair.qemu, "cpus": pair.cpus,
        "recorded": known, "figures": figures, "problems": problems,
    })
}
