//! Tells a person which stage a build is in, and notes how long each took.

use std::time::{Duration, Instant};

use serde::Serialize;

/// A stage that is over.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// What was done.
    pub name: String,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub time: Duration,
}

/// The stages of one build.
#[derive(Debug, Default)]
pub struct Progress {
    quiet: bool,
    stages: Vec<Stage>,
}

impl Progress {
    /// Prints on standard error, unless it shall be quiet.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, stages: Vec::new() }
    }

    /// Tells what was found out.
    pub fn tell(&self, what: &str) {
        if !self.quiet {
            eprintln!("{what}");
        }
    }

    /// Does something and notes how long it took.
    pub fn stage<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        if !self.quiet {
            eprintln!("{name} ...");
        }
        let result = work();
        let time = start.elapsed();
        if !self.quiet {
            eprintln!("{name}: {:.1} s", time.as_secs_f64());
        }
        self.stages.push(Stage { name: name.to_owned(), time });
        result
    }

    /// What is over.
    #[must_use]
    pub fn into_stages(self) -> Vec<Stage> {
        self.stages
    }
}

fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1000.0).round() / 1000.0)
}
