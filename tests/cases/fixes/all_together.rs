//! All fixes of a series in one guest at the same time, under load.

use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::Failed;
use lucos_patch_builder::manifest::{Manifest, Sign};
use lucos_tests::{Results, Script, equal};

use super::{Set, guest};

/// Applies all of them, looks at each, and rolls them back in an order that is another one each
/// time; each shows the new behaviour until then and the old one afterwards.
pub fn test(set: &Set) -> Result<(), Failed> {
    let machine = set.machine()?;
    for fix in &set.fixes.fixes {
        set.changes(&fix.name, &fix.changes)?;
    }
    let names: Vec<&str> = set.fixes.fixes.iter().map(|fix| fix.name.as_str()).collect();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let order = shuffled(&names, seed);
    script(&set.fixes, &names, &order)
        .check(machine, |results| look(&set.fixes, &order, results))
        .map_err(|failed| {
            let reason = failed.message().unwrap_or_default();
            format!("rolled back in the order {}: {reason}", order.join(", ")).into()
        })
}

fn sign<'a>(fixes: &'a Manifest, name: &str) -> Option<&'a Sign> {
    fixes.fixes.iter().find(|fix| fix.name == name)?.sign.as_ref()
}

fn script(fixes: &Manifest, names: &[&str], order: &[&str]) -> Script {
    let mut script = Script::new().lines(guest::FUNCTIONS).lines("load; asleep all");
    for fix in &fixes.fixes {
        script = script.then(&guest::load_module(fix));
    }
    for name in names {
        script = script.step(&format!("{name}.apply"), &format!("lucos apply /{name}.ko"));
    }
    script = script.step("applied", "lucos list --json");
    for name in order {
        if let Some(sign) = sign(fixes, name) {
            script = script.step(&format!("{name}.new"), &sign.command);
        }
        script = script.step(&format!("{name}.rollback"), &format!("lucos rollback {name}"));
        if let Some(sign) = sign(fixes, name) {
            script = script.step(&format!("{name}.old"), &sign.command);
        }
    }
    script
        .step("list", "lucos list --json")
        .step("wake", "awake all")
        .step("load", "load_ends")
        .step("kernel", &guest::complaints())
}

fn look(fixes: &Manifest, order: &[&str], results: &Results) -> Result<(), Failed> {
    for name in order {
        results.text(&format!("{name}.apply"))?;
    }
    let applied = results.json("applied")?;
    equal("applied", applied["patches"].as_array().map(Vec::len), Some(order.len()))?;
    for name in order {
        results.text(&format!("{name}.rollback"))?;
        if let Some(sign) = sign(fixes, name) {
            let text = |what: &str| results.text(&format!("{name}.{what}")).map(str::trim);
            equal(name, [text("new")?, text("old")?], [sign.new.as_str(), sign.old.as_str()])?;
        }
    }
    let left = results.json("list")?;
    let left = left["patches"].as_array().map_or(&[][..], Vec::as_slice);
    let in_force = left.iter().filter(|patch| patch["state"] == "applied").count();
    equal("patches in force", in_force, 0)?;
    equal("sleepers", results.text("wake")?, "asleep\nwoken 100\n")?;
    guest::load_is_well(results.text("load")?)?;
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}

/// The names in an order that the seed decides.
fn shuffled<'a>(names: &[&'a str], seed: u64) -> Vec<&'a str> {
    let mut state = seed | 1;
    let mut rest = names.to_vec();
    let mut order = Vec::new();
    while !rest.is_empty() {
        // Xorshift, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let index = state as usize % rest.len();
        order.push(rest.swap_remove(index));
    }
    order
}
