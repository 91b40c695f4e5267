//! What goes wrong while an update is under way: a step fails, a task ends.
//!
//! The tasks of these boots are built with a hypercall by which a test orders a fault
//! (`lucos_service::injection`); `liveupdate` reports on the log what came of it.

mod data;
mod half;

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let steps = SharedBoot::new("update_faults", || Ok(run(900)))
        .steps(&steps_script(Hashes::Last))
        .check("every_step_of_apply", |results| every_step(results, APPLY))
        .check("every_step_of_jump", |results| every_step(results, JUMP))
        .check("every_step_of_rollback", |results| every_step(results, ROLLBACK))
        .check("memory_is_as_it_was", last_steps_hashed);
    let tasks = SharedBoot::new("update_faults", || Ok(run(300)))
        .steps(&tasks_script())
        .check("liveupdate_ends", liveupdate_ends)
        .check("memory_ends", memory_ends)
        .check("vmx_ends", vmx_ends);
    let long =
        Trial::test("update_faults::memory_is_as_it_was_after_every_step", every_step_hashed);
    let mut trials = vec![long.with_ignored_flag(true)];
    trials.extend(steps.trials());
    trials.extend(tasks.trials());
    trials.extend(half::trials());
    trials.extend(data::trials());
    trials
}

/// A small guest: hashing its memory takes time.
fn run(timeout: u64) -> Run {
    Run::lucos()
        .argument("--memory")
        .argument("256")
        .argument("--task-feature")
        .argument("fault-injection")
        .modules("")
        // While LUCOS hashes, the guest stands still for seconds.
        .append("nowatchdog rcupdate.rcu_cpu_stall_suppress=1")
        .timeout(timeout)
}

/// A hypercall whose steps fail, one after the other.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    number: u16,
    /// Least number of its steps whose failure must make it fail.
    least: usize,
}

const APPLY: Call = Call { name: "apply", number: 3, least: 12 };
const JUMP: Call = Call { name: "jump", number: 4, least: 4 };
const ROLLBACK: Call = Call { name: "rollback", number: 5, least: 4 };

/// `order KIND CALL STEP HASH` orders a fault. What is applied is two patches in one step, with
/// functions and a value. `step_N STEP HASH` lets a step of hypercall N fail,
/// looks what the guest sees, and prints the report; afterwards nothing is in force, or, for the
/// rollback, perhaps everything. `each N HASH` does that for all steps and leaves the last one that
/// mattered in /tmp/last.N.
const FUNCTIONS: &str = r#"
P=/lib/lucos/patches M=/lib/lucos/modules
insmod $M/hypercall.ko
order() { printf '4c55ff00 %x %x %x %x' $1 $2 $3 $4 >/dev/hypercall; grep -q '^0 ' /dev/hypercall; }
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
reports() { lucos log | grep -c 'injection: '; }
report() { waits "[ \$(reports) -gt $reported ]"; lucos log | grep 'injection: ' | tail -n 1; }
jumped() { waits "lucos list --json | grep -q '\"jumping\":1'"; }
new_texts() { cat /proc/uptime /proc/loadavg /proc/cmdline | grep -c patched; }
capital() { grep -c '^Linux Version' /proc/version; }
must() { [ "$1" = "$2" ] || echo "WRONG: $3: $1 instead of $2"; }

step_3() {
    order 1 3 $1 $2
    if lucos apply $P/uptime_loadavg.ko $P/capital_version.ko >/dev/null 2>&1; then
        must $(new_texts) 2 "applied"
        must $(capital) 1 "applied"
        lucos rollback capital_version >/dev/null || echo "WRONG: not rolled back"
        lucos rollback uptime_loadavg >/dev/null || echo "WRONG: not rolled back"
    fi
    must $(new_texts) 0 "not applied"
    must $(capital) 0 "not applied"
    report
}

step_4() {
    order 1 4 $1 $2
    lucos apply $P/cmdline_word.ko >/dev/null || echo "WRONG: not applied"
    report
    # The manager asks again.
    jumped || echo "WRONG: no jump"
    must $(new_texts) 1 "jump"
    lucos rollback cmdline_word >/dev/null || echo "WRONG: not rolled back"
    must $(new_texts) 0 "rolled back"
}

step_5() {
    if [ $(new_texts) = 0 ]; then
        lucos apply $P/cmdline_word.ko >/dev/null || echo "WRONG: not applied"
        jumped || echo "WRONG: no jump"
    fi
    order 1 5 $1 $2
    if lucos rollback cmdline_word >/dev/null 2>&1; then
        must $(new_texts) 0 "rolled back"
    else
        must $(new_texts) 1 "not rolled back"
    fi
    report
}

each() {
    step=0
    while [ $step -lt 60 ]; do
        reported=$(reports)
        step_$1 $step $2 >/tmp/report
        cat /tmp/report
        grep -q 'fired false' /tmp/report && return 0
        grep -q 'result -' /tmp/report && echo $step >/tmp/last.$1
        step=$((step + 1))
    done
    return 1
}
"#;

