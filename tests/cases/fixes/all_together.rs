//! All patches of a series in one guest at the same time, under load.

use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::Failed;
use lucos_patch_builder::manifest::{Calls, Fix, Sign};
use lucos_tests::fixes::OwnChange;
use lucos_tests::{Results, Script, equal};

use super::{Set, calls_move, guest, old_new_old};

/// A patch and what shows which code runs.
struct Part<'a> {
    name: &'a str,
    shown: Shown<'a>,
    /// Its module stays loaded after the rollback.
    stays: bool,
}

enum Shown<'a> {
    Differs(&'a Sign),
    Counted(&'a Calls),
}

/// Applies all of them, looks at each, and rolls them back in an order that is another one each
/// time; each shows the new behaviour until then and the old one afterwards.
pub fn test(set: &Set) -> Result<(), Failed> {
    let machine = set.machine()?;
    let (mut fixes, mut parts) = (Vec::new(), Vec::new());
    for fix in &set.fixes.fixes {
        if set.changes(&fix.name, &fix.changes)? {
            fixes.push(fix);
            parts.push(Part::of_fix(fix, set.stays(&fix.name))?);
        }
    }
    for change in &set.own {
        if set.changes(&change.name, std::slice::from_ref(&change.function))? {
            parts.push(Part::of_change(change));
        }
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let order = shuffled(&parts, seed);
    script(&fixes, &parts, &order).check(machine, |results| look(&parts, results)).map_err(
        |failed| {
            let names: Vec<&str> = order.iter().map(|part| part.name).collect();
            let reason = failed.message().unwrap_or_default();
            format!("rolled back in the order {}: {reason}", names.join(", ")).into()
        },
    )
}

impl<'a> Part<'a> {
    fn of_fix(fix: &'a Fix, stays: bool) -> Result<Self, Failed> {
        let shown = match (&fix.sign, &fix.calls) {
            (Some(sign), _) => Shown::Differs(sign),
            (None, Some(calls)) => Shown::Counted(calls),
            (None, None) => return Err(format!("{}: nothing shows it", fix.name).into()),
        };
        Ok(Self { name: &fix.name, shown, stays })
    }

    fn of_change(change: &'a OwnChange) -> Self {
        Self { name: &change.name, shown: Shown::Differs(&change.sign), stays: false }
    }

    /// Before anything is applied.
    fn before(&self) -> Script {
        match self.shown {
            Shown::Differs(sign) => guest::before(self.name, sign),
            Shown::Counted(_) => Script::new(),
        }
    }

    /// While it is applied, and when it is not any more.
    fn rollback(&self) -> Script {
        match self.shown {
            Shown::Differs(sign) => {
                guest::after(self.name, sign).then(&guest::back(self.name, sign))
            }
            Shown::Counted(calls) => guest::calls_back(self.name, calls),
        }
    }

    fn look(&self, results: &Results) -> Result<(), Failed> {
        match self.shown {
            Shown::Differs(sign) => old_new_old(results, self.name, sign),
            Shown::Counted(_) => calls_move(results, self.name, self.stays),
        }
        .map_err(|failed| format!("{}: {}", self.name, failed.message().unwrap_or_default()).into())
    }
}

fn script(fixes: &[&Fix], parts: &[Part], order: &[&Part]) -> Script {
    let mut script = Script::new().lines(guest::FUNCTIONS);
    for fix in fixes {
        script = script.then(&guest::load_module(fix));
    }
    script = parts.iter().fold(script, |script, part| script.then(&part.before()));
    script = script.lines("load; asleep all");
    script = parts.iter().fold(script, |script, part| script.then(&guest::apply(part.name)));
    script = script.step("applied", "lucos list --json");
    script = order.iter().fold(script, |script, part| script.then(&part.rollback()));
    script
        .step("list", "lucos list --json")
        .step("wake", "awake all")
        .step("load", "load_ends")
        .step("kernel", &guest::complaints())
}

fn look(parts: &[Part], results: &Results) -> Result<(), Failed> {
    for part in parts {
        results.text(&format!("{}.apply", part.name))?;
    }
    let mut names: Vec<String> = parts.iter().map(|part| part.name.to_owned()).collect();
    names.sort();
    equal("patches in force", in_force(results, "applied")?, names)?;
    for part in parts {
        part.look(results)?;
    }
    equal("patches in force at the end", in_force(results, "list")?, Vec::<String>::new())?;
    equal("sleepers", results.text("wake")?, "asleep\nwoken 100\n")?;
    guest::load_is_well(results.text("load")?)?;
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}

/// The names of the patches that a list has as applied, sorted.
fn in_force(results: &Results, list: &str) -> Result<Vec<String>, Failed> {
    let list = results.json(list)?;
    let patches = list["patches"].as_array().map_or(&[][..], Vec::as_slice);
    let applied = patches.iter().filter(|patch| patch["state"] == "applied");
    let mut names: Vec<String> =
        applied.filter_map(|patch| patch["name"].as_str()).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// The parts in an order that the seed decides.
fn shuffled<'a, 'b>(parts: &'b [Part<'a>], seed: u64) -> Vec<&'b Part<'a>> {
    let mut state = seed | 1;
    let mut rest: Vec<&Part> = parts.iter().collect();
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
