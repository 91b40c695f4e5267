//! Interrupt counts become a structure, while interrupts come: /proc/interrupts never goes back and
//! loses none.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Report, Results, Run, Script, SharedBoot, equal, guest_program};
use serde_json::Value;

/// Interrupts that each processor has of its own (`tests/guest-modules/irqs`), and one that all share.
const KINDS: u32 = 4;

/// How often the patch comes and goes by default, and in the long tests.
const FEW: u32 = 6;
const MANY: u32 = 100;

/// Words for the kernel of the long tests. On a busy host interrupts whose counts are carried leave a
/// processor no time for anything else, longer than the kernel's watchdogs wait.
const PATIENT: &str = "nowatchdog rcupdate.rcu_cpu_stall_timeout=300";

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (series, cpus) in [("debian-6.1", 2), ("debian-6.12", 4)] {
        let name = format!("irqstat::{series}::{cpus}_processors");
        let boot = SharedBoot::new(name, move || {
            let run = machine(series, cpus, 900)?;
            // The interrupts of the machine's own devices have threads in one of the two.
            Ok(if cpus == 4 { run.append("threadirqs") } else { run })
        });
        trials.extend(
            boot.steps(&script())
                .check("counts_are_a_structure", structure)
                .check("a_thread_that_stays_in_old_code", |results| stays(results, "nest"))
                .check("an_interrupt_that_stands_in_old_code", |results| stays(results, "stand"))
                .check("interrupts_come_and_go", renewed)
                .check("no_interrupt_is_lost_over_cycles", |results| cycles(results, FEW))
                .check("each_count_is_exact_at_rest", move |results| rests(results, cpus))
                .check("interrupts_have_threads", move |results| threads(results, cpus == 4))
                .check("the_kernel_is_content", is_content)
                .trials(),
        );
    }
    trials.extend(long_trials());
    trials
}

fn long_trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (series, cpus) in
        [("debian-6.1", 2), ("debian-6.1", 4), ("debian-6.12", 2), ("debian-6.12", 4)]
    {
        let boot = SharedBoot::new(format!("irqstat::{series}::{cpus}_processors"), move || {
            Ok(machine(series, cpus, 5400)?.argument("--append").argument(PATIENT))
        });
        let boot = boot
            .steps(&cycle_steps(Script::new().lines(FUNCTIONS), MANY))
            .steps(&minutes_steps())
            .check("a_hundred_cycles", |results| cycles(results, MANY))
            .check("minutes_with_a_thread_in_old_code", |results| stays(results, "minutes"))
            .check("the_kernel_is_content_after_a_hundred", is_content);
        trials.extend(boot.trials().into_iter().map(|trial| trial.with_ignored_flag(true)));
    }
    trials
}

fn machine(series: &'static str, cpus: u32, timeout: u64) -> Result<Run, Failed> {
    let folder = tempfile::tempdir()?;
    let program = guest_program("interrupts", folder.path())?;
    let run = Run::of_series(series)
        .cpus(cpus)
        .timeout(timeout)
        .modules("irqs")
        .argument("--add")
        .argument(format!("{}:usr/bin/interrupts", program.display()));
    Ok(run.keep(folder))
}

