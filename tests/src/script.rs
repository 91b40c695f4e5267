//! Several commands in one boot, each with its own result.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::Run;
use crate::run::Finished;

/// Begins the line before a step's standard output.
const BEGIN: &str = "@@ begin ";
/// Begins the line after it: the status and the length of standard error, which follows.
const END: &str = "\n@@ end ";

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
    /// The step that had not ended when the machine did, and what it had written.
    open: Option<(String, String)>,
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
        // The output goes out as it comes: when the machine hangs, it tells how far it got.
        self.text += &format!(
            "echo '{BEGIN}{name}'\n({command}\n) 2>/tmp/step.err; status=$?\n\
             printf '{}%d %d\\n' $status $(wc -c </tmp/step.err)\ncat /tmp/step.err; echo\n",
            END.replace('\n', "\\n")
        );
        self
    }

    /// Adds all of another script.
    #[must_use]
    pub fn then(mut self, other: &Self) -> Self {
        self.text += &other.text;
        self
    }

    /// The text for the shell.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Runs it all in one boot.
    ///
    /// # Errors
    /// When the boot or the script does not end as it should.
    pub fn run(&self, run: Run) -> Result<Results, Failed> {
        Results::parse(&run.exec(&self.text)?.success()?)
    }

    /// Runs it all in one boot and looks at the results.
    ///
    /// # Errors
    /// When the boot or the script does not end as it should, and that of `check`, with the ends
    /// of standard error and of the log.
    pub fn check(
        &self,
        run: Run,
        check: impl FnOnce(&Results) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        run.check(&self.text, |finished| {
            let results = Results::of(finished)?;
            crate::equal("status", finished.status, Some(0))?;
            check(&results)
        })
    }
}

impl Results {
    /// The results of all steps that ended before the machine did.
    ///
    /// # Errors
    /// When the output cannot be read.
    pub(crate) fn of(finished: &Finished) -> Result<Self, Failed> {
        Self::parse(&String::from_utf8_lossy(&finished.stdout))
    }

    fn parse(mut text: &str) -> Result<Self, Failed> {
        let mut results = Self::default();
        while let Some((_, rest)) = text.split_once(BEGIN) {
            let (name, output) = rest.split_once('\n').unwrap_or((rest, ""));
            let Some((step, rest)) = parse_step(output)? else {
                results.open = Some((name.to_owned(), output.to_owned()));
                break;
            };
            text = rest;
            if results.steps.insert(name.to_owned(), step).is_some() {
                return Err(format!("two steps are called {name}").into());
            }
        }
        Ok(results)
    }

    /// All steps that ended, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Step)> {
        self.steps.iter().map(|(name, step)| (name.as_str(), step))
    }

    /// The result of a step, however it ended.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn step(&self, name: &str) -> Result<&Step, Failed> {
        self.steps.get(name).ok_or_else(|| match &self.open {
            Some((open, output)) if open == name => {
                format!("the machine ended before step {name} did, which had written:\n{output}")
                    .into()
            }
            Some((open, _)) => {
                format!("no result of step {name}: the machine ended in step {open}").into()
            }
            None => format!("there is no step {name}").into(),
        })
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

/// A step from its output on, and the text behind it. `None` when it is not all there.
fn parse_step(text: &str) -> Result<Option<(Step, &str)>, Failed> {
    // With nothing printed, the end stands at the beginning of a line all the same.
    let Some((stdout, rest)) = text.split_once(END) else { return Ok(None) };
    let Some((head, rest)) = rest.split_once('\n') else { return Ok(None) };
    let (status, length) =
        head.split_once(' ').ok_or_else(|| format!("not the end of a step: {head:?}"))?;
    let length: usize = length.parse()?;
    let Some(stderr) = rest.get(..length) else { return Ok(None) };
    let step =
        Step { status: status.parse()?, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    Ok(Some((step, rest.get(length..).unwrap_or_default())))
}
