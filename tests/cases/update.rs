//! Updates of a Debian guest's kernel: what a person at its shell does and sees.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{BOCHS, COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

type Check = fn(&Results) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 9] = [
    ("samples_change_and_restore", samples),
    ("traps_become_jumps", traps_become_jumps),
    ("several_patches_in_any_order", any_order),
    ("a_patch_on_a_patch", stack),
    ("the_same_patch_twice", twice),
    ("code_in_use_stays_loaded", draining),
    ("checks_change_nothing", checks),
    ("text_and_json", text_and_json),
    ("the_kernel_is_content", kernel_is_content),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for machine in ["debian-6.1", "debian-6.12", BOCHS] {
        let boot = SharedBoot::new(format!("update::{machine}"), move || boot(machine));
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        let boot = boot.long(machine == BOCHS).steps(&script());
        trials.extend(CHECKS.into_iter().fold(boot, add).trials());
    }
    trials
}

/// What each sample patch changes: its name, number of functions, the command that shows the
/// change, and a text that only the new functions print.
const SAMPLES: [(&str, u64, &str, &str); 4] = [
    ("cmdline_word", 1, "cat /proc/cmdline", " lucos.patched\n"),
    ("getppid_shift", 1, "sh -c 'echo parent $PPID'", "parent 100"),
    ("uptime_loadavg", 2, "cat /proc/uptime /proc/loadavg", "patched together with"),
    ("version_line", 1, "cat /proc/version", "was replaced while this kernel ran"),
];

/// `waits COMMAND` tries a command until it works, for at most half a minute.
const FUNCTIONS: &str = r#"
P=/lib/lucos/patches M=/lib/lucos/modules
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
jumps() { waits "lucos list --json | grep -q '\"jumping\":$2,[^{}]*\"name\":\"$1\"'"; }
loaded() { lucos list --json | grep -c '"name"'; }
"#;

fn boot(machine: &str) -> Result<Run, Failed> {
    Ok(Run::of_series(machine).timeout(400).modules(""))
}

fn script() -> Script {
    let mut script = Script::new().lines(FUNCTIONS);
    for (name, functions, show, _) in SAMPLES {
        let step = |what: &str| format!("{name}.{what}");
        script = script
            .step(&step("before"), show)
            .step(&step("apply"), &format!("lucos apply $P/{name}.ko"))
            .step(&step("after"), show)
            .step(&step("first"), "lucos list --json")
            .step(&step("settled"), &format!("jumps {name} {functions}"))
            .step(&step("jumped"), show)
            .step(&step("list"), "lucos list --json")
            .step(&step("show"), &format!("lucos show {name} --json"))
            .step(&step("show_text"), &format!("lucos show {name}"))
            .step(&step("rollback"), &format!("lucos rollback {name} --json"))
            .step(&step("restored"), show)
            .step(&step("gone"), "lucos list --json");
    }
    script = order_steps(script);
    script = stack_steps(script);
    script = draining_steps(script);
    other_steps(script)
}

fn is_new(results: &Results, step: &str, text: &str) -> Result<bool, Failed> {
    let shown = results.text(step)?;
    Ok(match text {
        "patched together with" => shown.matches(text).count() == 2,
        _ => shown.contains(text),
    })
}

fn samples(results: &Results) -> Result<(), Failed> {
    for (name, functions, _, text) in SAMPLES {
        let step = |what: &str| format!("{name}.{what}");
        let shown = |what: &str| is_new(results, &step(what), text);
        equal(name, shown("before")?, false)?;
        let plural = if functions == 1 { "" } else { "s" };
        equal(
            name,
            results.text(&step("apply"))?,
            &format!("applied {name} ({functions} function{plural})\n"),
        )?;
        for (what, expected) in [("after", true), ("jumped", true), ("restored", false)] {
            let step = step(what);
            equal(&format!("{step}: {:?}", results.text(&step)?), shown(what)?, expected)?;
        }
        let done = results.json(&step("rollback"))?;
        equal(name, &done["rolled_back"], &Value::from(name))?;
        equal(name, &done["unloaded"], &Value::from(true))?;
        equal(name, results.json(&step("gone"))?["patches"].clone(), Value::Array(Vec::new()))?;
    }
    // Where the text does not change from call to call, it is exactly the old one again.
    for name in ["cmdline_word", "version_line"] {
        let text = |what: &str| results.text(&format!("{name}.{what}"));
        equal(name, text("restored")?, text("before")?)?;
    }
    Ok(())
}

