//! Several patches in one step: all or none, and back in any order that their graph allows.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let prepare = move || Ok(Run::lucos().guest(series).timeout(400).modules("values"));
        trials.extend(
            SharedBoot::new(format!("groups::{series}"), prepare)
                .steps(&script())
                .check("three_patches_in_one_step", one_step)
                .check("each_in_turn_fails_and_nothing_is_in_force", each_fails)
                .check("a_hook_that_fails_takes_all_back", hook_fails)
                .check("a_patch_goes_with_its_dependents", with_dependents)
                .check("any_order_that_the_graph_allows", any_order)
                .check("the_kernel_is_content", kernel_is_content)
                .trials(),
        );
    }
    trials
}

/// `shown` prints what the patches change, `nothing` fails when something of them is left.
const FUNCTIONS: &str = r#"
P=/lib/lucos/patches M=/lib/lucos/modules
T=/sys/module/values_target/parameters
insmod $M/values_target.ko
shown() { echo $(cat /proc/cmdline | grep -o 'lucos\.[a-z]*' | tail -n 1) $(cat $T/target_number $T/target_bits); }
gone() { for i in $(seq 50); do grep -Eq '^(cmdline_word|values_[a-su-z])' /proc/modules || return 0; sleep 0.2; done; return 1; }
nothing() { gone && test "$(lucos list --json)" = '{"patches":[]}' && test "$(shown)" = '5 15'; }
ALL="$P/cmdline_word.ko $M/values_first.ko $M/values_group.ko"
"#;

fn script() -> Script {
    let script = Script::new()
        .lines(FUNCTIONS)
        .step("before", "shown")
        .step("stops.before", "lucos status --json")
        .step("apply", "lucos apply $ALL --json")
        .step("stops.after", "lucos status --json")
        .step("applied", "shown")
        .step("list", "lucos list --json")
        .step("twice", "lucos apply $P/version_line.ko $P/cmdline_word.ko")
        .step("twice.same", "shown; grep -c '^version_line' /proc/modules; cat /proc/version")
        .step("needed", "lucos rollback cmdline_word")
        .step("stacked", "lucos rollback values_first")
        .step("along", "lucos rollback --with-dependents values_first --json")
        .step("along.shown", "shown; lucos list --json")
        .step("along.rest", "lucos rollback --with-dependents cmdline_word; nothing");
    order_steps(failure_steps(script))
}

fn one_step(results: &Results) -> Result<(), Failed> {
    equal("before", results.text("before")?, "5 15\n")?;
    let applied = results.json("apply")?;
    let names: Vec<_> = applied["applied"]
        .as_array()
        .ok_or("nothing applied")?
        .iter()
        .map(|patch| patch["name"].clone())
        .collect();
    equal(
        "names",
        names,
        ["cmdline_word", "values_first", "values_group"].map(Value::from).to_vec(),
    )?;
    equal("applied", results.text("applied")?, "lucos.group 60 95\n")?;
    let list = results.json("list")?;
    let numbers: Vec<u64> = list["patches"]
        .as_array()
        .ok_or("no list")?
        .iter()
        .filter_map(|patch| patch["number"].as_u64())
        .collect();
    equal("numbers", numbers.clone(), (numbers[0]..numbers[0] + 3).collect())?;
    let ticks = |index: usize| list["patches"][index]["apply_stop_ticks"].clone();
    equal("one stop", [ticks(1), ticks(2)], [ticks(0), ticks(0)])?;
    equal(
        "twice",
        results.complaint("twice")?,
        "lucos: cmdline_word: a patch of this name is applied already",
    )?;
    let same = results.step("twice.same")?.stdout.as_str();
    equal("same", same.starts_with("lucos.group 60 95\n0\n"), true)?;
    equal("same", same.contains("was replaced while"), false)
}

/// One of three cannot be applied: the first, the second, the last.
fn failure_steps(mut script: Script) -> Script {
    for (name, setup, reset) in [
        // Another value is there.
        ("value", "echo 4 >$T/target_number", "echo 5 >$T/target_number"),
        ("bits", "echo 31 >$T/target_bits", "echo 15 >$T/target_bits"),
    ] {
        script = script
            .step(&format!("{name}.setup"), setup)
            .step(name, "lucos apply $ALL")
            .step(&format!("{name}.reset"), reset)
            .step(&format!("{name}.nothing"), "nothing");
    }
    script
        // A kprobe is where the first function is redirected.
        .step("probe.setup", "mount -t tracefs none /sys/kernel/tracing 2>/dev/null; for o in 5 9; do echo \"p:lucos_probe cmdline_proc_show+$o\" >/sys/kernel/tracing/kprobe_events && break; done; echo 1 >/sys/kernel/tracing/events/kprobes/lucos_probe/enable")
        .step("probe", "lucos apply $ALL")
        .step("probe.reset", "echo 0 >/sys/kernel/tracing/events/kprobes/lucos_probe/enable; echo >/sys/kernel/tracing/kprobe_events")
        .step("probe.nothing", "nothing")
        // The last one needs what comes behind it, and what is not there.
        .step("order", "lucos apply $M/values_first.ko $M/values_group.ko $P/cmdline_word.ko")
        .step("order.nothing", "nothing")
        .step("file", "echo text >/tmp/text; lucos apply $P/cmdline_word.ko $M/values_first.ko /tmp/text")
        .step("file.nothing", "nothing")
        .step("same", "lucos apply $P/cmdline_word.ko $P/cmdline_word.ko")
        .step("same.nothing", "nothing")
        .step("many", "lucos apply $ALL $ALL $ALL")
        .step("hook.setup", "echo 16 >$T/target_error")
        .step("hook", "lucos apply $P/cmdline_word.ko $M/values_hooks.ko $M/values_other_bits.ko")
        .step("hook.counts", "echo $(cat $T/target_applies $T/target_rollbacks)")
        .step("hook.reset", "echo 0 >$T/target_error; nothing")
        .step("hook.works", "lucos apply $P/cmdline_word.ko $M/values_hooks.ko $M/values_other_bits.ko && shown")
        .step("hook.back", "lucos rollback values_hooks && lucos rollback cmdline_word && lucos rollback values_other_bits && nothing")
}

