//! Updates under load, and updates against each other: four processors, patches of one to thirteen
//! functions that a busy kernel calls all the time.
//!
//! The program `load` runs in the guest and prints names and values.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Report, Results, Run, Script, SharedBoot, equal, guest_program};

const CPUS: u64 = 4;
/// What `tests/guest-modules/load` replaces, at most.
const FUNCTIONS: u64 = 13;

/// Cycles of apply and rollback by default, and in the long tests.
const FEW: u64 = 40;
const MANY: u64 = 1000;

/// Cycles by hypercalls of each processor.
const CALLERS_CYCLES: u64 = 50;

type Check = fn(&Results) -> Result<(), Failed>;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let checks: [(&str, Check); 3] = [
        ("processors_against_each_other", contention),
        ("one_call_at_a_time", callers),
        ("cycles", |results| cycles(results, FEW)),
    ];
    for series in ["debian-6.1", "debian-6.12"] {
        let short = SharedBoot::new(format!("load::{series}"), move || boot(series, 900));
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        trials.extend(checks.into_iter().fold(short.steps(&default_script()), add).trials());
        let long = SharedBoot::new(format!("load::{series}"), move || boot(series, 7200))
            .steps(&cycles_script(MANY))
            .check("thousand_cycles", |results| cycles(results, MANY));
        trials.extend(long.trials().into_iter().map(|trial| trial.with_ignored_flag(true)));
    }
    trials
}

fn boot(series: &str, timeout: u64) -> Result<Run, Failed> {
    let folder = tempfile::tempdir()?;
    let program = guest_program("load", folder.path())?;
    let run = Run::of_series(series)
        .racing()
        .cpus(u32::try_from(CPUS)?)
        .timeout(timeout)
        // On a slow machine the kernel's check of its timer can fail.
        .append("no_timer_check")
        .modules("load")
        .argument("--add")
        .argument(format!("{}:usr/bin/load", program.display()));
    Ok(run.keep(folder))
}

/// The modules stay loaded, so that a cycle takes no longer than it must.
fn script() -> Script {
    Script::new().lines(
        "printf '\\0' >/sys/module/lucos/parameters/unload_helper\n\
         ip link set lo up",
    )
}

fn end(script: Script) -> Script {
    script.step("status", "lucos status --json").step("kernel", COMPLAINTS)
}

fn cycles_script(count: u64) -> Script {
    end(script().step("cycles", &format!("load cycles {count}")))
}

fn default_script() -> Script {
    let calls = format!(
        "nonce=$(grep ' nonce.\\[lucos\\]$' /proc/kallsyms | cut -d ' ' -f 1)
        insmod /lib/lucos/modules/callers.ko nonce=0x$nonce || exit 1
        echo {CALLERS_CYCLES} >/sys/module/callers/parameters/cycles
        cat /sys/module/callers/parameters/cycles"
    );
    let script = script()
        .step("callers", &calls)
        .step("contention", "load contention 100")
        .step("cycles", &format!("load cycles {FEW}"));
    end(script)
}

/// The check of the report; what the program complained of goes with a failure.
fn cycles(results: &Results, count: u64) -> Result<(), Failed> {
    let report = Report::new(results.text("cycles")?);
    all_cycles(&report, count).map_err(|failed| {
        let reason = failed.message().unwrap_or_default();
        let complaints = results.step("cycles").map(|step| step.stderr.as_str());
        format!("{reason}\n{}", complaints.unwrap_or_default())
    })?;
    quiet(results)
}

/// No result of the load was wrong, and every call of a probe ran the code that was in force.
fn all_cycles(report: &Report, count: u64) -> Result<(), Failed> {
    for kind in ["exec", "fault", "pipe", "timer", "network"] {
        for cpu in 0..CPUS {
            report.expect(&format!("wrong.{kind}.{cpu}"), 0)?;
            at_least(report, &format!("right.{kind}.{cpu}"), count / 10)?;
        }
    }
    report.expect("hung", 0)?;
    report.expect("cycles", count)?;
    for nothing in ["refused", "missed", "stray", "probe_errors", "different_sites"] {
        report.expect(nothing, 0)?;
    }
    // Stops that the host was too busy for: none in a short run.
    at_most(report, "late", count / 100)?;
    // Each cycle has at least one function whose calls are known: 16 on each processor.
    at_least(report, "probed", count * CPUS * 16)?;
    report.expect("jumps", count.div_ceil(10))?;
    report.expect("loads", count / 25)?;
    for function in 1..=FUNCTIONS {
        // The new code served the load too, not only the probes.
        at_least(report, &format!("calls_by_load.{function}"), count / 20)?;
    }
    Ok(())
}

/// Each of four processes applied and took back what it liked; what could not be was refused.
fn contention(results: &Results) -> Result<(), Failed> {
    let report = Report::new(results.text("contention")?);
    report.expect("processes", CPUS)?;
    for nothing in ["failed", "other", "late", "busy", "mixed_sites", "different_sites"] {
        report.expect(nothing, 0)?;
    }
    for outcome in ["done", "applied_already", "not_applied", "stacked"] {
        at_least(&report, outcome, 1)?;
    }
    quiet(results)
}

/// LUCOS serves one call at a time, and answers the others at once. Each processor's own calls
/// apply and take back two functions: both are new, or both are old.
fn callers(results: &Results) -> Result<(), Failed> {
    let report = Report::new(results.text("callers")?);
    for nothing in ["other", "inconsistent", "mixed", "different_functions"] {
        report.expect(nothing, 0)?;
    }
    for cpu in 0..CPUS {
        report.expect(&format!("done.{cpu}"), 2 * CALLERS_CYCLES)?;
    }
    at_least(&report, "queried", CALLERS_CYCLES)?;
    at_least(&report, "busy", CALLERS_CYCLES)?;
    at_most(&report, "late", CALLERS_CYCLES / 10)?;
    quiet(results)
}

fn quiet(results: &Results) -> Result<(), Failed> {
    let status = results.json("status")?;
    for nothing in ["applied", "trapping", "jumping", "restarts"] {
        equal(nothing, status[nothing].as_u64(), Some(0))?;
    }
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}

fn at_least(report: &Report, name: &str, least: u64) -> Result<(), Failed> {
    let value: u64 = report.number(name)?;
    match value >= least {
        true => Ok(()),
        false => Err(format!("{name}: {value} is less than {least}").into()),
    }
}

fn at_most(report: &Report, name: &str, most: u64) -> Result<(), Failed> {
    let value: u64 = report.number(name)?;
    match value <= most {
        true => Ok(()),
        false => Err(format!("{name}: {value} is more than {most}").into()),
    }
}
