//! Systems without a guest that test themselves: they print a line for each test on the log port
//! and end the emulator with the verdict.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use qemu_runner::bochs::{Bochs, Ending, Model};
use qemu_runner::{
    Accelerator, Boot, Console, Emulator, Machine, Report, Session, Threads, Verdict,
};

use crate::made_up_map::{self, MadeUpRange};
use crate::monitor::Monitor;

/// What such a system writes to the exit port when every test passed.
const PASSED: u8 = 0x10;

/// The options of LUCOS for the ports that a session watches.
const OPTIONS: &str = "debugcon=0xe9 exit=0xf4";

/// The last line of such a system, by verdict.
const CLOSING: [&str; 2] = ["@@ passed", "@@ failed"];

/// How its lines begin.
const MARK: &str = "@@ test ";

/// Builds a system from its description (a file below the workspace's root), runs it with further
/// arguments of QEMU, and fails with the lines of the tests that failed.
///
/// # Errors
/// When it does not build or boot, a test failed, or none ran.
pub fn self_test(
    system: &str,
    cpus: u32,
    limit: Duration,
    arguments: &[&str],
) -> Result<(), Failed> {
    let arguments = arguments.iter().map(OsString::from).collect();
    let prepared = prepare(system, cpus, limit, arguments)?;
    let report = prepared.session.run()?;
    judge_report(&report, &prepared.log)
}

/// The same on one processor, with a memory map that the machine's firmware does not have.
///
/// # Errors
/// Those of [`self_test`].
pub fn self_test_with_map(
    system: &str,
    map: &[MadeUpRange],
    limit: Duration,
) -> Result<(), Failed> {
    let mut prepared = prepare(system, 1, limit, Vec::new())?;
    if let Boot::Lucos { image, .. } = &mut prepared.session.boot {
        let changed = prepared.folder.path().join("boot");
        made_up_map::write_stub(image, &changed, map)?;
        *image = changed;
    }
    let report = prepared.session.run()?;
    judge_report(&report, &prepared.log)
}

/// Writes a boot stub that finds this memory map.
///
/// # Errors
/// When the stub does not build.
pub fn stub_with_map(to: &Path, map: &[MadeUpRange]) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let stub = build(&crate::folder("../system.toml"), &folder.path().join("bundle"))?;
    made_up_map::write_stub(&stub, to, map)
}

/// The same, with somebody who watches the machine through its monitor. `watch` also gets the
/// log's path; it goes on until the monitor has gone.
///
/// # Errors
/// Those of [`self_test`] and of `watch`.
pub fn watched_self_test(
    system: &str,
    cpus: u32,
    limit: Duration,
    watch: impl FnOnce(&mut Monitor, &Path) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let Watched { report, log, watched, _folder } = watched(system, cpus, limit, OPTIONS, watch)?;
    watched?;
    judge_report(&report, &log)
}

/// The same on a machine without an exit port, which LUCOS ends with a fault: what `watch` sees is
/// the result.
///
/// # Errors
/// When it does not build or boot or ends otherwise, and those of `watch`.
pub fn watched_fault(
    system: &str,
    cpus: u32,
    limit: Duration,
    watch: impl FnOnce(&mut Monitor, &Path) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let Watched { report, watched, .. } =
        self::watched(system, cpus, limit, "debugcon=0xe9", watch)?;
    watched?;
    match report.verdict {
        Verdict::HypervisorFault => Ok(()),
        other => Err(format!("{other}\n{}", report.last_lines.join("\n")).into()),
    }
}

struct Watched {
    report: Report,
    log: PathBuf,
    watched: Result<(), Failed>,
    /// Of the log. Removed at the end.
    _folder: tempfile::TempDir,
}

fn watched(
    system: &str,
    cpus: u32,
    limit: Duration,
    options: &str,
    watch: impl FnOnce(&mut Monitor, &Path) -> Result<(), Failed>,
) -> Result<Watched, Failed> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("monitor");
    let option = format!("unix:{},server=on,wait=on", socket.display());
    let extra = vec!["-qmp".into(), option.into()];
    let Prepared { mut session, log, folder: _folder } = prepare(system, cpus, limit, extra)?;
    if let Boot::Lucos { options: set, .. } = &mut session.boot {
        options.clone_into(set);
    }
    let running = thread::spawn(move || session.run());
    let watched = Monitor::connect(&socket).map_err(Failed::from).and_then(|mut monitor| {
        let watched = watch(&mut monitor, &log);
        if watched.is_err() {
            // It may have ended already.
            let _ = monitor.quit();
        }
        watched
    });
    let report = running.join().map_err(|_| "the session panicked")??;
    Ok(Watched { report, log, watched, _folder })
}

