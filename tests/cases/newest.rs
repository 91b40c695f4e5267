//! The newest kernel of each series and flavour, whatever the archive has today: boot, an update, a
//! rollback.
//!
//! All other tests run kernels that `tests/kernels.toml` pins. These two tell early that LUCOS does
//! not get on with a kernel that came after. What is not LUCOS's fault does not fail them, standard
//! error tells it: an archive that has no kernel of the series or does not give it, and a kernel
//! that does not do on the bare machine either what is asked of it here without LUCOS.

use libtest_mimic::{Failed, Trial};
use lucos_debian_archive::kernel::{Flavour, GuestKernel, Series};
use lucos_tests::{COMPLAINTS, Results, Run, Script, equal, kernels, patch};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in [Series::Debian6_1, Series::Debian6_12] {
        for (flavour, name) in [
            (Flavour::Cloud, "an_update_and_its_rollback"),
            (Flavour::Generic, "an_update_of_a_generic_kernel"),
        ] {
            let name = format!("newest::{series}::{name}");
            trials.push(Trial::test(name, move || test(series, flavour)));
        }
    }
    trials.push(Trial::test("newest::who_is_at_fault", who_is_at_fault));
    trials
}

fn who_is_at_fault() -> Result<(), Failed> {
    let end = |is_well: bool| match is_well {
        true => Ok(()),
        false => Err(Failed::from("it failed")),
    };
    let told = Some(String::from("it failed"));
    for (lucos, bare, verdict) in [
        (true, true, Ok(None)),
        (true, false, Ok(None)),
        (false, false, Ok(told)),
        (false, true, Err(())),
    ] {
        let found = judge(end(lucos), || end(bare)).map_err(|_| ());
        equal(&format!("{lucos} and {bare}"), found, verdict)?;
    }
    Ok(())
}

fn test(series: Series, flavour: Flavour) -> Result<(), Failed> {
    let kernel = match kernels::newest(series, flavour)? {
        Ok(kernel) => kernel,
        Err(error) => {
            patch::tell(&format!("the newest kernel of {series} is not tried: {error}"));
            return Ok(());
        }
    };
    if let Some(reason) = judge(updated(&kernel), || bare(&kernel))? {
        patch::tell(&format!("{} fails on the bare machine too: {reason}", kernel.release));
    }
    Ok(())
}

/// A failure is LUCOS's when the bare machine does not fail; when it does, gives how.
fn judge(
    under_lucos: Result<(), Failed>,
    bare: impl FnOnce() -> Result<(), Failed>,
) -> Result<Option<String>, Failed> {
    let Err(failed) = under_lucos else {
        return Ok(None);
    };
    match bare() {
        Ok(()) => Err(failed),
        Err(without) => Ok(Some(without.message().unwrap_or_default().to_owned())),
    }
}

/// What the bare machine does too.
fn boot() -> Script {
    Script::new()
        .lines("P=/lib/lucos/patches")
        .step("release", "uname -r")
        .step("before", "cat /proc/cmdline")
}

fn booted(results: &Results, kernel: &GuestKernel) -> Result<(), Failed> {
    equal("release", results.text("release")?.trim(), &kernel.release)?;
    equal("command line", results.text("before")?.contains("console=ttyS0"), true)?;
    equal("kernel's log", results.step("complaints")?.stdout.as_str(), "")
}

fn bare(kernel: &GuestKernel) -> Result<(), Failed> {
    // As a file: nothing of ours is built for it.
    let script = boot().step("complaints", COMPLAINTS);
    script.check(Run::bare().kernel(&kernel.image), |results| booted(results, kernel))
}

fn updated(kernel: &GuestKernel) -> Result<(), Failed> {
    let jumps = r#"for i in $(seq 150); do
        lucos list --json | grep -q '"jumping":1,' && exit 0; sleep 0.2
        done; exit 1"#;
    let script = boot()
        .step("apply", "lucos apply $P/cmdline_word.ko")
        .step("after", "cat /proc/cmdline")
        .step("jumps", jumps)
        .step("jumped", "cat /proc/cmdline")
        .step("rollback", "lucos rollback cmdline_word")
        .step("restored", "cat /proc/cmdline")
        .step("complaints", COMPLAINTS);
    script.check(Run::lucos().version(&kernel.release).timeout(300), |results| {
        booted(results, kernel)?;
        for (step, printed) in [
            ("apply", "applied cmdline_word (1 function)\n"),
            ("jumps", ""),
            ("rollback", "rolled back cmdline_word\n"),
        ] {
            equal(step, results.text(step)?, printed)?;
        }
        let before = results.text("before")?;
        let patched = format!("{} lucos.patched\n", before.trim_end());
        equal("applied", results.text("after")?, &patched)?;
        equal("with a jump", results.text("jumped")?, &patched)?;
        equal("rolled back", results.text("restored")?, before)
    })
}