/// The only patch in a list.
fn only(results: &Results, step: &str) -> Result<Value, Failed> {
    let list = results.json(step)?;
    let patches = list["patches"].as_array().ok_or("no list")?;
    equal(step, patches.len(), 1)?;
    patches.first().cloned().ok_or_else(|| "no patch".into())
}

fn traps_become_jumps(results: &Results) -> Result<(), Failed> {
    let mut last_number = 0;
    for (name, functions, _, _) in SAMPLES {
        let first = only(results, &format!("{name}.first"))?;
        equal(name, &first["name"], &Value::from(name))?;
        equal(name, &first["state"], &Value::from("applied"))?;
        equal(name, &first["functions"], &Value::from(functions))?;
        let redirected = [&first["trapping"], &first["jumping"]].map(|count| count.as_u64());
        equal(name, redirected[0].zip(redirected[1]).map(|(a, b)| a + b), Some(functions))?;
        let number = first["number"].as_u64().unwrap_or(0);
        equal("numbers grow", number > last_number, true)?;
        last_number = number;

        results.text(&format!("{name}.settled"))?;
        let later = only(results, &format!("{name}.list"))?;
        equal(name, &later["number"], &Value::from(number))?;
        equal(name, &later["trapping"], &Value::from(0))?;
        equal(name, &later["jumping"], &Value::from(functions))?;
        for stop in ["apply_stop_ticks", "jump_stop_ticks"] {
            equal(stop, later[stop].as_u64().is_some_and(|ticks| ticks > 0), true)?;
        }
        let shown = results.json(&format!("{name}.show"))?;
        let shown = shown["function"].as_array().ok_or("no functions")?;
        equal(name, shown.len() as u64, functions)?;
        for function in shown {
            equal(name, &function["state"], &Value::from("JUMP"))?;
            equal(name, function["window"].as_u64().is_some_and(|bytes| bytes >= 5), true)?;
        }
    }
    Ok(())
}

/// All samples at once, and back in another order.
const BACK: [usize; 4] = [2, 0, 3, 1];

fn order_steps(mut script: Script) -> Script {
    let files = SAMPLES.map(|(name, ..)| format!("$P/{name}.ko")).join(" ");
    let show = SAMPLES.map(|(_, _, show, _)| show).join("; ");
    script = script
        .step("all.apply", &format!("lucos apply {files}"))
        .step("all.show", &show)
        .step("all.list", "lucos list --json")
        .step("all.settled", "for p in cmdline_word getppid_shift version_line; do jumps $p 1 || exit 1; done; jumps uptime_loadavg 2");
    for (count, index) in BACK.into_iter().enumerate() {
        let (name, ..) = SAMPLES[index];
        script = script
            .step(&format!("all.back{count}"), &format!("lucos rollback {name}"))
            .step(&format!("all.show{count}"), &show);
    }
    script.step("all.end", "lucos list --json")
}

fn any_order(results: &Results) -> Result<(), Failed> {
    let applied = results.text("all.apply")?;
    equal("applied", applied.lines().count(), SAMPLES.len())?;
    results.text("all.settled")?;
    let list = results.json("all.list")?;
    let names: Vec<_> = list["patches"].as_array().ok_or("no list")?.iter().collect();
    equal("listed", names.len(), SAMPLES.len())?;
    let present = |step: &str| -> Result<Vec<bool>, Failed> {
        SAMPLES.iter().map(|(_, _, _, text)| is_new(results, step, text)).collect()
    };
    let mut expected = vec![true; SAMPLES.len()];
    equal("all.show", present("all.show")?, expected.clone())?;
    for (count, index) in BACK.into_iter().enumerate() {
        results.text(&format!("all.back{count}"))?;
        expected[index] = false;
        let step = format!("all.show{count}");
        equal(&step, present(&step)?, expected.clone())?;
    }
    equal("all.end", results.json("all.end")?["patches"].clone(), Value::Array(Vec::new()))
}

