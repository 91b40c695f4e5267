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
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&Value::Array(results))?;
        fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts what there is to count in a machine.
fn measure(
    workspace: &Workspace,
    series: Series,
    cpus: u32,
    consent: Consent,
) -> Result<(Pair, Figures)> {
    let work = workspace.target.join("lucos");
    fs::create_dir_all(&work)?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(&work)?;
    let program = work.path().join("figures");
    compile(workspace, &[workspace.root.join("tests/guest-programs/figures.c")], &program)?;
    let modules = workspace.root.join("bench/guest-modules");
    let words = match series {
        Series::Debian6_1 => script::WORDS.to_owned(),
        Series::Debian6_12 => format!("{} {}", script::WORDS, script::NO_CIPHER_TESTS),
    };
    let kernel = guest::pinned(workspace, series)?;
    let boot = |name: &str, text: &str, bare: bool| -> Result<Output> {
        let script = work.path().join(name);
        fs::write(&script, text)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--deterministic", "--yes", "--guest-version", &kernel.release]);
        command.args(["--timeout", LIMIT, "--cpus", &cpus.to_string()]);
        command.args(["--append", &words]);
        command.arg("--add").arg(format!("{}:/bin/figures", program.display()));
        command.arg("--script").arg(&script).arg("--modules").arg(&modules);
        command.arg("--log").arg(work.path().join("log"));
        if bare {
            command.arg("--bare");
        }
        let output = command.stderr(std::process::Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{series}, {name}: {}\n{text}", output.status);
        }
        // To look at when something is missing.
        fs::write(workspace.target.join("lucos").join(format!("bench.{name}")), &*text)?;
        Ok(Output::parse(&text))
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