fn judge_report(report: &Report, log: &Path) -> Result<(), Failed> {
    let passed = report.verdict == Verdict::DebugExit(PASSED);
    judge(passed, &report.verdict.to_string(), &std::fs::read_to_string(log)?)
}

struct Prepared {
    session: Session,
    log: PathBuf,
    /// Removed when the session is over.
    folder: tempfile::TempDir,
}

fn prepare(
    system: &str,
    cpus: u32,
    limit: Duration,
    extra: Vec<OsString>,
) -> Result<Prepared, Failed> {
    let root = crate::folder("..");
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    let log = folder.path().join("log");
    let image = build(&root.join(system), &bundle)?;
    let session = Session {
        emulator: Emulator::Qemu,
        machine: Machine {
            cpus,
            memory: 512,
            accelerator: Accelerator::Tcg,
            threads: Threads::Multi,
            deterministic: false,
            disks: Vec::new(),
            network: false,
            extra,
        },
        boot: Boot::Lucos { image, bundle, options: String::from(OPTIONS) },
        console: Console::Log,
        command: None,
        log: log.clone(),
        timeout: Some(limit),
        stop: None,
    };
    Ok(Prepared { session, log, folder })
}

/// The same under Bochs, from a CD-ROM, on so many of its processors. A line of the log must have every one of
/// `words`: they are why the test runs there.
///
/// # Errors
/// When it does not build or boot, a test failed, none ran, or a word is missing.
pub fn bochs_self_test(
    system: &str,
    processors: (Model, u32),
    words: &[&str],
    limit: Duration,
) -> Result<(), Failed> {
    let (ending, text) = under_bochs(system, processors, limit)?;
    let passed = matches!(&ending, Ending::Closed(line) if line == CLOSING[0]);
    judge(passed, &format!("{ending:?}"), &text)?;
    has_line(&text, words)
}

/// LUCOS does not start on this processor of Bochs, and a line of the log says why in these words.
///
/// # Errors
/// When it does not build, or does not end so.
pub fn bochs_refusal(
    system: &str,
    model: Model,
    words: &[&str],
    limit: Duration,
) -> Result<(), Failed> {
    let (ending, text) = under_bochs(system, (model, 1), limit)?;
    match ending {
        Ending::HypervisorFault => has_line(&text, words),
        other => Err(format!("{other:?} in place of a fault").into()),
    }
}

fn has_line(text: &str, words: &[&str]) -> Result<(), Failed> {
    match text.lines().any(|line| words.iter().all(|word| line.contains(word))) {
        true => Ok(()),
        false => Err(format!("no line with {words:?} in:\n{text}").into()),
    }
}

/// How such a system ends there, and its log.
fn under_bochs(
    system: &str,
    (model, cpus): (Model, u32),
    limit: Duration,
) -> Result<(Ending, String), Failed> {
    let root = crate::folder("..");
    let folder = tempfile::tempdir()?;
    let iso = folder.path().join("iso");
    let log = folder.path().join("log");
    let output = crate::xtask()
        .args(["iso", "--yes", "--debug", "--bochs", "--options", "debugcon=0xe9", "--system"])
        .arg(root.join(system))
        .arg("--output")
        .arg(&iso)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let closing = CLOSING.map(String::from).to_vec();
    let machine =
        Bochs { model, cpus, memory: 512, iso, closing, log: log.clone(), timeout: limit };
    let ending = machine.run()?;
    Ok((ending, std::fs::read_to_string(&log)?))
}

fn build(system: &Path, bundle: &Path) -> Result<PathBuf, Failed> {
    let output = crate::xtask()
        .args(["build", "--debug", "--yes", "--system"])
        .arg(system)
        .arg("--bundle")
        .arg(bundle)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    // The boot stub is the first of the files it lists.
    let paths = String::from_utf8(output.stdout)?;
    let first = paths.lines().next().ok_or("the build lists no files")?;
    Ok(PathBuf::from(first))
}

fn judge(passed: bool, verdict: &str, log: &str) -> Result<(), Failed> {
    let results: Vec<&str> =
        log.lines().filter_map(|line| line.split_once(MARK).map(|(_, result)| result)).collect();
    let failed: Vec<&str> =
        results.iter().copied().filter(|result| !result.ends_with(" ok")).collect();
    if passed && failed.is_empty() && !results.is_empty() {
        return Ok(());
    }
    let skipped = log.lines().count().saturating_sub(20);
    let tail: Vec<&str> = log.lines().skip(skipped).collect();
    Err(format!(
        "{verdict}; {} tests ran, failed:\n{}\nend of the log:\n{}",
        results.len(),
        failed.join("\n"),
        tail.join("\n")
    )
    .into())
}
