//! Several tests that share one boot.
//!
//! A machine takes seconds to boot, most tests take less. So one script with the steps of several
//! tests runs in the guest, and each test looks at the results of its steps. The machine runs when
//! the first of them is asked for its result.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Failed, Trial};

use crate::report::Report;
use crate::run::{Finished, Run};
use crate::script::{Results, Script};

type Prepare = Box<dyn FnOnce() -> Result<Run, Failed> + Send>;
type Check = Box<dyn FnOnce(&Results) -> Result<(), Failed> + Send>;

/// Tests that share a boot.
pub struct SharedBoot {
    name: String,
    prepare: Prepare,
    script: Script,
    status: i32,
    is_long: bool,
    tests: Vec<Test>,
}

struct Test {
    name: String,
    check: Check,
}

impl SharedBoot {
    /// A boot without tests. `name` begins the names of all its tests; `prepare` is called when
    /// the first of them runs.
    pub fn new(
        name: impl Into<String>,
        prepare: impl FnOnce() -> Result<Run, Failed> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            prepare: Box::new(prepare),
            script: Script::new(),
            status: 0,
            is_long: false,
            tests: Vec::new(),
        }
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
        self.script = self.script.step(name, &format!("exec 2>&1\n{}", script.into()));
        self.check(name, move |results| {
            let step = results.step(name)?;
            let report = Report::new(&step.stdout);
            crate::equal("the script's status", step.status, 0)
                .and_then(|()| check(&report))
                .map_err(|failed| format!("{}\noutput:\n{}", message(&failed), step.stdout).into())
        })
    }

    /// Adds steps, whose results all tests of [`SharedBoot::check`] can look at.
    #[must_use]
    pub fn steps(mut self, script: &Script) -> Self {
        self.script = self.script.then(script);
        self
    }

    /// Adds a test that looks at steps.
    #[must_use]
    pub fn check(
        mut self,
        name: impl Into<String>,
        check: impl FnOnce(&Results) -> Result<(), Failed> + Send + 'static,
    ) -> Self {
        self.tests.push(Test { name: name.into(), check: Box::new(check) });
        self
    }

    /// Says that the tests run with `--all` only, if that is so.
    #[must_use]
    pub fn long(mut self, is_long: bool) -> Self {
        self.is_long = is_long;
        self
    }

    /// Adds a last test that ends the machine otherwise than by powering off: `cargo xtask run`
    /// exits with `status`.
    #[must_use]
    pub fn ending(mut self, name: &'static str, script: &str, status: i32) -> Self {
        self.status = status;
        // What the tests before it wrote must have left the machine.
        self.script = self.script.step(name, &format!("sleep 5; {script}; sleep 1000"));
        self.check(name, move |results| match results.step(name) {
            Err(_) => Ok(()),
            Ok(_) => Err("the machine went on".into()),
        })
    }

    /// The tests. The last one also fails when the machine did not end as it should.
    pub fn trials(self) -> Vec<Trial> {
        let boot = Arc::new(Boot {
            start: Mutex::new(Some((self.prepare, self.script))),
            ended: OnceLock::new(),
        });
        let (count, status, is_long) = (self.tests.len(), self.status, self.is_long);
        let trial = |(index, test): (usize, Test)| {
            let boot = Arc::clone(&boot);
            let is_last = index + 1 == count;
            Trial::test(format!("{}::{}", self.name, test.name), move || {
                let (finished, results) = boot.ended()?;
                let checked = (test.check)(results).and_then(|()| match is_last {
                    true => crate::equal("status of the run", finished.status, Some(status)),
                    false => Ok(()),
                });
                checked.map_err(|failed| finished.explain(&failed))
            })
            .with_ignored_flag(is_long)
        };
        self.tests.into_iter().enumerate().map(trial).collect()
    }
}

/// The machine that the tests share.
struct Boot {
    start: Mutex<Option<(Prepare, Script)>>,
    ended: OnceLock<Result<(Finished, Results), String>>,
}

impl Boot {
    fn ended(&self) -> Result<&(Finished, Results), Failed> {
        let ended = self.ended.get_or_init(|| self.run().map_err(|failed| message(&failed)));
        ended.as_ref().map_err(|error| error.as_str().into())
    }

    fn run(&self) -> Result<(Finished, Results), Failed> {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (prepare, script) = start.ok_or("the machine was started before")?;
        let finished = prepare()?.exec(script.text())?;
        let results = Results::of(&finished).map_err(|failed| finished.explain(&failed))?;
        Ok((finished, results))
    }
}

fn message(failed: &Failed) -> String {
    failed.message().unwrap_or("no reason given").to_owned()
}
