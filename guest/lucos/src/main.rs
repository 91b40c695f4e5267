//! The `lucos` command: live updates of the running kernel.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use lucos::arguments::{Arguments, Verb};
use lucos::enabled::Entry;
use lucos::enabling::{self, Leave, Standing};
use lucos::error::Error;
use lucos::{commands, json, manager, render};
use serde_json::{Value, json};

/// What a command printed as text and as JSON, and what went wrong after that, if anything did.
struct Outcome {
    text: String,
    json: Value,
    error: Option<Error>,
    status: ExitCode,
}

impl Outcome {
    fn done(text: String, json: Value) -> Self {
        Self { text, json, error: None, status: ExitCode::SUCCESS }
    }
}

/// Of `apply --enabled`: not all of it is in force.
const NOT_ALL: u8 = 3;

fn apply(files: &[PathBuf], probation: Option<u32>) -> Result<Outcome, Error> {
    let applied = commands::apply(files, probation)?;
    enabling::note_applied(files);
    let text = applied.iter().map(commands::Applied::to_text).collect();
    let applied: Vec<Value> = applied.iter().map(commands::Applied::to_json).collect();
    Ok(Outcome::done(text, json!({ "applied": applied })))
}

fn rollback(name: &str, with_dependents: bool) -> Result<Outcome, Error> {
    let done = commands::rollback(name, with_dependents)?;
    let along = match done.along.is_empty() {
        true => String::new(),
        false => format!(" with {}", done.along.join(", ")),
    };
    let rest = match (done.unloaded, done.in_use) {
        (true, _) => "",
        _ if done.kept => "; the kernel may still use what it was given, the module stays loaded",
        (_, true) => "; its code is still in use, the module is unloaded when nobody is in it",
        _ => "; nobody is in its code, but its module is still loaded",
    };
    let json = json!({
        "rolled_back": done.name,
        "along": done.along,
        "left": json::values(&done.left),
        "unloaded": done.unloaded,
        "in_use": done.in_use,
        "kept": done.kept
    });
    let text = format!("rolled back {}{along}{rest}\n{}", done.name, render::left(&done.left));
    Ok(Outcome::done(text, json))
}

fn enabled(patches: &[(Entry, Standing)]) -> Outcome {
    let text = patches.iter().map(|(entry, standing)| enabling::line(entry, standing)).collect();
    let patches = patches.iter().map(|(entry, standing)| json::enabled(entry, standing));
    Outcome::done(text, json!({ "enabled": patches.collect::<Vec<Value>>() }))
}

fn apply_enabled() -> Result<Outcome, Error> {
    let patches = enabling::apply_enabled()?;
    let all = patches.iter().all(|(_, standing)| standing.is_in_force());
    let status = if all { ExitCode::SUCCESS } else { ExitCode::from(NOT_ALL) };
    Ok(Outcome { status, ..enabled(&patches) })
}

fn run(verb: &Verb) -> Result<Outcome, Error> {
    match verb {
        Verb::Apply { enabled: true, .. } => apply_enabled(),
        Verb::Apply { files, probation, .. } => apply(files, *probation),
        Verb::Enable { patch, now, untested } => {
            let leave = Leave { now: *now, untested: *untested };
            let name = enabling::enable(patch, leave)?;
            Ok(Outcome::done(format!("enabled {name}\n"), json!({ "enabled": name })))
        }
        Verb::Disable { name, now } => {
            enabling::disable(name, *now)?;
            Ok(Outcome::done(format!("disabled {name}\n"), json!({ "disabled": name })))
        }
        Verb::Enabled => Ok(enabled(&enabling::list()?)),
        Verb::Proven => {
            let names = enabling::proven()?;
            let text = names.iter().map(|name| format!("{name}: proven\n")).collect();
            Ok(Outcome::done(text, json!({ "proven": names })))
        }
        Verb::Check { file } => {
            let name = commands::check(file)?;
            Ok(Outcome::done(format!("{name} can be applied\n"), json!({ "checked": name })))
        }
        Verb::Resolve { file, output } => {
            let parameter = commands::resolve(file, output)?;
            let json = json!({ "resolved": output, "parameter": parameter });
            Ok(Outcome::done(format!("{parameter}\n"), json))
        }
        Verb::Rollback { name, with_dependents } => rollback(name, *with_dependents),
        Verb::List => {
            let patches = manager::list()?;
            Ok(Outcome::done(render::list(&patches), json::list(&patches)))
        }
        Verb::Status => {
            let status = manager::status()?;
            Ok(Outcome::done(render::status(&status), json::status(&status)))
        }
        Verb::Show { name } => {
            let shown = manager::show(name)?;
            Ok(Outcome::done(render::show(&shown), json::show(&shown)))
        }
        Verb::Log => {
            let log = manager::log()?;
            Ok(Outcome::done(render::log(&log), json::log(&log)))
        }
        Verb::MeasureStop { count } => {
            let stops = manager::measure_stop(*count)?;
            let json = json!({ "stops": stops.stops, "longest_ticks": stops.longest });
            Ok(Outcome::done(render::stops(&stops), json))
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = run(&arguments.verb).unwrap_or_else(|error| Outcome {
        text: String::new(),
        json: error.to_json(),
        error: Some(error),
        status: ExitCode::FAILURE,
    });
    let text = if arguments.json { format!("{}\n", outcome.json) } else { outcome.text };
    let printed = std::io::stdout().write_all(text.as_bytes());
    if let Some(error) = outcome.error {
        eprintln!("lucos: {error}");
        return ExitCode::FAILURE;
    }
    match printed {
        Ok(()) => outcome.status,
        Err(error) => {
            eprintln!("lucos: {error}");
            ExitCode::FAILURE
        }
    }
}
