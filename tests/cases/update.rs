//! Updates of a Debian guest's kernel: what a person at its shell does and sees.

use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Results, Run, Script, Shared, equal};
use serde_json::Value;

const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-modules");
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-programs");

/// A series, and the boot that all tests of it look at.
type Boot = (&'static str, &'static Shared);

static BOOT_6_1: Shared = Shared::new();
static BOOT_6_12: Shared = Shared::new();
const BOOTS: [Boot; 2] = [("debian-6.1", &BOOT_6_1), ("debian-6.12", &BOOT_6_12)];

type Check = fn(&Results) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 11] = [
    ("samples_change_and_restore", samples),
    ("traps_become_jumps", traps_become_jumps),
    ("several_patches_in_any_order", any_order),
    ("a_patch_on_a_patch", stack),
    ("the_same_patch_twice", twice),
    ("code_in_use_stays_loaded", draining),
    ("bad_files_are_refused", bad_files),
    ("checks_change_nothing", checks),
    ("text_and_json", text_and_json),
    ("who_may_ask", who_may_ask),
    ("hypercalls_are_for_the_kernel", user_hypercalls),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (series, shared) in BOOTS {
        for (name, check) in CHECKS {
            trials.push(Trial::test(format!("update::{series}::{name}"), move || {
                check(shared.results(|| boot(series))?)
            }));
        }
    }
    trials.push(Trial::test("update::bare::lucos_is_not_underneath", bare));
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
jumps() { waits "lucos list --json | grep -q '\"jumping\":$2,.*\"name\":\"$1\"'"; }
loaded() { lucos list --json | grep -c '"name"'; }
"#;

fn boot(series: &str) -> Result<Results, Failed> {
    let programs = tempfile::tempdir()?;
    let mut run = Run::lucos().guest(series).timeout(400).argument("--modules").argument(MODULES);
    for instruction in ["vmmcall", "vmcall"] {
        let program = user_program(programs.path().join(instruction), instruction)?;
        run = run.argument("--add").argument(program);
    }
    script().run(run)
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
    script = input_steps(script);
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
        equal(name, [shown("after")?, shown("jumped")?, shown("restored")?], [true, true, false])?;
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
        for function in shown["function"].as_array().ok_or("no functions")? {
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

/// Files that are no patch for this kernel, and what the complaint about each must contain.
const BAD_FILES: [(&str, &str, &str); 8] = [
    ("nothing", "/tmp/nothing", "/tmp/nothing: No such file or directory"),
    ("text", "/tmp/text", "/tmp/text: not an ELF file"),
    ("truncated", "/tmp/truncated", "/tmp/truncated: the file is truncated"),
    ("program", "/usr/bin/lucos", "/usr/bin/lucos: not a kernel module for x86-64"),
    ("module", "$M/hypercall.ko", "a kernel module, but no patch (it has no .lucos.patch section)"),
    ("kernel", "/tmp/kernel.ko", "/tmp/kernel.ko: built for kernel 9."),
    ("unknown", "$M/unknown.ko", "this kernel has no symbol a_function_of_no_kernel"),
    ("ambiguous", "$M/ambiguous.ko", "modalias_show is ambiguous: vmlinux 1 at 0x"),
];

fn input_steps(mut script: Script) -> Script {
    script = script.lines(
        "echo text >/tmp/text; head -c 3000 $P/cmdline_word.ko >/tmp/truncated\n\
         cp $P/cmdline_word.ko /tmp/kernel.ko\n\
         set -- $(strings -t d /tmp/kernel.ko | grep ' vermagic=')\n\
         printf 9 | dd of=/tmp/kernel.ko bs=1 seek=$(($1 + 9)) conv=notrunc 2>/dev/null\n\
         lsmod >/tmp/modules.before",
    );
    for (name, path, _) in BAD_FILES {
        for verb in ["apply", "check"] {
            script = script.step(&format!("bad.{name}.{verb}"), &format!("lucos {verb} {path}"));
        }
        script = script
            .step(&format!("bad.{name}.json"), &format!("lucos apply {path} --json 2>/dev/null"));
    }
    script
        // The first file is good, and stays in force.
        .step("bad.second", "lucos apply $P/cmdline_word.ko /tmp/text")
        .step("bad.second_back", "lucos rollback cmdline_word")
        .step("bad.modules", "lsmod | diff /tmp/modules.before -")
        .step("bad.list", "loaded")
        .step("bad.rollback", "lucos rollback nothing")
        .step("bad.show", "lucos show nothing")
        .step("bad.name", "lucos rollback 'two words'")
        .step("bad.usage", "lucos apply")
}

fn bad_files(results: &Results) -> Result<(), Failed> {
    for (name, _, expected) in BAD_FILES {
        for verb in ["apply", "check"] {
            let line = results.complaint(&format!("bad.{name}.{verb}"))?;
            let good = line.starts_with("lucos: ") && line.contains(expected);
            equal(line, good, true)?;
        }
        let json: Value = serde_json::from_str(&results.step(&format!("bad.{name}.json"))?.stdout)?;
        equal(name, json["error"]["code"].is_string(), true)?;
    }
    let ambiguous = results.complaint("bad.ambiguous.apply")?;
    equal("how to choose", ambiguous.contains("LUCOS_REPLACE_SELECTED(object, number, "), true)?;
    let json: Value = serde_json::from_str(&results.step("bad.ambiguous.json")?.stdout)?;
    let candidates = json["error"]["candidates"].as_array().map_or(0, Vec::len);
    equal("candidates", candidates >= 2, true)?;

    let second = results.step("bad.second")?;
    equal(
        "second",
        (second.status, second.stdout.as_str()),
        (1, "applied cmdline_word (1 function)\n"),
    )?;
    results.text("bad.second_back")?;
    results.text("bad.modules")?;
    equal("list", results.step("bad.list")?.stdout.as_str(), "0\n")?;
    let unknown = "lucos: nothing: there is no such patch";
    equal("rollback", results.complaint("bad.rollback")?, unknown)?;
    equal("show", results.complaint("bad.show")?, unknown)?;
    equal("name", results.complaint("bad.name")?, "lucos: two words: there is no such patch")?;
    equal("usage", results.step("bad.usage")?.status, 2)
}

fn other_steps(script: Script) -> Script {
    let user = "start-stop-daemon -S -c 65534:65534 -x /usr/bin/lucos --";
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
        .step("who.user", &format!("{user} list"))
        .step("who.user_apply", &format!("cp $P/version_line.ko /tmp/v.ko; {user} apply /tmp/v.ko"))
        .step("who.unload", "rmmod lucos")
        .step("who.unloaded", "lucos list")
        .step("who.unloaded_apply", "lucos apply $P/version_line.ko")
        .step("who.load", "modprobe lucos && lucos list")
        .step("who.works", "lucos apply $P/version_line.ko && cat /proc/version")
        .step("who.works_back", "lucos rollback version_line")
        .step("user.vmmcall", "/vmmcall")
        .step("user.vmcall", "/vmcall")
        .step("end.kernel", "dmesg | grep -E 'BUG:|Oops|WARNING: CPU|lockup|stall|Uhhuh'")
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
    equal("list", columns, vec!["NAME", "STATE", "FUNCTIONS", "TRAPS", "JUMPS", "DESCRIPTION"])?;
    let row = list.lines().nth(1).unwrap_or_default();
    equal("list", row.starts_with("version_line  applied  1  "), true)?;

    let status = results.json("json.status")?;
    equal("processors", &status["vcpus"], &Value::from(2))?;
    equal("applied", &status["applied"], &Value::from(1))?;
    equal("restarts", &status["restarts"], &Value::from(0))?;
    equal("region", &status["region_size"], &Value::from(8 << 20))?;
    for class in ["CPUID", "HYPERCALL", "MSR_WRITE", "NMI"] {
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

fn who_may_ask(results: &Results) -> Result<(), Failed> {
    for step in ["who.user", "who.user_apply"] {
        equal(step, results.complaint(step)?, "lucos: this needs root")?;
    }
    results.text("who.unload")?;
    for step in ["who.unloaded", "who.unloaded_apply"] {
        let expected = "lucos: the update manager is not loaded (modprobe lucos)";
        equal(step, results.complaint(step)?, expected)?;
    }
    equal("list", results.text("who.load")?, "no patches are loaded\n")?;
    equal("works", results.text("who.works")?.contains("was replaced while"), true)?;
    results.text("who.works_back")?;
    // Nothing in the whole boot upset the kernel.
    let kernel = results.step("end.kernel")?;
    equal("kernel's log", kernel.stdout.as_str(), "")
}

/// The shell's status of a program that an illegal instruction ended.
const SIGILL: i32 = 128 + 4;

fn user_hypercalls(results: &Results) -> Result<(), Failed> {
    equal("vmmcall", results.step("user.vmmcall")?.status, SIGILL)?;
    equal("vmcall", results.step("user.vmcall")?.status, SIGILL)
}

fn bare() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let program = user_program(folder.path().join("vmmcall"), "vmmcall")?;
    let script = Script::new()
        .step("list", "lucos list")
        .step("apply", "lucos apply /lib/lucos/patches/cmdline_word.ko")
        .step("json", "lucos status --json 2>/dev/null")
        .step("module", "modprobe lucos")
        .step("user", "/vmmcall");
    let results = script.run(Run::bare().argument("--add").argument(program))?;
    let expected = "lucos: LUCOS is not underneath: this kernel runs on the bare machine or on \
                    another hypervisor";
    equal("list", results.complaint("list")?, expected)?;
    equal("apply", results.complaint("apply")?, expected)?;
    let json: Value = serde_json::from_str(&results.step("json")?.stdout)?;
    equal("json", &json["error"]["code"], &Value::from("NOT_UNDERNEATH"))?;
    equal("user", results.step("user")?.status, SIGILL)
}

/// Assembles the program that makes a hypercall with `instruction`.
fn user_program(place: PathBuf, instruction: &str) -> Result<PathBuf, Failed> {
    let status = Command::new("cc")
        .args(["-nostdlib", "-static", &format!("-DINSTRUCTION={instruction}"), "-o"])
        .arg(&place)
        .arg(format!("{PROGRAMS}/hypercall.S"))
        .status()?;
    if status.success() { Ok(place) } else { Err("the program does not assemble".into()) }
}
