//! What LUCOS costs: the targets, and what was recorded for the kernel and QEMU at hand.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use libtest_mimic::{Failed, Trial};
use lucos_patch_builder::manifest::Manifest;
use lucos_tests::{bench, bench_updates, equal, folder, patch};
use serde_json::Value;

static FIGURES_6_1: OnceLock<Result<Vec<Value>, String>> = OnceLock::new();
static FIGURES_6_12: OnceLock<Result<Vec<Value>, String>> = OnceLock::new();

/// A test.
#[derive(Clone, Copy)]
struct Test {
    name: &'static str,
    /// Which figures it is about: the first words of their names.
    words: &'static [&'static str],
}

const TESTS: [Test; 4] = [
    test("work_costs_the_same", &["bare", "ratio", "cpuid"]),
    test("nothing_exits", &["idle", "load"]),
    test("memory_and_calls", &["memory", "image", "call"]),
    test("stops_are_short_and_do_not_grow", &["apply", "jump", "rollback"]),
];

const fn test(name: &'static str, words: &'static [&'static str]) -> Test {
    Test { name, words }
}

/// All tests of this file. The second series takes long.
pub fn trials() -> Vec<Trial> {
    let series = [("debian-6.1", &FIGURES_6_1, false), ("debian-6.12", &FIGURES_6_12, true)];
    let mut trials = Vec::new();
    for (series, figures, is_long) in series {
        for test in TESTS {
            let run = move || {
                let figures = figures.get_or_init(|| {
                    bench(series).map_err(|failed| failed.message().unwrap_or_default().to_owned())
                });
                judge(figures.as_ref()?, test)
            };
            let name = format!("figures::{series}::{}", test.name);
            trials.push(Trial::test(name, run).with_ignored_flag(is_long));
        }
        let run = move || same_every_time(series);
        let name = format!("figures::{series}::same_every_time");
        trials.push(Trial::test(name, run).with_ignored_flag(true));
    }
    // Builds four fixes from their sources.
    trials.push(Trial::test("figures::updates", updates).with_ignored_flag(true));
    trials
}

/// The rows of the table of code updates: functions that change, and what comes of it by the
/// kernel's own livepatch.
const UPDATES: [(&str, u64, &str); 6] = [
    ("memory", 2, "complete"),
    ("livelock", 1, "complete"),
    ("scheduler", 3, "complete"),
    ("loop_driver", 1, "complete"),
    ("waiter", 1, "stuck"),
    ("copy", 1, "refused"),
];

/// Instructions that putting a loaded patch in force may take, the manager's checks included: for one
/// function, and for each further one.
const APPLY: (f64, f64) = (300_000.0, 30_000.0);

/// Every update takes LUCOS one stop for each step, also where the kernel's own livepatch cannot
/// put it in force.
fn updates() -> Result<(), Failed> {
    let rows = bench_updates()?;
    let results: Vec<_> = rows
        .iter()
        .map(|row| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let functions = row["functions"].as_u64().unwrap_or_default();
            (text(&row["name"]), functions, text(&row["livepatch"]["result"]))
        })
        .collect();
    let expected = UPDATES.map(|(name, functions, result)| (name.into(), functions, result.into()));
    let manifest = Manifest::read(&folder("fixes/debian-6.1.toml"))?;
    let (_, is_pinned) = patch::available(&manifest)?;
    // What takes the place of the pinned kernel or source may not have all of the changes.
    if is_pinned {
        equal("rows", results.as_slice(), expected.as_slice())?;
    }
    for row in &rows {
        let (name, lucos) = (&row["name"], &row["lucos"]);
        for step in ["apply", "jump", "rollback"] {
            equal(&format!("stops of {name}, {step}"), lucos[step]["stops"].as_f64(), Some(1.0))?;
        }
        equal(&format!("jumps of {name}"), &lucos["jumps"], &row["redirected"])?;
        let instructions = lucos["apply"]["instructions"].as_f64().unwrap_or(f64::INFINITY);
        let redirected = row["redirected"].as_f64().unwrap_or_default();
        let most = APPLY.0 + APPLY.1 * (redirected - 1.0);
        equal(&format!("{instructions} to apply {name}"), instructions <= most, true)?;
        let livepatch = &row["livepatch"];
        match livepatch["result"].as_str() {
            Some("stuck") => equal("who waits", &livepatch["who"], &Value::from("waiter"))?,
            Some("refused") => {
                let reason = livepatch["reason"].as_str().unwrap_or_default();
                equal(reason, reason.ends_with("for function 'memcpy'"), true)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// None of these figures of any machine is worse than it may be.
fn judge(machines: &[Value], test: Test) -> Result<(), Failed> {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let mut names = BTreeSet::new();
    let mut worse = Vec::new();
    for machine in machines {
        let figures = machine["figures"].as_object().ok_or("no figures")?;
        names.extend(figures.keys().map(|name| first(name)));
        let problems = machine["problems"].as_array().ok_or("no list of problems")?;
        worse.extend(problems.iter().filter(|problem| {
            let figure = problem["figure"].as_str().unwrap_or_default();
            test.words.contains(&first(figure).as_str())
        }));
    }
    for word in test.words {
        equal(&format!("there are figures of {word}"), names.contains(*word), true)?;
    }
    equal("worse figures", worse, Vec::<&Value>::new())
}

/// Two runs give the same figures, to the last instruction.
fn same_every_time(series: &str) -> Result<(), Failed> {
    let figures = || -> Result<Vec<Value>, Failed> {
        Ok(bench(series)?.iter_mut().map(|machine| machine["figures"].take()).collect())
    };
    equal("figures", figures()?, figures()?)
}