/// One function replaced by two patches.
fn stack_steps(script: Script) -> Script {
    script
        .step("stack.one", "lucos apply $P/cmdline_word.ko")
        .step("stack.again", "lucos apply $P/cmdline_word.ko")
        .step("stack.again_list", "lucos list --json")
        .step("stack.settled", "jumps cmdline_word 1")
        .step("stack.two", "lucos apply $M/second_word.ko")
        .step("stack.show", "cat /proc/cmdline")
        .step("stack.covered", "lucos show cmdline_word --json")
        .step("stack.top", "lucos show second_word --json")
        .step("stack.refused", "lucos rollback cmdline_word")
        .step("stack.refused_json", "lucos rollback cmdline_word --json")
        .step("stack.still", "cat /proc/cmdline")
        .step("stack.back_two", "lucos rollback second_word")
        .step("stack.first", "cat /proc/cmdline")
        .step("stack.first_state", "lucos show cmdline_word --json")
        .step("stack.back_one", "lucos rollback cmdline_word")
        .step("stack.old", "cat /proc/cmdline")
        .step("stack.twice", "lucos rollback cmdline_word")
}

fn stack(results: &Results) -> Result<(), Failed> {
    results.text("stack.one")?;
    results.text("stack.two")?;
    let ends = |step: &str, word: &str| -> Result<(), Failed> {
        equal(step, results.text(step)?.ends_with(word), true)
    };
    ends("stack.show", " lucos.second\n")?;
    ends("stack.still", " lucos.second\n")?;
    let state = |step: &str| -> Result<Value, Failed> {
        Ok(results.json(step)?["function"][0]["state"].clone())
    };
    equal("lower", state("stack.covered")?, Value::from("COVERED"))?;
    let (top, lower) = (results.json("stack.top")?, results.json("stack.covered")?);
    equal("below", &top["function"][0]["below"], &lower["number"])?;
    equal(
        "refused",
        results.complaint("stack.refused")?,
        "lucos: cmdline_word: a later patch stands on this one (second_word)",
    )?;
    let json: Value = serde_json::from_str(&results.step("stack.refused_json")?.stdout)?;
    equal("code", &json["error"]["code"], &Value::from("STACKED"))?;
    results.text("stack.back_two")?;
    ends("stack.first", " lucos.patched\n")?;
    // The jump that was covered stands there again.
    equal("first", state("stack.first_state")?, Value::from("JUMP"))?;
    results.text("stack.back_one")?;
    equal("old", results.text("stack.old")?, results.text("cmdline_word.before")?)?;
    equal("twice", results.complaint("stack.twice")?, "lucos: cmdline_word: there is no such patch")
}

fn twice(results: &Results) -> Result<(), Failed> {
    equal(
        "refused",
        results.complaint("stack.again")?,
        "lucos: cmdline_word: a patch of this name is applied already",
    )?;
    let patch = only(results, "stack.again_list")?;
    equal("state", &patch["state"], &Value::from("applied"))
}

/// A thread sleeps in the new function while the patch is taken back.
fn draining_steps(script: Script) -> Script {
    script
        .step("drain.apply", "lucos apply $M/sleeper.ko")
        .lines("cat /proc/uptime >/tmp/sleeper & sleeper=$!")
        .step("drain.sleeps", "waits 'grep -q msleep /proc/'$sleeper'/stack'")
        .step("drain.back", "lucos rollback sleeper")
        .step("drain.list", "lucos list --json")
        .step("drain.module", "grep -c '^sleeper ' /proc/modules")
        .step("drain.others", "cat /proc/uptime")
        .step("drain.again", "lucos apply $M/sleeper.ko --json")
        .step("drain.again_list", "lucos list --json")
        .step("drain.wake", "echo 0 >/sys/module/sleeper/parameters/hold")
        .lines("wait $sleeper")
        .step("drain.slept", "cat /tmp/sleeper")
        .step("drain.new", "cat /proc/uptime")
        .step("drain.back_again", "lucos rollback sleeper --json")
        .step("drain.gone", "grep -c '^sleeper ' /proc/modules; lucos list --json >&2")
        .step("drain.old", "cat /proc/uptime")
        // Without anybody asking again.
        .step("drain.alone", "lucos apply $M/sleeper.ko; (cat /proc/uptime >/dev/null) & sleep 0.5; lucos rollback sleeper >/dev/null; echo 0 >/sys/module/sleeper/parameters/hold; wait; waits '! grep -q ^sleeper /proc/modules'")
}

