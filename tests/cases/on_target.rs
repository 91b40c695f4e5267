//! Systems that test the kernel from inside, without Linux.

use std::time::Duration;

use libtest_mimic::Trial;
use lucos_tests::self_test;

/// The systems, as the files that describe them.
const SYSTEMS: [(&str, &str); 2] = [
    ("kernel", "tests/on-target/system.toml"),
    ("vcpu", "tests/on-target/guest-suite/system.toml"),
];

const LIMIT: Duration = Duration::from_secs(120);

/// Each system on one, two and four processors.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, system) in SYSTEMS {
        for cpus in [1, 2, 4] {
            let name = format!("on_target::{name}::{cpus}_processors");
            trials.push(Trial::test(name, move || self_test(system, cpus, LIMIT)));
        }
    }
    trials
}
