//! Values that patches change, hooks around an update, and what the log says of it.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let prepare = move || Ok(Run::lucos().guest(series).timeout(400).modules("values"));
        trials.extend(
            SharedBoot::new(format!("values::{series}"), prepare)
                .steps(&script())
                .check("values_change_and_come_back", change_and_come_back)
                .check("a_constant_of_the_kernel", constant_of_the_kernel)
                .check("what_somebody_else_changed_is_not_overwritten", changed_meanwhile)
                .check("values_stack_and_bits_are_independent", stack_and_bits)
                .check("hooks_run_around_the_update", hooks)
                .check("a_static_key_is_turned_by_hooks", static_key)
                .check("the_log_says_when_and_by_whom", log)
                .check("the_kernel_is_content", kernel_is_content)
                .trials(),
        );
    }
    trials
}

/// `shown` prints what the objects hold.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules
T=/sys/module/values_target/parameters
insmod $M/values_target.ko
shown() { echo $(cat $T/target_number $T/target_bits $T/target_table); }
counts() { echo $(cat $T/target_applies $T/target_rollbacks $T/target_number); }
"#;

/// What the objects hold before any patch.
const BEFORE: &str = "5 15 1 7 a text of more than sixteen bytes\n";
/// And with `values_first`.
const FIRST: &str = "6 95 1 70 another text, of sixteen bytes more\n";

fn script() -> Script {
    let script = Script::new().lines(FUNCTIONS);
    let script = script
        .step("before", "shown")
        .step("check", "lucos check $M/values_first.ko; shown")
        .step("apply", "lucos apply $M/values_first.ko")
        .step("applied", "shown")
        .step("list", "lucos list --json")
        .step("show", "lucos show values_first --json")
        .step("show.text", "lucos show values_first")
        .step("twice", "lucos apply $M/values_first.ko")
        .step("back", "lucos rollback values_first")
        .step("restored", "shown");
    hook_steps(stack_steps(changed_steps(constant_steps(script))))
}

fn change_and_come_back(results: &Results) -> Result<(), Failed> {
    equal("before", results.text("before")?, BEFORE)?;
    let checked = format!("values_first can be applied\n{BEFORE}");
    equal("check", results.text("check")?, checked.as_str())?;
    equal("apply", results.text("apply")?, "applied values_first (4 values)\n")?;
    equal("applied", results.text("applied")?, FIRST)?;
    let list = results.json("list")?;
    let patch = &list["patches"][0];
    equal("functions", &patch["functions"], &Value::from(0))?;
    // The text is 40 bytes: three records.
    equal("values", &patch["values"], &Value::from(6))?;
    let shown = results.json("show")?;
    let values = shown["value"].as_array().ok_or("no values")?;
    equal("values", values.len(), 6)?;
    for value in values {
        equal("state", &value["state"], &Value::from("CHANGED"))?;
    }
    equal("name", &values[0]["name"], &Value::from("target_number"))?;
    equal("old", &values[0]["old"], &Value::from("05 00 00 00"))?;
    equal("new", &values[0]["new"], &Value::from("06 00 00 00"))?;
    // Of the bits only their byte.
    equal("new", &values[1]["new"], &Value::from("50"))?;
    let text = results.text("show.text")?;
    for part in ["value         target_table.entry\n", "  new         46 00 00 00\n"] {
        equal(part, text.contains(part), true)?;
    }
    equal(
        "twice",
        results.complaint("twice")?,
        "lucos: values_first: a patch of this name is applied already",
    )?;
    equal("back", results.text("back")?, "rolled back values_first\n")?;
    equal("restored", results.text("restored")?, BEFORE)
}

/// A format of the kernel's, in memory that it maps read-only.
fn constant_steps(script: Script) -> Script {
    script
        .step("banner.before", "cat /proc/version")
        .step("banner.apply", "lucos apply $M/banner.ko")
        .step("banner.applied", "cat /proc/version")
        .step("banner.back", "lucos rollback banner")
        .step("banner.restored", "cat /proc/version")
}

fn constant_of_the_kernel(results: &Results) -> Result<(), Failed> {
    let before = results.text("banner.before")?;
    equal("before", before.starts_with("Linux version "), true)?;
    equal("apply", results.text("banner.apply")?, "applied banner (1 value)\n")?;
    let applied = before.replacen("version", "Version", 1);
    equal("applied", results.text("banner.applied")?, applied.as_str())?;
    equal("back", results.text("banner.back")?, "rolled back banner\n")?;
    equal("restored", results.text("banner.restored")?, before)
}

