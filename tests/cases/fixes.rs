//! Fixes that the distribution shipped, built from its source packages and applied to a kernel
//! that lacks them: old, new, old. `tests/fixes` says which, and how each shows.

mod all_together;
mod copied_key;
mod guest;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Failed, Trial};
use lucos_patch_builder::manifest::{Fix, Manifest, Revision, Sign};
use lucos_tests::fixes::{OwnChange, OwnChanges};
use lucos_tests::patch::{self, Patch};
use lucos_tests::{Results, Run, Script, SharedBoot, equal, guest_program};

/// Name and text of each.
const MANIFESTS: [(&str, &str); 2] = [
    ("tests/fixes/debian-6.1.toml", include_str!("../fixes/debian-6.1.toml")),
    ("tests/fixes/debian-6.12.toml", include_str!("../fixes/debian-6.12.toml")),
];
const OWN: &str = include_str!("../fixes/own.toml");

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("fixes::manifests", manifests),
        Trial::test("fixes::lines_go_behind_the_brace", lines_go_behind_the_brace),
    ];
    // What is wrong with a manifest, the first test says.
    let own = OwnChanges::parse(OWN).map_or_else(|_| Vec::new(), |own| own.changes);
    for fixes in MANIFESTS.into_iter().filter_map(|(file, text)| parse(file, text).ok()) {
        let series = fixes.series.clone();
        let (long, short): (Vec<Fix>, Vec<Fix>) =
            fixes.fixes.iter().cloned().partition(|fix| fix.long);
        let some = Set::new(fixes.with(short), Vec::new());
        let others = Set::new(fixes.with(long), own.clone());
        let ignored = |trial: Trial| trial.with_ignored_flag(true);
        let keys = copied_key::trials(&series, &fixes.running, &own);
        trials.extend(keys.into_iter().map(ignored));
        // The kernel that servers run.
        let servers = Set::new(generic(&fixes), own.clone()).named("generic");
        trials.extend(one_by_one(&servers).into_iter().map(ignored));
        let all = Set::new(fixes, own.clone());
        trials.extend(one_by_one(&some));
        trials.extend(one_by_one(&others).into_iter().map(ignored));
        let name = format!("fixes::{series}::all_together");
        trials.push(ignored(Trial::test(name, move || all_together::test(&all))));
    }
    trials
}

fn parse(file: &str, text: &str) -> Result<Manifest, Failed> {
    Ok(Manifest::parse(Path::new(file), text)?)
}

/// No fixes, and the generic kernel that has them.
fn generic(fixes: &Manifest) -> Manifest {
    let kernel = format!("{}-amd64", fixes.fixed.kernel);
    let running = Revision { kernel, source: fixes.fixed.source.clone() };
    Manifest { running, ..fixes.with(Vec::new()) }
}

/// Six fixes per series share the first boot, and each fix says what changes and what shows it.
fn manifests() -> Result<(), Failed> {
    for (file, text) in MANIFESTS {
        let fixes = parse(file, text)?;
        let default = fixes.fixes.iter().filter(|fix| !fix.long).count();
        equal(&fixes.series, default, 6)?;
        for fix in &fixes.fixes {
            let is_shown = fix.sign.is_some() || fix.calls.is_some();
            let is_whole = is_shown && !fix.changes.is_empty() && fix.subject.is_some();
            equal(&fix.name, is_whole, true)?;
        }
    }
    let own = OwnChanges::parse(OWN)?;
    equal("changes of our own", own.changes.len(), 4)
}

fn lines_go_behind_the_brace() -> Result<(), Failed> {
    let change = OwnChange {
        name: String::from("x"),
        file: String::from("a.c"),
        function: String::from("g"),
        lines: vec![String::from("\tx();")],
        sign: Sign { command: String::new(), old: String::new(), new: String::from("1") },
    };
    let diff = change.diff("int f(void)\n{\n}\n\nint g(int a,\n\tint b)\n{\n\treturn 1;\n}\n")?;
    equal("diff", diff.as_str(), "--- a/a.c\n+++ b/a.c\n@@ -7,1 +7,2 @@\n {\n+\tx();\n")?;
    equal("no function", change.diff("int f(void)\n{\n}\n").is_err(), true)
}

/// Patches that go into one guest.
#[derive(Clone)]
struct Set {
    /// First words of its tests' names.
    name: String,
    fixes: Manifest,
    own: Vec<OwnChange>,
    built: Arc<OnceLock<Built>>,
}

/// What became of the builds.
struct Built {
    /// For the kernel and of the source that the manifest pins.
    is_pinned: bool,
    /// By the patches' names.
    patches: BTreeMap<String, Result<Patch, String>>,
}

impl Set {
    fn new(fixes: Manifest, own: Vec<OwnChange>) -> Self {
        let name = format!("fixes::{}", fixes.series);
        Self { name, fixes, own, built: Arc::default() }
    }

    /// With a further word in its tests' names.
    fn named(self, word: &str) -> Self {
        Self { name: format!("{}::{word}", self.name), ..self }
    }

