//! Several tests that share one boot.
//!
//! A machine takes seconds to boot, most tests take less. So the scripts of several tests run in
//! the guest one after the other, and each test looks at its own part of the output. The machine
//! runs when the first of them is asked for its result.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Failed, Trial};

use crate::report::Report;
use crate::run::{Finished, Run};

/// Begins the line before a test's output.
const BEGIN: &str = "@@ begin ";
/// Begins the line after it.
const END: &str = "@@ end ";

type Prepare = Box<dyn FnOnce() -> Result<Run, Failed> + Send>;
type Check = Box<dyn FnOnce(&Report) -> Result<(), Failed> + Send>;

/// Tests that share a boot.
pub struct SharedBoot {
    name: String,
    prepare: Prepare,
    status: i32,
    parts: Vec<Part>,
}

struct Part {
    name: &'static str,
    script: String,
    check: Check,
}

impl SharedBoot {
    /// A boot without tests. `name` begins the names of all its tests; `prepare` is called when
    /// the first of them runs.
    pub fn new(
        name: impl Into<String>,
        prepare: impl FnOnce() -> Result<Run, Failed> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), prepare: Box::new(prepare), status: 0, parts: Vec::new() }
    }

    /// Adds a test: a script for the guest's shell, and what its output must be. What the script
    /// writes to standard error is part of that. The test fails when the script does.
    #[must_use]
    pub fn test(
        mut self,
        name: &'static str,
        script: impl Into<String>,
        check: impl FnOnce(&Report) -> Result<(), Failed> + Send + 'static,
    ) -> Self {
        self.parts.push(Part { name, script: script.into(), check: Box::new(check) });
        self
    }

    /// Adds a last test that ends the machine otherwise than by powering off: `cargo xtask run`
    /// exits with `status`.
    #[must_use]
    pub fn ending(mut self, name: &'static str, script: &str, status: i32) -> Self {
        self.status = status;
        // What the tests before it wrote must have left the machine.
        let script = format!("sleep 5; {script}; sleep 1000");
        self.parts.push(Part { name, script, check: Box::new(|_| Ok(())) });
        self
    }

    /// The tests.
    pub fn trials(self) -> Vec<Trial> {
        let script = self.parts.iter().map(script_of).collect();
        let status = self.status;
        let boot = Arc::new(Boot {
            start: Mutex::new(Some((self.prepare, script))),
            finished: OnceLock::new(),
        });
        let count = self.parts.len();
        let trial = |(index, part): (usize, Part)| {
            let boot = Arc::clone(&boot);
            let ends = status != 0 && index + 1 == count;
            Trial::test(format!("{}::{}", self.name, part.name), move || {
                let finished = boot.finished()?;
                if ends {
                    return judge_end(finished, status);
                }
                let report = find(finished, part.name)?;
                (part.check)(&report).map_err(|failed| explain(&failed, &report, finished))
            })
        };
        self.parts.into_iter().enumerate().map(trial).collect()
    }
}

fn script_of(part: &Part) -> String {
    // A shell of its own, so that `exit` and variables concern one test only.
    format!(
        "echo '{BEGIN}{name}'\n(\n{script}\n) 2>&1\nstatus=$?\necho; echo \"{END}$status\"\n",
        name = part.name,
        script = part.script
    )
}

/// The machine that the tests share.
struct Boot {
    start: Mutex<Option<(Prepare, String)>>,
    finished: OnceLock<Result<Finished, String>>,
}

impl Boot {
    fn finished(&self) -> Result<&Finished, Failed> {
        let finished = self.finished.get_or_init(|| {
            let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (prepare, script) = start.ok_or("the machine was started before")?;
            prepare().and_then(|run| run.exec(&script)).map_err(|failed| message(&failed))
        });
        finished.as_ref().map_err(|error| error.as_str().into())
    }
}

fn message(failed: &Failed) -> String {
    failed.message().unwrap_or("no reason given").to_owned()
}

fn judge_end(finished: &Finished, status: i32) -> Result<(), Failed> {
    if finished.status == Some(status) {
        return Ok(());
    }
    Err(format!(
        "exit status {:?} instead of {status}\n{}",
        finished.status,
        String::from_utf8_lossy(&finished.stderr)
    )
    .into())
}

/// A test's part of the output.
fn find(finished: &Finished, name: &str) -> Result<Report, Failed> {
    let stdout = String::from_utf8_lossy(&finished.stdout);
    let begin = format!("{BEGIN}{name}\n");
    let rest = stdout.split_once(&begin).map(|(_, rest)| rest);
    let (text, end) = rest.and_then(|rest| rest.split_once(&format!("\n{END}"))).ok_or_else(|| {
        format!(
            "the machine ended with status {:?} before the test did, which had written:\n{}\n{}",
            finished.status,
            rest.unwrap_or("nothing"),
            String::from_utf8_lossy(&finished.stderr)
        )
    })?;
    let report = Report::new(text);
    match end.lines().next() {
        Some("0") => Ok(report),
        status => {
            let failed = Failed::from(format!("the script's status is {}", status.unwrap_or("?")));
            Err(explain(&failed, &report, finished))
        }
    }
}

fn explain(failed: &Failed, report: &Report, finished: &Finished) -> Failed {
    let log: Vec<&str> = finished.log.lines().collect();
    let tail = log.get(log.len().saturating_sub(30)..).unwrap_or_default();
    format!("{}\noutput:\n{}\nend of the log:\n{}", message(failed), report.text(), tail.join("\n"))
        .into()
}
