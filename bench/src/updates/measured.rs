//! From what the guest printed to the rows of the table.

use serde::Serialize;
use serde_json::Value;

use crate::cost::{self, Cost, Stop};
use crate::output::{Missing, Output};
use crate::updates::rows::{Change, Paper};

/// Why there is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line is missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A command that tells old from new code says something else.
    #[error("{name}: the command says {found:?} where {expected:?} is right")]
    Sign {
        /// The row and who had put what in force.
        name: String,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// The patch redirects none of its functions, or more than change.
    #[error("{name} redirects {found} of {expected} functions")]
    Functions {
        /// The row.
        name: String,
        /// What it redirects.
        found: usize,
        /// What changes.
        expected: usize,
    },
}

/// A step in the life of an update under LUCOS.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Instructions of all of it, for the one who asked; none for what the manager does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
    /// Instructions for which the guest stood still.
    pub stopped: f64,
    /// VM exits.
    pub exits: f64,
    /// Stops.
    pub stops: f64,
}

/// An update under LUCOS.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lucos {
    /// Instructions to load its module, at the end of which it is in force.
    pub load: f64,
    /// Put in force again: the first stop.
    pub apply: Step,
    /// Traps become jumps: the second stop.
    pub jump: Step,
    /// Taken back.
    pub rollback: Step,
    /// Functions that got their jump.
    pub jumps: usize,
}

/// The same by the guest's own livepatch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Livepatch {
    /// It came into force.
    Complete {
        /// Ticks to load its module.
        load: f64,
        /// Ticks from the start of that until the transition was complete.
        complete: f64,
        /// Ticks to take it back, until that transition was complete.
        disable: f64,
    },
    /// The transition was not complete in time and was cancelled.
    Stuck {
        /// Ticks to load its module.
        load: f64,
        /// Ticks that were waited.
        waited: f64,
        /// A task that still had the old code.
        who: String,
        /// Ticks to cancel it.
        cancel: f64,
    },
    /// The kernel refuses it.
    Refused {
        /// Its error.
        error: String,
        /// What it wrote into its log.
        reason: String,
    },
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The patch's name.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Functions that change.
    pub functions: usize,
    /// Those of them that are redirected; the others are called by these alone.
    pub redirected: usize,
    /// Under LUCOS.
    pub lucos: Lucos,
    /// By livepatch.
    pub livepatch: Livepatch,
    /// The paper's counterpart, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paper: Option<Paper>,
}

/// Makes the rows of what the guest printed.
///
/// # Errors
/// When something is missing, or a change was not in force when it should have been.
pub fn derive(output: &Output, changes: &[Change]) -> Result<Vec<Measured>, Error> {
    changes.iter().map(|change| row(output, change)).collect()
}

fn row(output: &Output, change: &Change) -> Result<Measured, Error> {
    let name = &change.name;
    check_sign(output, change, &format!("{name}.old"), false)?;
    check_sign(output, change, &format!("{name}.lucos.sign"), true)?;
    let (redirected, lucos) = lucos(output, &format!("{name}.lucos"))?;
    let functions = change.functions;
    if !(1..=functions).contains(&redirected) {
        let name = name.clone();
        return Err(Error::Functions { name, found: redirected, expected: functions });
    }
    let livepatch = livepatch(output, &format!("{name}.livepatch"))?;
    if matches!(livepatch, Livepatch::Complete { .. }) {
        check_sign(output, change, &format!("{name}.livepatch.sign"), true)?;
    }
    Ok(Measured {
        name: name.clone(),
        title: change.title.clone(),
        functions,
        redirected,
        lucos,
        livepatch,
        paper: change.paper,
    })
}

fn check_sign(output: &Output, change: &Change, name: &str, is_new: bool) -> Result<(), Error> {
    let Some(sign) = &change.sign else {
        return Ok(());
    };
    let (found, expected) = (output.text(name)?, if is_new { &sign.new } else { &sign.old });
    if found == expected {
        return Ok(());
    }
    Err(Error::Sign { name: name.into(), found: found.into(), expected: expected.clone() })
}

/// The number of redirected functions, and what they cost.
fn lucos(output: &Output, name: &str) -> Result<(usize, Lucos), Missing> {
    let of = |what: &str| output.number(&format!("{name}.{what}"));
    let asking = Cost::of_asking(output, &format!("{name}."))?;
    let [apply, jump, rollback] = cost::stops(output, name, asking)?;
    let shown = output.answer(&format!("{name}.show"))?;
    let functions = shown["function"].as_array().map_or(&[][..], Vec::as_slice);
    let is_jump = |function: &&Value| function["state"] == "JUMP";
    let step = |stop: Stop, instructions| Step {
        instructions,
        stopped: stop.ticks,
        exits: stop.cost.exits,
        stops: stop.cost.stops,
    };
    let lucos = Lucos {
        load: of("load")?,
        apply: step(apply, Some(of("apply")?)),
        jump: step(jump, None),
        rollback: step(rollback, Some(of("rollback")?)),
        jumps: functions.iter().filter(is_jump).count(),
    };
    Ok((functions.len(), lucos))
}

fn livepatch(output: &Output, name: &str) -> Result<Livepatch, Missing> {
    let of = |what: &str| output.number(&format!("{name}.{what}"));
    let text = |what: &str| output.text(&format!("{name}.{what}")).map(str::to_owned);
    if let Ok(error) = text("refused") {
        return Ok(Livepatch::Refused { error, reason: text("reason")? });
    }
    let (load, disable) = (of("load")?, of("disable")?);
    if let Ok(waited) = of("waited") {
        return Ok(Livepatch::Stuck { load, waited, who: text("who")?, cancel: disable });
    }
    Ok(Livepatch::Complete { load, complete: of("complete")?, disable })
}