/// `every N` has timers raise interrupts every N microseconds. `compares` compares counts until `compared`
/// prints what came of it; `rests` compares them to the number while no interrupt comes. `busy` starts and
/// ends processes, until `idle`. `steps` is how many single steps the processors have done.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules P=/lib/lucos/patches T=/sys/module/irq_lines/parameters
waits() { for i in $(seq 300); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
gone() { waits "! grep -q '^$1 ' /proc/modules"; }
is() { waits "lucos show irqstat --json | grep -q '\"state\":\"$1\"'"; }
lucos resolve $M/irq_lines.ko /tmp/irq_lines.ko
insmod /tmp/irq_lines.ko
every() { echo $1 >$T/period; }
compares() { interrupts $T/handled >/tmp/compared & }
compared() { kill $!; wait $!; cat /tmp/compared; }
rests() { every 0; interrupts $T/handled rest; }
busy() { rm -f /tmp/idle; for i in 1 2; do
	while [ ! -e /tmp/idle ]; do cat /proc/self/maps >/dev/null; sleep 0.1; done &
done; }
steps() { lucos status | sed -n 's/^exits *\([0-9]*\) single steps$/\1/p' | grep . || echo 0; }
idle() { touch /tmp/idle; }
"#;

/// Microseconds between interrupts: when nothing is guarded, and when every count costs a trap.
const OFTEN: u32 = 40_000;
const SELDOM: u32 = 100_000;

fn script() -> Script {
    let script = Script::new()
        .lines(FUNCTIONS)
        .step("threads", "cat /proc/[0-9]*/comm | grep -c ^irq/.*-ttyS; true")
        .step("begin", &format!("every {OFTEN}; sleep 1; rests"))
        .step("apply", "lucos apply $P/irqstat.ko >/dev/null; lucos show irqstat --json")
        .step("since.before", "echo 1 >/sys/module/irqstat/parameters/since; cat $T/handled")
        .step("since.after", &format!("every {OFTEN}; sleep 1; every 0; cat $T/handled"))
        .step("since", "cat /sys/module/irqstat/parameters/since")
        .step("new", "rests")
        .step("back", "lucos rollback irqstat >/dev/null; gone irqstat; rests");
    let script = stay_steps(script, "nest", "echo 1 >$T/nest", 1);
    // The interrupt has processor 1 for itself for that time.
    let script = script.lines("taskset -p 1 $$ >/dev/null");
    let script = stay_steps(script, "stand", "echo 1000 >$T/stand", 1);
    let script = script.lines("taskset -p ff $$ >/dev/null");
    cycle_steps(renew_steps(script), FEW).step("end.kernel", COMPLAINTS)
}

/// Somebody stays in old code while the patch comes, for so many seconds afterwards.
fn stay_steps(script: Script, name: &str, enter: &str, seconds: u32) -> Script {
    let of = |step: &str| format!("{name}.{step}");
    script
        .step(&of("enters"), &format!("every {SELDOM}; {enter}\nwaits '[ $(cat $T/inside) = 1 ]'"))
        .step(&of("steps.before"), "steps")
        .step(
            &of("stays"),
            &format!(
                "compares; lucos apply $P/irqstat.ko >/dev/null; cat $T/inside
                 waits 'lucos show irqstat --json | tee /tmp/shown | grep -q -e thread\\\" -e applied\\\"'
                 sleep {seconds}; compared"
            ),
        )
        .step(&of("shown"), "cat /tmp/shown")
        .step(&of("carried"), "lucos show irqstat --json")
        .step(&of("steps.after"), "steps")
        .step(&of("leaves"), "echo 1 >$T/leave; is applied; lucos show irqstat --json")
        .step(&of("rest"), "rests")
        .step(&of("back"), "lucos rollback irqstat >/dev/null; gone irqstat; rests")
}

/// New code makes twins for interrupts that come, and frees those of interrupts that go.
fn renew_steps(script: Script) -> Script {
    script
        .step(
            "renew.apply",
            "lucos apply $P/irqstat.ko >/dev/null; is applied; lucos show irqstat --json",
        )
        .step(
            "renew",
            &format!(
                "every {OFTEN}; for kind in 0 1 2 3; do echo $kind >$T/renew; done; sleep 1; rests"
            ),
        )
        .step("renew.twins", "sleep 1; lucos show irqstat --json")
        .step("renew.back", "lucos rollback irqstat >/dev/null; gone irqstat; rests")
}

fn cycle_steps(script: Script, count: u32) -> Script {
    script
        .step(
            "cycles",
            &format!(
                "busy; every {OFTEN}; compares
                 for cycle in $(seq {count}); do
                     lucos apply $P/irqstat.ko >/dev/null && lucos rollback irqstat >/dev/null && \
                     gone irqstat && echo cycle || break
                 done
                 compared; idle; wait"
            ),
        )
        .step("rest", "rests")
}

/// A thread never leaves the old function for two minutes.
fn minutes_steps() -> Script {
    stay_steps(Script::new(), "minutes", "echo 1 >$T/nest", 120).step("end.kernel", COMPLAINTS)
}

/// Counts were compared, and all was right.
fn compared(results: &Results, step: &str) -> Result<u64, Failed> {
    let report = Report::new(results.text(step)?);
    for wrong in ["backwards", "lost", "ahead"] {
        report.expect(wrong, 0).map_err(|failed| {
            format!("{step}: {}\n{}", failed.message().unwrap_or_default(), report.text())
        })?;
    }
    report.number("reads")
}

fn structure(results: &Results) -> Result<(), Failed> {
    compared(results, "begin")?;
    let version = &results.json("apply")?["version"][0];
    equal("name", &version["name"], &Value::from("irqstat"))?;
    equal("pairs", version["pairs"].as_u64() >= Some(32), true)?;
    let (before, after) = (sums(results, "since.before")?, sums(results, "since.after")?);
    let since = sums(results, "since")?;
    equal("they came", after.values().all(|count| *count > 0), true)?;
    for (irq, count) in after {
        let more = count - before.get(&irq).copied().unwrap_or_default();
        equal(&format!("since, irq {irq}"), since.get(&irq), Some(&more))?;
    }
    compared(results, "new")?;
    compared(results, "back").map(|_| ())
}

/// The counts of interrupts, over all processors.
fn sums(results: &Results, step: &str) -> Result<BTreeMap<u64, u64>, Failed> {
    let mut sums = BTreeMap::new();
    for line in results.text(step)?.lines() {
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let (irq, counts) = numbers.split_first().ok_or("an empty line")?;
        sums.insert(*irq, counts.iter().sum());
    }
    Ok(sums)
}

/// While somebody stays in old code, each count of old and new code is in both forms.
fn stays(results: &Results, name: &str) -> Result<(), Failed> {
    let of = |step: &str| format!("{name}.{step}");
    results.text(&of("enters"))?;
    equal("reads", compared(results, &of("stays"))? > 0, true)?;
    // Guarded writes are single steps of the processor.
    let steps =
        |step: &str| -> Result<u64, Failed> { Ok(results.text(&of(step))?.trim().parse()?) };
    equal("guarded", steps("steps.after")? > steps("steps.before")?, true)?;
    // The interrupt is left by the time that the command ends, and what was counted goes with the guards.
    if name != "stand" {
        let shown = results.json(&of("shown"))?;
        equal("state", &shown["state"], &Value::from("settling"))?;
        equal("sides", &shown["version"][0]["sides"], &Value::from("BOTH"))?;
        equal("thread", &shown["inside"]["name"], &Value::from("nested"))?;
        equal("still inside", results.text(&of("stays"))?.starts_with("1\n"), true)?;
        let version = results.json(&of("carried"))?["version"][0].clone();
        equal("carried", version["carried"].as_u64() > Some(0), true)?;
        equal("torn", &version["torn"], &Value::from(0))?;
    }
    let left = results.json(&of("leaves"))?["version"][0].clone();
    equal("settled", &left["sides"], &Value::from("NEW"))?;
    equal("guards", &left["guarded_pages"], &Value::from(0))?;
    compared(results, &of("rest"))?;
    compared(results, &of("back")).map(|_| ())
}

fn renewed(results: &Results) -> Result<(), Failed> {
    let twins = |step: &str| -> Result<Option<u64>, Failed> {
        Ok(results.json(step)?["twins"][0]["count"].as_u64())
    };
    compared(results, "renew")?;
    // As many as there were: those of the interrupts that are gone are gone too.
    equal("twins", twins("renew.twins")?, twins("renew.apply")?)?;
    compared(results, "renew.back").map(|_| ())
}

fn cycles(results: &Results, count: u32) -> Result<(), Failed> {
    let reads = compared(results, "cycles")?;
    equal("reads", reads > u64::from(count), true)?;
    let step = results.step("cycles")?;
    let done = Report::new(step.stdout.as_str()).all("cycle").count();
    equal(&step.stderr, done, usize::try_from(count)?)?;
    compared(results, "rest").map(|_| ())
}

fn rests(results: &Results, cpus: u32) -> Result<(), Failed> {
    let report = Report::new(results.text("rest")?);
    report.expect("lines", KINDS * cpus + 1)?;
    report.expect("reads", 1)
}

fn threads(results: &Results, expected: bool) -> Result<(), Failed> {
    let count: u32 = results.text("threads")?.trim().parse()?;
    equal("threads", count > 0, expected)
}

fn is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