/// Which of the failures are framed by hashes of all memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hashes {
    /// The last one that makes each call fail: then everything was written that is undone. And no
    /// failure, so that the hash is known to see the change.
    Last,
    /// All.
    All,
}

fn steps_script(hashes: Hashes) -> Script {
    let hash = u8::from(hashes == Hashes::All);
    let mut script = Script::new().lines(FUNCTIONS);
    for Call { name, number, .. } in [APPLY, JUMP, ROLLBACK] {
        script = script.step(name, &format!("each {number} {hash}"));
        if hashes == Hashes::Last {
            let last = format!(
                "for step in $(cat /tmp/last.{number}) 999; do \
                 reported=$(reports); step_{number} $step 1; done"
            );
            script = script.step(&format!("{name}.last"), &last);
        }
    }
    end(script)
}

/// The guest is as alive as before, and nothing of LUCOS upset its kernel.
fn end(script: Script) -> Script {
    script
        .step("end.list", "lucos list --json")
        .step("end.status", "lucos status --json")
        .step("end.kernel", COMPLAINTS)
        .step(
            "end.works",
            "lucos apply $P/version_line.ko && cat /proc/version && lucos rollback version_line",
        )
}

fn check_end(results: &Results, restarts: u64) -> Result<(), Failed> {
    equal("list", results.json("end.list")?["patches"].clone(), Value::Array(Vec::new()))?;
    equal("restarts", &results.json("end.status")?["restarts"], &Value::from(restarts))?;
    equal("kernel", results.step("end.kernel")?.stdout.as_str(), "")?;
    equal("works", results.text("end.works")?.contains("was replaced while"), true)
}

/// What `liveupdate` reports of one hypercall.
#[derive(Debug)]
struct Report {
    steps: usize,
    fired: bool,
    result: i64,
    before: String,
    after: String,
}

impl Report {
    fn parse(line: &str, call: Call) -> Result<Self, Failed> {
        let unreadable = || Failed::from(format!("no report: {line:?}"));
        let (_, words) = line.split_once("injection: ").ok_or_else(unreadable)?;
        let words: Vec<&str> = words.split_whitespace().collect();
        let values: BTreeMap<&str, &str> =
            words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let value = |name: &str| values.get(name).copied().ok_or_else(unreadable);
        equal("the call", value("call")?, call.number.to_string().as_str())?;
        Ok(Self {
            steps: value("steps")?.parse()?,
            fired: value("fired")?.parse()?,
            result: value("result")?.parse()?,
            before: value("before")?.to_owned(),
            after: value("after")?.to_owned(),
        })
    }

    /// Whether both hashes were taken.
    fn is_hashed(&self) -> Result<bool, Failed> {
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match [&self.before, &self.after].map(|text| is_hash(text)) {
            [true, true] => Ok(true),
            _ if self.before == "-" && self.after == "-" => Ok(false),
            _ => Err(format!("half a frame of hashes: {self:?}").into()),
        }
    }
}

fn reports(results: &Results, step: &str, call: Call) -> Result<Vec<Report>, Failed> {
    let text = results.text(step)?;
    if let Some(wrong) = text.lines().find(|line| line.starts_with("WRONG: ")) {
        return Err(format!("{wrong}\n{text}").into());
    }
    text.lines().map(|line| Report::parse(line, call)).collect()
}

/// Every step of the call failed once; it said so, and worked the next time.
fn every_step(results: &Results, call: Call) -> Result<(), Failed> {
    let reports = reports(results, call.name, call)?;
    let (last, failing) = reports.split_last().ok_or("no reports")?;
    equal("the last one works", (last.fired, last.result >= 0), (false, true))?;
    equal("every step but those behind the last failed", failing.len(), last.steps)?;
    equal("fired", failing.iter().all(|report| report.fired), true)?;
    let failed = failing.iter().filter(|report| report.result < 0).count();
    equal(&format!("{failed} failures are enough"), failed >= call.least, true)?;
    check_end(results, 0)
}

/// A call that failed left memory as it was; one that worked did not. Returns how many were hashed.
fn check_hashes(reports: &[Report]) -> Result<usize, Failed> {
    let mut hashed = 0;
    for report in reports {
        if report.is_hashed()? {
            hashed += 1;
            let same = report.before == report.after;
            equal(&format!("memory is the same: {report:?}"), same, report.result < 0)?;
        }
    }
    Ok(hashed)
}

fn last_steps_hashed(results: &Results) -> Result<(), Failed> {
    for call in [APPLY, JUMP, ROLLBACK] {
        let reports = reports(results, &format!("{}.last", call.name), call)?;
        let failed: Vec<bool> = reports.iter().map(|report| report.result < 0).collect();
        equal(call.name, failed, vec![true, false])?;
        equal(call.name, check_hashes(&reports)?, 2)?;
    }
    check_end(results, 0)
}

