//! Patches on probation: they are taken back by themselves when the kernel oopses, hangs or panics.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

type Check = fn(&Results) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 6] = [
    ("an_oops_takes_it_back", oops),
    ("what_needs_it_goes_with_it", dependents),
    ("no_data_stands_on_it", data),
    ("it_ends", ends),
    ("a_processor_that_hangs_takes_it_back", hang),
    ("a_processor_that_runs_one_thread_only_takes_it_back", lockup),
];

/// Trouble that the kernel does not survive: its name, what the new function does, and what LUCOS's log
/// says of it.
const LAST: [(&str, char, &str); 2] = [
    ("a_panic", 'p', "the kernel panicked"),
    ("an_oops_in_an_interrupt", 'i', "the kernel had an oops"),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let boot = SharedBoot::new(format!("probation::{series}"), move || {
            Ok(Run::of_series(series).timeout(600).modules("probation"))
        });
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        trials.extend(CHECKS.into_iter().fold(boot.steps(&script()), add).trials());
        for (name, kind, cause) in LAST {
            let test = move || last(series, kind, cause);
            trials.push(Trial::test(format!("probation::{series}::{name}_takes_it_back"), test));
        }
    }
    trials
}

/// `waits COMMAND` tries a command until it works, for at most a minute. `trouble KIND` has the new
/// function get the kernel into trouble.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules
waits() { for i in $(seq 300); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
gone() { waits "! grep -q '^$1 ' /proc/modules"; }
kind() { printf %d "'$1" >/sys/module/trouble/parameters/kind; }
trouble() { kind $1; taskset 2 cat /proc/uptime; }
"#;

fn script() -> Script {
    Script::new()
        .lines(FUNCTIONS)
        .step("oops.apply", "lucos apply --probation 1h $M/trouble.ko")
        .step("oops.list", "lucos list --json")
        .step("oops.text", "cat /proc/uptime; lucos list; lucos show trouble")
        .step("oops", "trouble o >/dev/null 2>&1; gone trouble; cat /proc/uptime")
        .step("oops.log", "lucos log --json")
        .step(
            "dependents.apply",
            "lucos apply --probation 1h $M/trouble.ko && lucos apply $M/needs_trouble.ko",
        )
        .step("dependents.before", "cat /proc/version")
        .step("dependents", "trouble o >/dev/null 2>&1; gone trouble; gone needs_trouble; cat /proc/version")
        .step("dependents.log", "lucos log --json")
        .step(
            "data.apply",
            "lucos apply --probation 1h $M/trouble.ko && lucos apply $M/needs_trouble.ko",
        )
        .step("data.check", "lucos check $M/data_stands.ko --json")
        .step("data.stands", "lucos apply $M/data_stands.ko --json")
        .step("data.needs", "lucos apply $M/data_needs.ko --json")
        .step(
            "data.group",
            "lucos rollback needs_trouble >/dev/null; gone needs_trouble; \
             lucos apply $M/needs_trouble.ko $M/data_needs.ko --json",
        )
        .step("data.same", "lsmod | grep -c data_; cat /proc/uptime")
        .step(
            "data.alone",
            "lucos rollback trouble && gone trouble && lucos apply $M/data_stands.ko && \
             cat /proc/uptime && lucos rollback data_stands && gone data_stands",
        )
        .step("ends.apply", "lucos apply --probation 1s $M/trouble.ko >/dev/null; sleep 3; lucos list --json")
        .step("ends", "trouble o >/dev/null 2>&1; sleep 2; kind n; cat /proc/uptime")
        .step("ends.back", "lucos rollback trouble >/dev/null; gone trouble")
        .step("hang.apply", "lucos apply --probation 5m $M/trouble.ko")
        .step("hang", "trouble h >/dev/null & taskset 1 sh -c 'sleep 8; cat /proc/uptime'; wait; gone trouble")
        .step("hang.log", "lucos log --json")
        .step("lockup.apply", "lucos apply --probation 5m $M/trouble.ko")
        .step("lockup", "trouble l >/dev/null & taskset 1 sh -c 'sleep 14; cat /proc/uptime'; wait; gone trouble")
        .step("lockup.log", "lucos log --json")
        .step("wrong", "for time in 0s 500ms 2d soon; do lucos apply --probation $time $M/trouble.ko 2>/dev/null && echo applied; done; lsmod")
}

/// Whether this is what `/proc/uptime` says without the patch.
fn is_uptime(text: &str) -> bool {
    let mut words = text.split_whitespace().map(str::parse::<f64>);
    words.next().is_some_and(|word| word.is_ok()) && words.all(|word| word.is_ok())
}

/// The last thing that became of a patch.
fn last_event(results: &Results, step: &str, name: &str) -> Result<(String, String), Failed> {
    let log = results.json(step)?;
    let events = log["events"].as_array().ok_or("no events")?;
    let mut of_patch = events.iter().rev().filter(|event| event["name"] == name);
    let event = of_patch.next().ok_or("nothing became of it")?;
    let field = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    Ok((field("event"), field("code")))
}

fn is_withdrawn(results: &Results, step: &str, name: &str, cause: &str) -> Result<(), Failed> {
    let expected = ("WITHDRAWN".to_owned(), cause.to_owned());
    equal(step, last_event(results, step, name)?, expected)
}

fn oops(results: &Results) -> Result<(), Failed> {
    results.text("oops.apply")?;
    let seconds = &results.json("oops.list")?["patches"][0]["probation"];
    equal("probation", seconds.as_u64().is_some_and(|left| (3000..=3600).contains(&left)), true)?;
    let text = results.text("oops.text")?;
    equal("shown", text.matches("applied, on probation for 3").count(), 2)?;
    equal("new function", text.starts_with("no trouble\n"), true)?;
    equal("afterwards", is_uptime(results.text("oops")?), true)?;
    is_withdrawn(results, "oops.log", "trouble", "OOPS")
}

fn dependents(results: &Results) -> Result<(), Failed> {
    results.text("dependents.apply")?;
    equal("before", results.text("dependents.before")?, "needs trouble\n")?;
    equal("afterwards", results.text("dependents")?.starts_with("Linux version "), true)?;
    is_withdrawn(results, "dependents.log", "trouble", "OOPS")?;
    is_withdrawn(results, "dependents.log", "needs_trouble", "OOPS")
}

/// What a withdrawal would take along has no data; without the patch on probation it comes.
fn data(results: &Results) -> Result<(), Failed> {
    results.text("data.apply")?;
    for (step, name) in [
        ("data.check", "trouble"),
        ("data.stands", "trouble"),
        ("data.needs", "needs_trouble"),
        ("data.group", "needs_trouble"),
    ] {
        let answer: Value = serde_json::from_str(&results.step(step)?.stdout)?;
        let error = &answer["error"];
        equal(step, &error["code"], &Value::from("ON_PROBATION"))?;
        let message = error["message"].as_str().unwrap_or_default();
        equal(step, message.starts_with(&format!("{name}: ")), true)?;
    }
    equal("nothing changed", results.text("data.same")?, "0\nno trouble\n")?;
    equal("alone", results.text("data.alone")?.contains("stands, "), true)
}

fn ends(results: &Results) -> Result<(), Failed> {
    let list = results.json("ends.apply")?;
    equal("state", &list["patches"][0]["state"], &Value::from("applied"))?;
    equal("probation", &list["patches"][0]["probation"], &Value::Null)?;
    equal("stays", results.text("ends")?, "no trouble\n")?;
    results.text("ends.back").map(|_| ())
}

fn hang(results: &Results) -> Result<(), Failed> {
    results.text("hang.apply")?;
    equal("meanwhile", is_uptime(results.text("hang")?), true)?;
    is_withdrawn(results, "hang.log", "trouble", "HANG")
}

fn lockup(results: &Results) -> Result<(), Failed> {
    results.text("lockup.apply")?;
    equal("meanwhile", is_uptime(results.text("lockup")?), true)?;
    is_withdrawn(results, "lockup.log", "trouble", "LOCKUP")?;
    let rest = results.text("wrong")?;
    equal("not applied", rest.contains("applied") || rest.contains("trouble"), false)
}

/// The kernel ends; what LUCOS keeps says why the patch was taken back.
fn last(series: &'static str, kind: char, cause: &str) -> Result<(), Failed> {
    let script = format!(
        "{FUNCTIONS}
        lucos apply --probation 1h $M/trouble.ko; sleep 2; trouble {kind}; sleep 1000"
    );
    Run::of_series(series).timeout(300).modules("probation").check(&script, |end| {
        equal("status", end.status, Some(121))?;
        let line = format!("(trouble) is withdrawn: {cause}");
        equal("LUCOS's log", end.log.contains(&line), true)
    })
}
