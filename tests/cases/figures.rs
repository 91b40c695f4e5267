//! What LUCOS costs: the targets, and what was recorded for the kernel and QEMU at hand.

use std::sync::OnceLock;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{bench, equal};
use serde_json::Value;

static FIGURES_6_1: OnceLock<Result<Value, String>> = OnceLock::new();
static FIGURES_6_12: OnceLock<Result<Value, String>> = OnceLock::new();

/// The tests, and which figures each of them is about: the first words of their names.
const TESTS: [(&str, &[&str]); 4] = [
    ("work_costs_the_same", &["bare", "ratio", "cpuid"]),
    ("only_cpuid_exits", &["idle", "load"]),
    ("stops_are_short", &["apply", "jump", "rollback"]),
    ("memory_and_calls", &["memory", "image", "call"]),
];

/// All tests of this file. The second series takes long.
pub fn trials() -> Vec<Trial> {
    let series = [("debian-6.1", &FIGURES_6_1, false), ("debian-6.12", &FIGURES_6_12, true)];
    let mut trials = Vec::new();
    for (series, figures, is_long) in series {
        for (name, words) in TESTS {
            let test = move || {
                let figures = figures.get_or_init(|| {
                    bench(series).map_err(|failed| failed.message().unwrap_or_default().to_owned())
                });
                judge(figures.as_ref()?, words)
            };
            let name = format!("figures::{series}::{name}");
            trials.push(Trial::test(name, test).with_ignored_flag(is_long));
        }
        let test = move || same_every_time(series);
        let name = format!("figures::{series}::same_every_time");
        trials.push(Trial::test(name, test).with_ignored_flag(true));
    }
    trials
}

/// None of these figures is worse than it may be.
fn judge(result: &Value, words: &[&str]) -> Result<(), Failed> {
    let is_ours = |name: &str| {
        let first = name.split('.').next();
        first.is_some_and(|first| words.contains(&first))
    };
    let figures = result["figures"].as_object().ok_or("no figures")?;
    for word in words {
        let some = figures.keys().any(|name| name.split('.').next() == Some(word));
        equal(&format!("there are figures of {word}"), some, true)?;
    }
    let problems = result["problems"].as_array().ok_or("no list of problems")?;
    let ours: Vec<&Value> =
        problems.iter().filter(|problem| problem["figure"].as_str().is_some_and(is_ours)).collect();
    equal("worse figures", ours, Vec::new())
}

/// Two runs give the same figures, to the last instruction.
fn same_every_time(series: &str) -> Result<(), Failed> {
    let figures = || Ok::<_, Failed>(bench(series)?["figures"].take());
    equal("figures", figures()?, figures()?)
}
