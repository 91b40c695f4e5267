//! Several commands in one boot, each with its own result.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::Run;

/// How a result begins on the guest's standard output; lengths follow.
const MARK: &str = "@@ step ";

/// Commands for the guest's shell.
#[derive(Clone, Debug, Default)]
pub struct Script {
    text: String,
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its exit status.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The results of a script, by the names of its steps.
#[derive(Clone, Debug, Default)]
pub struct Results {
    steps: BTreeMap<String, Step>,
}

impl Script {
    /// An empty script.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds lines whose output is of no interest: variables, functions.
    #[must_use]
    pub fn lines(mut self, lines: &str) -> Self {
        self.text += lines;
        self.text += "\n";
        self
    }

    /// Adds a command, or several, whose result is kept under `name` (one word). Variables that it
    /// sets are gone afterwards.
    #[must_use]
    pub fn step(mut self, name: &str, command: &str) -> Self {
        // With the lengths in front, output can be any text.
        self.text += &format!(
            "({command}\n) >/tmp/step.out 2>/tmp/step.err; status=$?\n\
             echo \"{MARK}{name} $status $(wc -c </tmp/step.out) $(wc -c </tmp/step.err)\"\n\
             cat /tmp/step.out /tmp/step.err; echo\n"
        );
        self
    }

    /// Runs it all in one boot.
    ///
    /// # Errors
    /// When the boot or the script does not end as it should.
    pub fn run(&self, run: Run) -> Result<Results, Failed> {
        Results::parse(&run.exec(&self.text)?.success()?)
    }
}

impl Results {
    fn parse(mut text: &str) -> Result<Self, Failed> {
        let mut steps = BTreeMap::new();
        while let Some(start) = text.find(MARK) {
            let rest = text.get(start + MARK.len()..).unwrap_or_default();
            let (head, rest) = rest.split_once('\n').ok_or("a step without its output")?;
            let words: Vec<&str> = head.split_whitespace().collect();
            let &[name, status, out, err] = words.as_slice() else {
                return Err(format!("not the result of a step: {head:?}").into());
            };
            let (out, err): (usize, usize) = (out.parse()?, err.parse()?);
            let short = "a step's output is shorter than it says";
            let step = Step {
                status: status.parse()?,
                stdout: rest.get(..out).ok_or(short)?.to_owned(),
                stderr: rest.get(out..out + err).ok_or(short)?.to_owned(),
            };
            text = rest.get(out + err..).unwrap_or_default();
            if steps.insert(name.to_owned(), step).is_some() {
                return Err(format!("two steps are called {name}").into());
            }
        }
        Ok(Self { steps })
    }

    /// The result of a step, however it ended.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn step(&self, name: &str) -> Result<&Step, Failed> {
        self.steps.get(name).ok_or_else(|| format!("there is no step {name}").into())
    }

    /// The standard output of a step that ended with status 0.
    ///
    /// # Errors
    /// When it ended otherwise.
    pub fn text(&self, name: &str) -> Result<&str, Failed> {
        let step = self.step(name)?;
        match step.status {
            0 => Ok(&step.stdout),
            _ => Err(format!("{name}: {step:?}").into()),
        }
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// When it ended otherwise or printed something else.
    pub fn json(&self, name: &str) -> Result<Value, Failed> {
        let text = self.text(name)?;
        serde_json::from_str(text).map_err(|error| format!("{name}: {error}: {text}").into())
    }

    /// The one line on standard error of a step that failed.
    ///
    /// # Errors
    /// When it did not fail with status 1, or printed more or less than a line.
    pub fn complaint(&self, name: &str) -> Result<&str, Failed> {
        let step = self.step(name)?;
        match step.stderr.strip_suffix('\n') {
            Some(line) if step.status == 1 && !line.contains('\n') && !line.is_empty() => Ok(line),
            _ => Err(format!("{name}: {step:?}").into()),
        }
    }
}

/// A boot whose results several tests look at. The first of them runs it.
#[derive(Debug, Default)]
pub struct Shared(OnceLock<Result<Results, String>>);

impl Shared {
    /// A boot that did not happen yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The results; `boot` is called once.
    ///
    /// # Errors
    /// That of `boot`, to each test.
    pub fn results(
        &self,
        boot: impl FnOnce() -> Result<Results, Failed>,
    ) -> Result<&Results, Failed> {
        let result = self.0.get_or_init(|| {
            boot().map_err(|failed| failed.message().unwrap_or("the boot failed").to_owned())
        });
        result.as_ref().map_err(|message| message.clone().into())
    }
}
