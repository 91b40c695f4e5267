//! Systems without a guest that test themselves: they print a line for each test on the log port
//! and end the emulator with the verdict.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;
use qemu_runner::{Accelerator, Boot, Console, Machine, Session, Verdict};

/// What such a system writes to the exit port when every test passed.
const PASSED: u8 = 0x10;

/// How its lines begin.
const MARK: &str = "@@ test ";

/// Builds a system from its description (a file below the workspace's root), runs it, and fails
/// with the lines of the tests that failed.
///
/// # Errors
/// When it does not build or boot, a test failed, or none ran.
pub fn self_test(system: &str, cpus: u32, limit: Duration) -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    let log = folder.path().join("log");
    let image = build(&root.join(system), &bundle)?;
    let session = Session {
        machine: Machine {
            cpus,
            memory: 512,
            accelerator: Accelerator::Tcg,
            disks: Vec::new(),
            network: false,
            extra: Vec::new(),
        },
        boot: Boot::Lucos { image, bundle, options: String::from("debugcon=0xe9 exit=0xf4") },
        console: Console::Log,
        command: None,
        log: log.clone(),
        timeout: Some(limit),
        stop: None,
    };
    let report = session.run()?;
    let text = std::fs::read_to_string(&log)?;
    judge(report.verdict, &text)
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

fn judge(verdict: Verdict, log: &str) -> Result<(), Failed> {
    let results: Vec<&str> =
        log.lines().filter_map(|line| line.split_once(MARK).map(|(_, result)| result)).collect();
    let failed: Vec<&str> =
        results.iter().copied().filter(|result| !result.ends_with(" ok")).collect();
    if verdict == Verdict::DebugExit(PASSED) && failed.is_empty() && !results.is_empty() {
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
