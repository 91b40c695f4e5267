//! What docs/limits.md and docs/promises.md say is shown by tests that exist.

use std::fs;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{equal, folder};

/// The tests of this file, which get the names of all others.
pub fn trials(names: &[String]) -> Vec<Trial> {
    let test = |trial: &str, file: &'static str, least: usize, heads: &'static [&'static str]| {
        let names = names.to_vec();
        Trial::test(trial, move || {
            let text = fs::read_to_string(folder(file))?;
            let rows: Vec<&str> = heads.iter().flat_map(|head| rows(&text, head)).collect();
            equal("there are rows", rows.len() >= least, true)?;
            rows.into_iter().try_for_each(names_tests)?;
            all_exist(&text, &names)
        })
    };
    let kept = &["| promise | kept by |"];
    vec![
        test("limits::each_way_out_names_its_tests", "../docs/limits.md", 10, &["| way out |"]),
        test("promises::each_names_its_tests", "../docs/promises.md", 40, kept),
    ]
}

/// The rows of all tables whose head begins so.
fn rows<'a>(text: &'a str, head: &'a str) -> impl Iterator<Item = &'a str> {
    let lines: Vec<&str> = text.lines().collect();
    let heads: Vec<usize> =
        (0..lines.len()).filter(|&at| lines[at].starts_with(head)).map(|at| at + 2).collect();
    heads.into_iter().flat_map(move |first| {
        let lines = lines.get(first..).unwrap_or_default().to_vec();
        lines.into_iter().take_while(|line| line.starts_with('|'))
    })
}

/// The last column names tests, or the reason why there is none.
fn names_tests(row: &str) -> Result<(), Failed> {
    let shown = row.trim_matches('|').rsplit('|').next().unwrap_or_default().trim();
    if quoted(shown).next().is_none() && !shown.starts_with("none: ") {
        return Err(format!("no test and no reason: {row}").into());
    }
    Ok(())
}

/// Every test that is named exists.
fn all_exist(text: &str, names: &[String]) -> Result<(), Failed> {
    let exists = |wanted: &str| names.iter().any(|name| is_part(wanted, name));
    let gone: Vec<&str> =
        quoted(text).filter(|name| name.contains("::")).filter(|name| !exists(name)).collect();
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
