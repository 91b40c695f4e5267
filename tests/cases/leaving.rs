//! Data changes while threads stay in the code that is left: in a clear moment, or with guards until the
//! last one is out.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

/// In which ways a thread stays in old code, and the symbol at which it is found.
const WAYS: [(&str, &str); 3] =
    [("sleep", "leaving_stay+"), ("cold", "leaving_cold.cold+"), ("spin", "leaving_stay+")];

/// What hides the return addresses of a thread, and what ends that.
const TRACERS: [(&str, &str, &str); 2] = [
    (
        "graph",
        "echo leaving_stay >$F/set_ftrace_filter; echo function_graph >$F/current_tracer",
        "echo nop >$F/current_tracer; echo >$F/set_ftrace_filter",
    ),
    (
        "kretprobe",
        "echo 'r:left leaving_stay' >$F/kprobe_events; echo 1 >$F/events/kprobes/left/enable",
        "echo 0 >$F/events/kprobes/left/enable; echo >$F/kprobe_events",
    ),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let prepare = move || Ok(Run::of_series(series).timeout(600).modules("leaving"));
        let boot = SharedBoot::new(format!("leaving::{series}"), prepare).steps(&script());
        let boot = boot.check("nobody_inside_is_no_guard", clear);
        let boot = WAYS.into_iter().fold(boot, |boot, (way, place)| {
            boot.check(format!("a_thread_in_old_code_{way}"), move |results: &Results| {
                in_old_code(results, way, place)
            })
        });
        let boot = TRACERS.into_iter().fold(boot, |boot, (tracer, ..)| {
            boot.check(format!("a_thread_in_old_code_under_{tracer}"), move |results: &Results| {
                in_old_code(results, tracer, "leaving_stay+")
            })
        });
        trials.extend(
            boot.check("a_thread_that_exits_in_old_code", exits)
                .check("idle_threads_never_leave_old_code", idle)
                .check("what_must_be_clear_names_who_is_inside", clear_only)
                .check("a_thread_in_new_code", in_new_code)
                .check("what_has_not_settled_names_who_is_inside", not_settled)
                .check("the_kernel_is_content", kernel_is_content)
                .trials(),
        );
    }
    trials
}

/// `enters WAY` has a thread stay in old code, `found` waits until it is known, `leaves` lets it go. `is
/// STATE` waits for a patch to be in this state.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules T=/sys/module/leaving_target/parameters F=/sys/kernel/tracing
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
gone() { waits "! grep -q '^$1 ' /proc/modules"; }
is() { waits "lucos show leaving_data --json | grep -q '\"state\":\"$1\"'"; }
found() { waits "lucos show leaving_data --json | grep -q '\"thread\":'"; }
enters() { echo $1 >$T/enter; sleep 0.5; }
leaves() { echo 0 >$T/stay; }
mount -t tracefs tracefs $F 2>/dev/null
lucos resolve $M/leaving_target.ko /tmp/leaving_target.ko
insmod /tmp/leaving_target.ko
"#;

fn script() -> Script {
    let script = Script::new()
        .lines(FUNCTIONS)
        .step("clear", "lucos apply $M/leaving_data.ko >/dev/null; lucos show leaving_data --json")
        .step("clear.count", "cat $T/count")
        .step("clear.back", "lucos rollback leaving_data --json; cat $T/count");
    let script =
        WAYS.into_iter().fold(script, |script, (way, ..)| old_steps(script, way, way, "", ""));
    let script = TRACERS.into_iter().fold(script, |script, (tracer, before, after)| {
        old_steps(script, tracer, "sleep", before, after)
    });
    let script = idle_steps(exit_steps(script));
    script
        .step("occupied", "enters sleep; lucos apply $M/leaving_clear.ko --json")
        .step("occupied.nothing", "lucos list --json; cat $T/count")
        .step("occupied.leaves", "leaves; sleep 0.5; lucos apply $M/leaving_clear.ko; cat $T/count")
        .step(
            "occupied.back",
            "lucos rollback leaving_clear >/dev/null; gone leaving_clear; cat $T/count",
        )
        .step("new", "lucos apply $M/leaving_data.ko && is applied && enters sleep")
        .step("new.back", "lucos rollback leaving_data --json")
        .step("new.show", "found; lucos show leaving_data --json")
        .step("new.again", "lucos apply $M/leaving_data.ko --json")
        .step("new.leaves", "leaves; gone leaving_data; cat $T/count")
        .step("settling", "enters sleep; lucos apply $M/leaving_data.ko; found")
        .step("settling.needed", "lucos apply $M/leaving_more.ko")
        .step("settling.leaves", "leaves; is applied; lucos apply $M/leaving_more.ko; cat $T/count")
        .step(
            "settling.back",
            "lucos rollback --with-dependents leaving_data; gone leaving_data; cat $T/count",
        )
        .step("end.kernel", COMPLAINTS)
}

/// A thread stays in old code while data is committed, and leaves.
fn old_steps(script: Script, name: &str, way: &str, before: &str, after: &str) -> Script {
    script
        .step(&format!("{name}.before"), "cat $T/count")
        .step(
            &format!("{name}.apply"),
            &format!("{before}\nenters {way}; lucos apply $M/leaving_data.ko"),
        )
        .step(&format!("{name}.show"), "found; lucos show leaving_data --json")
        .step(&format!("{name}.text"), "lucos list; lucos show leaving_data")
        .step(&format!("{name}.leaves"), &format!("leaves; is applied; {after}\ncat $T/count"))
        .step(
            &format!("{name}.back"),
            "lucos rollback leaving_data >/dev/null; gone leaving_data; cat $T/count",
        )
}