fn every_step_hashed() -> Result<(), Failed> {
    steps_script(Hashes::All).check(run(3600), |results| {
        for call in [APPLY, JUMP, ROLLBACK] {
            every_step(results, call)?;
            let reports = reports(results, call.name, call)?;
            // Failures before the stop and in asking for it are not framed.
            equal(call.name, check_hashes(&reports)? > call.least / 2, true)?;
        }
        Ok(())
    })
}

/// Each task ends in the middle of an update, of a jump, and of a rollback. What was applied before
/// stays in force.
const ENDS: [(&str, u8); 2] = [("liveupdate", 2), ("memory", 3)];

/// Steps in which a task ends: before the stop, in it before a write, and in it between the writes
/// of two functions.
const STEPS_OF_END: [(u16, [u8; 3]); 2] = [(3, [1, 11, 16]), (5, [1, 3, 5])];

fn tasks_script() -> Script {
    let mut script = Script::new()
        .lines(FUNCTIONS)
        .step("before", "lucos apply $P/version_line.ko && jumped && lucos list --json");
    for (task, kind) in ENDS {
        for (call, steps) in STEPS_OF_END {
            for step in steps {
                let text = match call {
                    3 => format!("order {kind} 3 {step} 0; lucos apply $P/uptime_loadavg.ko"),
                    _ => format!("order {kind} 5 {step} 0; lucos rollback uptime_loadavg"),
                };
                let other = match call {
                    3 => "lucos rollback uptime_loadavg",
                    _ => "lucos apply $P/uptime_loadavg.ko",
                };
                let name = format!("{task}.{call}.{step}");
                let before = if call == 5 { other } else { "true" };
                let after = if call == 3 { other } else { "true" };
                script = script
                    .step(&format!("{name}.before"), before)
                    .step(&name, &text)
                    .step(&format!("{name}.texts"), "new_texts; cat /proc/version")
                    .step(&format!("{name}.status"), "lucos status --json")
                    .step(&format!("{name}.after"), after);
            }
        }
    }
    for (call, text) in
        [(3, "lucos apply $P/uptime_loadavg.ko"), (5, "lucos rollback uptime_loadavg")]
    {
        let name = format!("vmx.{call}");
        script = script
            .step(&name, &format!("order 4 {call} 0 0; {text}"))
            .step(&format!("{name}.texts"), "new_texts; cat /proc/version")
            .step(&format!("{name}.status"), "lucos status --json");
    }
    script = script
        .step("vmx.always", "printf '4c55ff00 5 0 0 0' >/dev/hypercall; cat /dev/hypercall")
        .step("listed", "lucos list --json")
        .step("back", "lucos rollback version_line && cat /proc/version");
    end(script)
}

/// Nothing that the guest sees tells that a task ended.
fn unnoticed(results: &Results, name: &str, call: u16, restarts: u64) -> Result<(), Failed> {
    results.text(name)?;
    let texts = results.text(&format!("{name}.texts"))?;
    let expected = if call == 3 { "2\n" } else { "0\n" };
    equal(name, texts.starts_with(expected), true)?;
    equal("the patch before", texts.contains("was replaced while"), true)?;
    let status = results.json(&format!("{name}.status"))?;
    equal(&format!("{name}: restarts"), &status["restarts"], &Value::from(restarts))
}

fn task_ends(results: &Results, wanted: &str, first: u64) -> Result<(), Failed> {
    let mut restarts = first;
    for (call, steps) in STEPS_OF_END {
        for step in steps {
            restarts += 1;
            let name = format!("{wanted}.{call}.{step}");
            results.text(&format!("{name}.before"))?;
            unnoticed(results, &name, call, restarts)?;
            results.text(&format!("{name}.after"))?;
        }
    }
    Ok(())
}

fn liveupdate_ends(results: &Results) -> Result<(), Failed> {
    results.text("before")?;
    task_ends(results, "liveupdate", 0)?;
    // Its journal knows what was in force before.
    let list = results.json("listed")?;
    equal("listed", &list["patches"][0]["name"], &Value::from("version_line"))?;
    equal("listed", &list["patches"][0]["jumping"], &Value::from(1))?;
    equal("back", results.text("back")?.contains("was replaced while"), false)
}

fn memory_ends(results: &Results) -> Result<(), Failed> {
    task_ends(results, "memory", 6)
}

fn vmx_ends(results: &Results) -> Result<(), Failed> {
    unnoticed(results, "vmx.3", 3, 13)?;
    unnoticed(results, "vmx.5", 5, 14)?;
    // Three times, and then the instruction is an invalid opcode.
    let registers = results.text("vmx.always")?;
    equal("the exit that cannot be handled", registers, "256 0x5 0x0 0x0\n")?;
    check_end(results, 17)
}
