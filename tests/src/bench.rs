//! The figures that `cargo xtask bench` counts.

use std::fs;
use std::process::Stdio;

use libtest_mimic::Failed;
use serde_json::Value;

/// The figures of one series, as `cargo xtask bench --json` writes them: one value for each machine.
///
/// # Errors
/// When they cannot be counted. Figures that are not good enough are no error here: they are in
/// `problems`.
pub fn bench(series: &str) -> Result<Vec<Value>, Failed> {
    let machines = run(&["--guest", series])?.as_array().cloned();
    machines.ok_or_else(|| "the bench counted nothing".into())
}

/// The rows of the table of code updates.
///
/// # Errors
/// When they cannot be counted.
pub fn bench_updates() -> Result<Vec<Value>, Failed> {
    let rows = run(&["--updates"])?["rows"].as_array().cloned();
    rows.ok_or_else(|| "the bench counted nothing".into())
}

fn run(arguments: &[&str]) -> Result<Value, Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures");
    let output = crate::xtask()
        .args(["bench", "--yes"])
        .args(arguments)
        .arg("--json")
        .arg(&file)
        .stdin(Stdio::null())
        .output()?;
    let results = fs::read_to_string(&file).map_err(|_| {
        let (out, err) = (&output.stdout, &output.stderr);
        Failed::from(format!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        ))
    })?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(serde_json::from_str(&results)?)
}
