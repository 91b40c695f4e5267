//! What the stops of an update cost LUCOS, from answers of the update manager around them.

use crate::output::{Missing, Output};

/// The stops in the life of an update: the first puts traps, the second jumps in their place.
pub const STOPS: [&str; 3] = ["apply", "jump", "rollback"];

/// What something cost LUCOS.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Stops.
    pub stops: f64,
    /// VM exits.
    pub exits: f64,
    /// Calls of tasks to the kernel and to each other.
    pub messages: f64,
}

impl Cost {
    /// What everything has cost when an answer was given.
    ///
    /// # Errors
    /// When the guest printed no such answer.
    pub fn at(output: &Output, name: &str) -> Result<Self, Missing> {
        Ok(Self {
            stops: output.status(name, "stops")?,
            exits: output.exits(name)?.values().sum(),
            messages: output.status(name, "messages")?,
        })
    }

    /// What asking costs: two answers, one right after the other.
    ///
    /// # Errors
    /// When the guest printed no such answers.
    pub fn of_asking(output: &Output, prefix: &str) -> Result<Self, Missing> {
        let at = |step: &str| Self::at(output, &format!("{prefix}ask.{step}"));
        Ok(at("1")? - at("0")?)
    }
}

impl std::ops::Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            stops: self.stops - other.stops,
            exits: self.exits - other.exits,
            messages: self.messages - other.messages,
        }
    }
}

/// A stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// What it cost.
    pub cost: Cost,
    /// Ticks from the call that stops the processors until the last one runs on.
    pub ticks: f64,
}

/// The [`STOPS`] of a patch, from the answers whose names begin with `prefix`. `asking` is what one
/// answer costs.
///
/// # Errors
/// When the guest did not print all of them.
pub fn stops(output: &Output, prefix: &str, asking: Cost) -> Result<[Stop; 3], Missing> {
    let at = |step: &str| format!("{prefix}.{step}");
    let cost = |from: &str, to: &str| -> Result<Cost, Missing> {
        Ok(Cost::at(output, &at(to))? - Cost::at(output, &at(from))? - asking)
    };
    let stop = |cost: Cost, after: &str| -> Result<Stop, Missing> {
        Ok(Stop { cost, ticks: output.status(&at(after), "last_stop_ticks")? })
    };
    Ok([
        stop(cost("start", "applied")?, "applied")?,
        stop(cost("applied", "settled")?, "settled")?,
        stop(cost("shown", "rolled")?, "rolled")?,
    ])
}
