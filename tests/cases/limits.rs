//! What docs/limits.md says is shown by tests that exist.

use std::fs;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{equal, folder};

/// The test of this file, which gets the names of all others.
pub fn trial(names: Vec<String>) -> Trial {
    Trial::test("limits::each_way_out_names_its_tests", move || check(&names))
}

/// Each way out of LUCOS has tests, or the reason why there is none.
fn check(names: &[String]) -> Result<(), Failed> {
    let text = fs::read_to_string(folder("../docs/limits.md"))?;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| way out |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    equal("there are rows", rows.len() > 10, true)?;
    for row in &rows {
        let [_, _, shown] = row[..] else {
            return Err(format!("not three columns: {row:?}").into());
        };
        if quoted(shown).next().is_none() && !shown.starts_with("none: ") {
            return Err(format!("no test and no reason: {row:?}").into());
        }
    }
    let exists = |wanted: &str| names.iter().any(|name| is_part(wanted, name));
    let gone: Vec<&str> =
        quoted(&text).filter(|name| name.contains("::")).filter(|name| !exists(name)).collect();
    equal("tests that do not exist", gone, Vec::new())
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether the parts of `wanted` are parts of `name` in this order: the guest's series and the
/// number of processors can be left out.
fn is_part(wanted: &str, name: &str) -> bool {
    let mut parts = name.split("::");
    wanted.split("::").all(|part| parts.any(|other| other == part))
}