fn clear(results: &Results) -> Result<(), Failed> {
    let shown = results.json("clear")?;
    equal("state", &shown["state"], &Value::from("applied"))?;
    equal("inside", &shown["inside"], &Value::Null)?;
    equal("count", results.text("clear.count")?, "0\n")?;
    results.text("clear.back").map(|_| ())
}

fn in_old_code(results: &Results, name: &str, place: &str) -> Result<(), Failed> {
    let of = |step: &str| format!("{name}.{step}");
    results.text(&of("apply"))?;
    let shown = results.json(&of("show"))?;
    equal("state", &shown["state"], &Value::from("settling"))?;
    let inside = &shown["inside"];
    equal("thread", &inside["name"], &Value::from("leaving"))?;
    let found = inside["place"].as_str().unwrap_or_default();
    equal(&format!("place {found}"), found.starts_with(place), true)?;
    let text = results.text(&of("text"))?;
    for part in ["settling", "inside        leaving ("] {
        equal(part, text.contains(part), true)?;
    }
    let before: u32 = results.text(&of("before"))?.trim().parse()?;
    let left = if name == "cold" { 10 } else { 1 };
    let expected = format!("{}\n", before + left);
    equal("count", results.text(&of("leaves"))?, expected.as_str())?;
    equal("count afterwards", results.text(&of("back"))?, expected.as_str())
}

/// A thread that is in no list any more stays in old code.
fn exit_steps(script: Script) -> Script {
    script
        .step("exit.before", "cat $T/count; enters exit; cat /proc/[0-9]*/comm | grep -x leaving")
        .step(
            "exit.apply",
            "lucos apply $M/leaving_data.ko; sleep 3; lucos show leaving_data --json",
        )
        .step("exit.leaves", "leaves; is applied; cat $T/count")
        .step(
            "exit.back",
            "lucos rollback leaving_data >/dev/null; gone leaving_data; cat $T/count",
        )
}

fn exits(results: &Results) -> Result<(), Failed> {
    // Nobody sees it.
    let before = results.step("exit.before")?.stdout.trim();
    let before: u32 = before.parse().map_err(|error| format!("{before:?}: {error}"))?;
    let shown = results.text("exit.apply")?.lines().last().unwrap_or_default();
    let shown: Value = serde_json::from_str(shown)?;
    equal("state", &shown["state"], &Value::from("settling"))?;
    equal("sides", &shown["version"][0]["sides"], &Value::from("BOTH"))?;
    let expected = format!("{}\n", before + 1);
    equal("count", results.text("exit.leaves")?, expected.as_str())?;
    equal("count afterwards", results.text("exit.back")?, expected.as_str())
}

/// The idle threads are inside old code for ever: the patch stays settling, and can be taken back.
fn idle_steps(script: Script) -> Script {
    let named = r#"waits 'lucos show leaving_idle --json | grep -q "\"thread\":"'"#;
    script
        .step(
            "idle.apply",
            &format!(
                "echo 1 >$T/idle_add; lucos apply $M/leaving_idle.ko >/dev/null
                 {named}; lucos show leaving_idle --json"
            ),
        )
        .step("idle.carried", "echo 1 >$T/idle_add; cat $T/idle_count")
        .step("idle.later", "sleep 3; lucos show leaving_idle --json")
        .step(
            "idle.back",
            "lucos rollback leaving_idle >/dev/null; gone leaving_idle; cat $T/idle_count",
        )
        .step("idle.old", "echo 1 >$T/idle_add; cat $T/idle_count")
}

fn idle(results: &Results) -> Result<(), Failed> {
    for step in ["idle.apply", "idle.later"] {
        let shown = results.json(step)?;
        equal("state", &shown["state"], &Value::from("settling"))?;
        let inside = &shown["inside"];
        let thread = inside["name"].as_str().unwrap_or_default();
        equal(thread, thread.starts_with("swapper/"), true)?;
        let place = inside["place"].as_str().unwrap_or_default();
        equal(place, place.starts_with("cpu_startup_entry+"), true)?;
    }
    // The old form has what new code wrote.
    equal("carried", results.text("idle.carried")?, "2\n")?;
    equal("back", results.text("idle.back")?, "2\n")?;
    equal("old", results.text("idle.old")?, "3\n")
}

fn clear_only(results: &Results) -> Result<(), Failed> {
    let step = results.step("occupied")?;
    let error = serde_json::from_str::<Value>(&step.stdout)?["error"].clone();
    equal("code", &error["code"], &Value::from("OCCUPIED"))?;
    let message = error["message"].as_str().unwrap_or_default();
    equal(
        message,
        message.starts_with("leaving (") && message.contains(" at leaving_stay+"),
        true,
    )?;
    equal("nothing", results.text("occupied.nothing")?.starts_with(r#"{"patches":[]}"#), true)?;
    results.text("occupied.leaves")?;
    results.text("occupied.back").map(|_| ())
}

fn in_new_code(results: &Results) -> Result<(), Failed> {
    results.text("new")?;
    let back = results.json("new.back")?;
    equal("in use", &back["in_use"], &Value::from(true))?;
    let shown = results.json("new.show")?;
    equal("state", &shown["state"], &Value::from("draining"))?;
    equal("thread", &shown["inside"]["name"], &Value::from("leaving"))?;
    let step = results.step("new.again")?;
    let error = serde_json::from_str::<Value>(&step.stdout)?["error"].clone();
    equal("code", &error["code"], &Value::from("NOT_SETTLED"))?;
    results.text("new.leaves").map(|_| ())
}

fn not_settled(results: &Results) -> Result<(), Failed> {
    let step = results.step("settling.needed")?;
    let expected = "leaving_data: inside is leaving (";
    equal(&step.stderr, step.stderr.contains(expected), true)?;
    results.text("settling.leaves")?;
    results.text("settling.back").map(|_| ())
}

fn kernel_is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