    /// Builds the patches, and gives the machine that has them and the reproducers. A patch that
    /// cannot be built is missing in it, and its own test says why.
    fn machine(&self) -> Result<Run, Failed> {
        let folder = tempfile::tempdir()?;
        let (fixes, is_pinned) = patch::available(&self.fixes)?;
        let mut run = add(
            Run::lucos()
                .version(&fixes.running.kernel)
                .timeout(900)
                // A device with ordinary interrupts, for a fix of their handler.
                .qemu(["-device", "virtio-rng-pci,vectors=0"]),
            &guest_program("fixes", folder.path())?,
        );
        let mut built = BTreeMap::new();
        for fix in &fixes.fixes {
            built.insert(fix.name.clone(), Patch::of_fix(&fixes, fix, folder.path()));
        }
        for change in &self.own {
            let patch = Patch::of_change(&fixes.running, change, folder.path());
            built.insert(change.name.clone(), patch);
        }
        for patch in built.values().flatten() {
            run = add(run, &patch.module);
        }
        let reason = |failed: Failed| failed.message().unwrap_or_default().to_owned();
        let patches = built.into_iter().map(|(name, patch)| (name, patch.map_err(reason)));
        let built = Built { is_pinned, patches: patches.collect() };
        self.built.set(built).map_err(|_| "the patches were built before")?;
        Ok(run.keep(folder))
    }

    /// Whether a patch's module stays loaded after a rollback.
    fn stays(&self, name: &str) -> bool {
        let built = self.built.get().and_then(|built| built.patches.get(name));
        built.and_then(|built| built.as_ref().ok()).is_some_and(|patch| !patch.kept.is_empty())
    }

    /// Checks that a patch was built and changes these functions, and gives true. When it is not
    /// for what the manifest pins, that is no failure but false: it is not tried.
    fn changes(&self, name: &str, expected: &[String]) -> Result<bool, Failed> {
        self.is_as_expected(name, |patch| {
            equal("functions", patch.changes.iter().collect(), expected.iter().collect::<Vec<_>>())
        })
    }

    /// The same for one function: what the compiler has inlined it into changes with it.
    fn changes_one(&self, name: &str, function: &str) -> Result<bool, Failed> {
        self.is_as_expected(name, |patch| {
            equal(
                &format!("{function} in {:?}", patch.changes),
                patch.changes.contains(function),
                true,
            )
        })
    }

    fn is_as_expected(
        &self,
        name: &str,
        check: impl Fn(&Patch) -> Result<(), Failed>,
    ) -> Result<bool, Failed> {
        let built = self.built.get().ok_or("nothing was built")?;
        let patch = built.patches.get(name).ok_or("it was not built")?;
        match patch.as_ref().map_err(Failed::from).and_then(check) {
            Ok(()) => Ok(true),
            Err(failed) if built.is_pinned => Err(failed),
            Err(failed) => {
                let reason = failed.message().unwrap_or_default();
                patch::tell(&format!("{name} is not tried: {reason}"));
                Ok(false)
            }
        }
    }
}

fn add(run: Run, file: &Path) -> Run {
    run.argument("--add").argument(file)
}

/// One boot: each patch is applied, looked at and rolled back before the next one.
fn one_by_one(set: &Set) -> Vec<Trial> {
    let prepare = {
        let set = set.clone();
        move || set.machine()
    };
    let mut boot =
        SharedBoot::new(set.name.clone(), prepare).steps(&Script::new().lines(guest::FUNCTIONS));
    for fix in set.fixes.fixes.clone() {
        let set = set.clone();
        boot = boot.steps(&guest::fix_steps(&fix)).check(fix.name.clone(), move |results| {
            if !set.changes(&fix.name, &fix.changes)? {
                return Ok(());
            }
            match &fix.sign {
                Some(sign) => old_new_old(results, &fix.name, sign),
                None => calls_move(results, &fix.name, set.stays(&fix.name)),
            }
        });
    }
    for change in set.own.clone() {
        let set = set.clone();
        boot = boot.steps(&guest::own_steps(&change)).check(change.name.clone(), move |results| {
            if !set.changes_one(&change.name, &change.function)? {
                return Ok(());
            }
            old_new_old(results, &change.name, &change.sign)?;
            nothing_is_lost(results, &change.name)
        });
    }
    boot.steps(&Script::new().step("kernel", &guest::complaints()))
        .check(
            if set.own.is_empty() { "the_kernel_is_content" } else { "the_kernel_stays_content" },
            |results| equal("kernel's log", results.step("kernel")?.stdout.as_str(), ""),
        )
        .trials()
}

fn old_new_old(results: &Results, name: &str, sign: &Sign) -> Result<(), Failed> {
    let text = |what: &str| results.text(&format!("{name}.{what}")).map(str::trim);
    equal("before", text("before")?, &sign.old)?;
    text("apply")?;
    equal("applied", text("after")?, &sign.new)?;
    text("rollback")?;
    equal("rolled back", text("restored")?, &sign.old)
}

/// The new function is called while it is applied, and the old one when the patch is gone. Its module
/// goes too, unless it stays for what the kernel may use of it.
fn calls_move(results: &Results, name: &str, stays: bool) -> Result<(), Failed> {
    let text = |what: &str| results.text(&format!("{name}.{what}")).map(str::trim);
    let calls = |what: &str| -> Result<u64, Failed> {
        let line = text(what)?.lines().last().unwrap_or_default();
        let count = line.strip_prefix("calls ").ok_or_else(|| format!("{what}: {line:?}"))?;
        Ok(count.parse()?)
    };
    text("apply")?;
    equal("calls of the new function", calls("new")? > 0, true)?;
    text("rollback")?;
    equal("calls of the old function", calls("old")? > 0, true)?;
    let left = if stays { "1" } else { "0" };
    equal("modules left", results.step(&format!("{name}.loaded"))?.stdout.trim(), left)
}

/// Threads that slept across each step woke up, and the load meanwhile came to no harm.
fn nothing_is_lost(results: &Results, name: &str) -> Result<(), Failed> {
    for what in ["wake_old", "wake_new"] {
        let text = results.text(&format!("{name}.{what}"))?;
        equal(what, text, "asleep\nwoken 100\n")?;
    }
    guest::load_is_well(results.text(&format!("{name}.load"))?)
}
