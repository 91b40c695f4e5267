//! An idle guest costs no exits.

use libtest_mimic::Failed;
use lucos_tests::{Report, Run, SharedBoot, equal, guest_program};
use serde_json::{Map, Value};

/// Adds the test to a boot of a guest under LUCOS whose run was [prepared](prepare).
pub fn add(shared: SharedBoot) -> SharedBoot {
    shared.test("idle_without_exits", "exits 5", check)
}

/// Gives a guest the program that asks.
///
/// # Errors
/// When it does not compile.
pub fn prepare(run: Run) -> Result<Run, Failed> {
    let folder = tempfile::tempdir()?;
    let program = guest_program("exits", folder.path())?;
    let add = format!("{}:usr/bin/exits", program.display());
    Ok(run.argument("--add").argument(add).keep(folder))
}

fn check(report: &Report) -> Result<(), Failed> {
    let first = exits(report, "first")?;
    let second = exits(report, "second")?;
    let third = exits(report, "third")?;
    for (class, count) in &second {
        let number = |exits: &Map<String, Value>| exits.get(class).and_then(Value::as_u64);
        let cost = number(&second).zip(number(&first)).map(|(a, b)| a - b);
        let idle = number(&third).zip(number(&second)).map(|(a, b)| a - b);
        if count.as_u64().is_none() {
            return Err(format!("{class} is {count}").into());
        }
        equal(&format!("exits of class {class} in five idle seconds"), idle, cost)?;
    }
    // Not to compare nothing with nothing.
    let hypercalls = |exits: &Map<String, Value>| exits.get("HYPERCALL").and_then(Value::as_u64);
    let asked = hypercalls(&second) > hypercalls(&first);
    equal("asking costs hypercalls", asked, true)
}

fn exits(report: &Report, name: &str) -> Result<Map<String, Value>, Failed> {
    let exits = report.json(name)?;
    exits.as_object().cloned().ok_or_else(|| format!("no exits in {exits}").into())
}