/// The number is changed by its owner: before the patch comes, and while it is in force.
fn changed_steps(script: Script) -> Script {
    script
        .step("changed.owner", "echo 77 >$T/target_number")
        .step("changed.refused", "lucos apply $M/values_first.ko")
        .step("changed.json", "lucos apply $M/values_first.ko --json")
        .step("changed.same", "shown; lucos list --json")
        .step("changed.default", "lucos apply $M/values_default.ko && shown")
        .step("changed.left_alone", "lucos show values_default --json")
        .step("changed.default_back", "lucos rollback values_default && shown")
        .step("changed.reset", "echo 5 >$T/target_number")
        .step("changed.is_default", "lucos apply $M/values_default.ko && shown")
        .step("changed.is_default_back", "lucos rollback values_default && shown")
        .step("changed.apply", "lucos apply $M/values_first.ko && echo 78 >$T/target_number")
        .step("changed.overwritten", "lucos show values_first --json")
        .step("changed.back", "lucos rollback values_first; shown")
        .step("changed.log", "lucos log | grep -c 'target_number at .* stays: it is not what'")
        .step(
            "changed.apply_again",
            "echo 5 >$T/target_number; lucos apply $M/values_first.ko && echo 78 >$T/target_number",
        )
        .step("changed.back_json", "lucos rollback values_first --json; echo 5 >$T/target_number")
}

fn changed_meanwhile(results: &Results) -> Result<(), Failed> {
    let why = "a variable does not hold the value that the patch changes (0x";
    let complaint = results.complaint("changed.refused")?;
    let expected = format!("lucos: target_number: {why}");
    equal(complaint, complaint.starts_with(&expected), true)?;
    let json: Value = serde_json::from_str(&results.step("changed.json")?.stdout)?;
    equal("code", &json["error"]["code"], &Value::from("VALUE_CHANGED"))?;
    let same = "77 15 1 7 a text of more than sixteen bytes\n{\"patches\":[]}\n";
    equal("same", results.text("changed.same")?, same)?;

    let text = " 1 7 a text of more than sixteen bytes\n";
    let applied = format!("applied values_default (2 values)\n77 271{text}");
    equal("default", results.text("changed.default")?, applied.as_str())?;
    let shown = results.json("changed.left_alone")?;
    equal("left alone", &shown["value"][0]["state"], &Value::from("LEFT_ALONE"))?;
    equal("changed", &shown["value"][1]["state"], &Value::from("CHANGED"))?;
    let back = format!("rolled back values_default\n77 15{text}");
    equal("back", results.text("changed.default_back")?, back.as_str())?;
    let applied = format!("applied values_default (2 values)\n9 271{text}");
    equal("is default", results.text("changed.is_default")?, applied.as_str())?;
    let back = format!("rolled back values_default\n5 15{text}");
    equal("back", results.text("changed.is_default_back")?, back.as_str())?;

    results.text("changed.apply")?;
    let shown = results.json("changed.overwritten")?;
    equal("overwritten", &shown["value"][0]["state"], &Value::from("OVERWRITTEN"))?;
    let back = results.text("changed.back")?;
    let stays = "stays as it is: somebody else has changed it\n";
    equal(back, back.starts_with("rolled back values_first\ntarget_number at 0x"), true)?;
    equal(back, back.ends_with(&format!("{stays}78 15{text}")), true)?;
    equal("log", results.text("changed.log")?, "1\n")?;
    results.text("changed.apply_again")?;
    let back = results.json("changed.back_json")?;
    equal("left", &back["left"][0]["name"], &Value::from("target_number"))?;
    equal("left", &back["left"][0]["state"], &Value::from("OVERWRITTEN"))?;
    equal("left", back["left"].as_array().map(Vec::len), Some(1))
}

fn stack_steps(script: Script) -> Script {
    script
        .step(
            "stack.first",
            "lucos apply $M/values_first.ko && lucos apply $M/values_second.ko && shown",
        )
        .step("stack.covered", "lucos show values_first --json")
        .step("stack.refused", "lucos rollback values_first")
        .step("stack.bits", "lucos apply $M/values_other_bits.ko && shown")
        .step("stack.part", "lucos apply $M/values_part.ko")
        .step("stack.second_back", "lucos rollback values_second && shown")
        .step("stack.first_back", "lucos rollback values_first && shown")
        .step("stack.bits_back", "lucos rollback values_other_bits && shown")
}

fn stack_and_bits(results: &Results) -> Result<(), Failed> {
    let last = |step: &str| -> Result<String, Failed> {
        Ok(results.text(step)?.lines().last().unwrap_or_default().to_owned() + "\n")
    };
    equal("first", last("stack.first")?, FIRST.replacen('6', "8", 1))?;
    let covered = results.json("stack.covered")?;
    equal("covered", &covered["value"][0]["state"], &Value::from("COVERED"))?;
    equal(
        "refused",
        results.complaint("stack.refused")?,
        "lucos: values_first: a later patch stands on this one (values_second)",
    )?;
    equal("bits", last("stack.bits")?, FIRST.replacen("6 95", "8 92", 1))?;
    equal(
        "part",
        results.complaint("stack.part")?,
        "lucos: target_bits: another patch changes these bytes (values_other_bits)",
    )
    .or_else(|_| {
        equal(
            "part",
            results.complaint("stack.part")?,
            "lucos: target_bits: another patch changes these bytes (values_first)",
        )
    })?;
    equal("second back", last("stack.second_back")?, FIRST.replacen("95", "92", 1))?;
    equal("first back", last("stack.first_back")?, BEFORE.replacen("15", "12", 1))?;
    equal("bits back", last("stack.bits_back")?, BEFORE.to_owned())
}