fn draining(results: &Results) -> Result<(), Failed> {
    results.text("drain.apply")?;
    equal(
        "rollback",
        results.text("drain.back")?,
        "rolled back sleeper; its code is still in use, the module is unloaded when nobody is in it\n",
    )?;
    let patch = only(results, "drain.list")?;
    equal("state", &patch["state"], &Value::from("draining"))?;
    equal("module", results.text("drain.module")?, "1\n")?;
    // Others have the old function already.
    equal("others", results.text("drain.others")?.contains("slept"), false)?;
    let again = results.json("drain.again")?;
    equal("again", &again["applied"][0]["again"], &Value::from(true))?;
    let patch = only(results, "drain.again_list")?;
    equal("state", &patch["state"], &Value::from("applied"))?;
    results.text("drain.wake")?;
    equal("sleeper", results.text("drain.slept")?, "slept\n")?;
    equal("new", results.text("drain.new")?, "slept\n")?;
    let done = results.json("drain.back_again")?;
    equal("unloaded", &done["unloaded"], &Value::from(true))?;
    equal("module", results.step("drain.gone")?.stdout.as_str(), "0\n")?;
    equal("old", results.text("drain.old")?.contains("slept"), false)?;
    results.text("drain.alone").map(|_| ())
}

fn other_steps(script: Script) -> Script {
    script
        .step("check.text", "lucos check $P/uptime_loadavg.ko")
        .step("check.json", "lucos check $P/uptime_loadavg.ko --json")
        .step("check.old", "cat /proc/uptime")
        .step("check.list", "loaded")
        .step("check.modules", "grep -c uptime_loadavg /proc/modules")
        .step("json.apply", "lucos apply $P/version_line.ko --json")
        .step("json.list", "lucos list")
        .step("json.status", "lucos status --json")
        .step("json.status_text", "lucos status")
        .step("json.log", "lucos log --json")
        .step("json.log_text", "lucos log")
        .step("json.check", "lucos check $P/version_line.ko")
        .step("json.back", "lucos rollback version_line")
        .step("end.kernel", COMPLAINTS)
}

fn checks(results: &Results) -> Result<(), Failed> {
    equal("check", results.text("check.text")?, "uptime_loadavg can be applied\n")?;
    equal("json", &results.json("check.json")?["checked"], &Value::from("uptime_loadavg"))?;
    equal("old", results.text("check.old")?.contains("patched"), false)?;
    equal("list", results.step("check.list")?.stdout.as_str(), "0\n")?;
    equal("modules", results.step("check.modules")?.stdout.as_str(), "0\n")?;
    // What is in force cannot be applied, and the check says so.
    equal(
        "check",
        results.complaint("json.check")?,
        "lucos: version_line: a patch of this name is applied already",
    )
}

fn text_and_json(results: &Results) -> Result<(), Failed> {
    let applied = &results.json("json.apply")?["applied"][0];
    equal("apply", &applied["name"], &Value::from("version_line"))?;
    equal(
        "apply",
        [&applied["functions"], &applied["again"]],
        [&Value::from(1), &Value::from(false)],
    )?;
    let list = results.text("json.list")?;
    let columns: Vec<&str> = list.lines().next().unwrap_or_default().split_whitespace().collect();
    equal(
        "list",
        columns,
        vec!["NAME", "STATE", "FUNCTIONS", "VALUES", "TRAPS", "JUMPS", "DESCRIPTION"],
    )?;
    let row = list.lines().nth(1).unwrap_or_default();
    equal("list", row.starts_with("version_line  applied  1  "), true)?;

    let status = results.json("json.status")?;
    equal("processors", &status["vcpus"], &Value::from(2))?;
    equal("applied", &status["applied"], &Value::from(1))?;
    equal("restarts", &status["restarts"], &Value::from(0))?;
    equal("region", &status["region_size"], &Value::from(8 << 20))?;
    for class in ["HYPERCALL", "MSR_WRITE", "NMI"] {
        equal(class, status["exits"][class].as_u64().is_some_and(|count| count > 0), true)?;
    }
    let text = results.text("json.status_text")?;
    equal("status", text.contains("\nprocessors    2\n"), true)?;

    let log = results.json("json.log")?;
    let text = results.text("json.log_text")?;
    let line = "(version_line) is in force\n";
    equal("log", log["log"].as_str().is_some_and(|log| log.contains(line)), true)?;
    equal("log", text.starts_with("[kernel] LUCOS ") && text.contains(line), true)?;
    let shown = results.text("cmdline_word.show_text")?;
    for part in ["name          cmdline_word\n", "function      cmdline_proc_show\n", " jump\n"] {
        equal(part, shown.contains(part), true)?;
    }
    Ok(())
}

/// Nothing in the whole boot upset it.
fn kernel_is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