fn each_fails(results: &Results) -> Result<(), Failed> {
    for (name, expected) in [
        (
            "value",
            "lucos: target_number: a variable does not hold the value that the patch changes (",
        ),
        ("bits", "lucos: target_bits: a variable does not hold the value that the patch changes ("),
        ("probe", "lucos: cmdline_proc_show: a kprobe stands on the first instruction ("),
        ("order", "lucos: cmdline_word: a patch that this one needs is not applied"),
        ("file", "lucos: /tmp/text: not an ELF file"),
        ("same", "lucos: cmdline_word: a patch of this name is applied already"),
        ("many", "lucos: 9: so many patches do not go in one step"),
    ] {
        let complaint = results.complaint(name)?;
        equal(&format!("{name}: {complaint}"), complaint.starts_with(expected), true)?;
        if name != "many" {
            results.text(&format!("{name}.nothing"))?;
        }
    }
    Ok(())
}

fn hook_fails(results: &Results) -> Result<(), Failed> {
    let complaint = results.complaint("hook")?;
    let expected = "lucos: values_hooks: the hook that runs after the update failed";
    equal(complaint, complaint.starts_with(expected), true)?;
    // The hook that failed ran; that before the rollback did not.
    equal("counts", results.text("hook.counts")?, "1 0\n")?;
    results.text("hook.reset")?;
    let works = results.text("hook.works")?;
    equal("works", works.lines().last(), Some("lucos.patched 11 12"))?;
    results.text("hook.back").map(|_| ())
}

fn with_dependents(results: &Results) -> Result<(), Failed> {
    equal(
        "needed",
        results.complaint("needed")?,
        "lucos: cmdline_word: another patch needs this one (values_group)",
    )?;
    equal(
        "stacked",
        results.complaint("stacked")?,
        "lucos: values_first: another patch needs this one (values_group)",
    )?;
    let along = results.json("along")?;
    equal("rolled back", &along["rolled_back"], &Value::from("values_first"))?;
    equal("along", &along["along"], &serde_json::json!(["values_group"]))?;
    let shown = results.text("along.shown")?;
    equal("shown", shown.starts_with("lucos.patched 5 15\n"), true)?;
    equal("shown", shown.contains("\"name\":\"cmdline_word\""), true)?;
    results.text("along.rest").map(|_| ())
}

/// Five patches: `values_group` needs `cmdline_word` and `values_first`, on which `values_second`
/// stands in another round; `values_other_bits` stands alone. What may go and what not.
const ORDERS: [&[(&str, bool)]; 3] = [
    &[
        ("cmdline_word", false),
        ("values_first", false),
        ("values_other_bits", true),
        ("values_group", true),
        ("values_first", true),
        ("version_line", true),
        ("cmdline_word", true),
    ],
    &[
        ("values_first", false),
        ("values_group", true),
        ("cmdline_word", true),
        ("values_first", true),
        ("values_other_bits", true),
        ("version_line", true),
    ],
    &[
        ("version_line", true),
        ("values_group", true),
        ("values_first", true),
        ("cmdline_word", true),
        ("values_other_bits", true),
    ],
];

fn order_steps(mut script: Script) -> Script {
    for (round, order) in ORDERS.iter().enumerate() {
        let all = "lucos apply $ALL $M/values_other_bits.ko $P/version_line.ko && shown";
        script = script.step(&format!("round{round}"), all);
        for (index, (name, _)) in order.iter().enumerate() {
            script =
                script.step(&format!("round{round}.{index}"), &format!("lucos rollback {name}"));
        }
        script = script.step(&format!("round{round}.nothing"), "nothing");
    }
    script.step("kernel", COMPLAINTS)
}

fn any_order(results: &Results) -> Result<(), Failed> {
    for (round, order) in ORDERS.iter().enumerate() {
        let applied = results.text(&format!("round{round}"))?;
        equal("applied", applied.lines().last(), Some("lucos.group 60 92"))?;
        for (index, (name, goes)) in order.iter().enumerate() {
            let step = format!("round{round}.{index}");
            equal(&format!("{step} {name}"), results.step(&step)?.status == 0, *goes)?;
        }
        results.text(&format!("round{round}.nothing"))?;
    }
    Ok(())
}

fn kernel_is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}
