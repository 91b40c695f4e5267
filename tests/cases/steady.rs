//! An idle guest costs no exits.

use libtest_mimic::Failed;
use lucos_tests::{Report, SharedBoot, equal};
use serde_json::{Map, Value};

/// Adds the test to a boot of a guest under LUCOS.
pub fn add(shared: SharedBoot) -> SharedBoot {
    shared.test("idle_without_exits", SCRIPT, check)
}

/// Reading from a pipe into which nobody writes is a pause without a process.
const SCRIPT: &str = "
exec 3<>/dev/lucos
mkfifo /tmp/nothing; exec 4<>/tmp/nothing
ask() { echo status >&3; read -r answer <&3; echo $1 $answer; }
ask warm
ask first
ask second
read -r -t 5 nothing <&4
ask third
";

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
    let status = report.json(name)?;
    let exits = status.get("exits").and_then(Value::as_object);
    exits.cloned().ok_or_else(|| format!("no exits in {status}").into())
}