fn hook_steps(script: Script) -> Script {
    let features = "mount -t debugfs none /sys/kernel/debug 2>/dev/null; \
                    echo RT_PUSH_IPI >/sys/kernel/debug/sched/features";
    let push = "grep -ow '\\(NO_\\)\\?RT_PUSH_IPI' /sys/kernel/debug/sched/features";
    script
        .step("hook.apply", "lucos apply $M/values_hooks.ko && counts")
        .step("hook.back", "lucos rollback values_hooks && counts")
        // EBUSY.
        .step("hook.fails", "echo 16 >$T/target_error; lucos apply $M/values_hooks.ko")
        .step("hook.failed", "counts; for i in $(seq 50); do grep -q ^values_hooks /proc/modules || break; sleep 0.2; done; lucos list --json; grep -c ^values_hooks /proc/modules")
        .step("hook.fails_json", "lucos apply $M/values_hooks.ko --json")
        .step("hook.works_again", "echo 0 >$T/target_error; lucos apply $M/values_hooks.ko && counts; lucos rollback values_hooks && counts")
        .step("push.turn_on", features)
        .step("push.before", push)
        .step("push.apply", "lucos apply $M/no_push_ipi.ko")
        .step("push.off", push)
        .step("push.list", "lucos list --json")
        .step("push.back", "lucos rollback no_push_ipi")
        .step("push.on", push)
        .step("log", "lucos log --json")
        .step("log.text", "lucos log | tail -n 3; date -u +%Y-%m-%d")
        .step("kernel", COMPLAINTS)
}

fn hooks(results: &Results) -> Result<(), Failed> {
    equal("apply", results.text("hook.apply")?, "applied values_hooks (1 value)\n1 0 11\n")?;
    // Before the rollback the new value was still there.
    equal("back", results.text("hook.back")?, "rolled back values_hooks\n1 1 5\n")?;
    equal(
        "fails",
        results.complaint("hook.fails")?,
        "lucos: values_hooks: the hook that runs after the update failed, and the update was \
         rolled back (Device or resource busy (os error 16))",
    )?;
    // It is rolled back, and its module gone, without its other hook.
    equal("failed", results.step("hook.failed")?.stdout.as_str(), "2 1 5\n{\"patches\":[]}\n0\n")?;
    let json: Value = serde_json::from_str(&results.step("hook.fails_json")?.stdout)?;
    equal("code", &json["error"]["code"], &Value::from("HOOK_FAILED"))?;
    let again = results.text("hook.works_again")?;
    let counts = [again.lines().nth(1), again.lines().nth(3)];
    equal("again", counts, [Some("4 1 11"), Some("4 2 5")])
}

fn static_key(results: &Results) -> Result<(), Failed> {
    equal("before", results.text("push.before")?, "RT_PUSH_IPI\n")?;
    results.text("push.apply")?;
    equal("off", results.text("push.off")?, "NO_RT_PUSH_IPI\n")?;
    let list = results.json("push.list")?;
    let patch = &list["patches"][0];
    equal("state", &patch["state"], &Value::from("applied"))?;
    equal("nothing else", [&patch["functions"], &patch["values"]], [&Value::from(0); 2])?;
    results.text("push.back")?;
    equal("on", results.text("push.on")?, "RT_PUSH_IPI\n")
}

fn log(results: &Results) -> Result<(), Failed> {
    let log = results.json("log")?;
    let events = log["events"].as_array().ok_or("no events")?;
    let of = |name: &str| -> Vec<(&str, &str)> {
        let named = events.iter().filter(|event| event["name"] == name);
        named.map(|event| (word(event, "event"), word(event, "code"))).collect()
    };
    equal("banner", of("banner"), vec![("APPLIED", ""), ("ROLLED_BACK", "")])?;
    let hooks = of("values_hooks");
    let failed = vec![("APPLIED", ""), ("ROLLED_BACK", ""), ("REFUSED", "HOOK_FAILED")];
    equal("values_hooks", hooks.get(2..5).map(<[_]>::to_vec), Some(failed))?;
    let first = of("values_first");
    equal("changed", first.contains(&("REFUSED", "VALUE_CHANGED")), true)?;
    equal("stacked", first.contains(&("NOT_ROLLED_BACK", "STACKED")), true)?;
    for event in events {
        equal("program", word(event, "program"), "lucos")?;
        equal("user", &event["user"], &Value::from(0))?;
    }
    let text = results.text("log.text")?;
    let (events, today) = text.trim_end().rsplit_once('\n').ok_or("no date")?;
    for line in events.lines() {
        equal(line, line.starts_with(today) && line.contains(", by lucos (process "), true)?;
    }
    let back = events.lines().last().unwrap_or_default();
    equal("the last one", back.contains("Z rolled_back no_push_ipi, by "), true)
}

fn word<'a>(event: &'a Value, name: &str) -> &'a str {
    event[name].as_str().unwrap_or_default()
}

fn kernel_is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}
