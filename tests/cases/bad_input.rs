//! What is no update, who may not make one, and where none can be made: each has one line that
//! says so, a word for programs, and changes nothing.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{BOCHS, COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for machine in ["debian-6.1", "debian-6.12", BOCHS] {
        let shared = SharedBoot::new(format!("bad_input::{machine}"), move || boot(machine))
            .long(machine == BOCHS)
            .steps(&script())
            .check("files", files)
            .check("names_of_patches", names)
            .check("states_of_patches", states)
            .check("not_root", not_root)
            .check("no_manager", no_manager)
            .check("hidden_addresses", hidden_addresses)
            .check("hypercalls_of_user_programs", user_hypercalls)
            .check("lockdown", lockdown)
            .check("nothing_changed", nothing_changed);
        trials.extend(shared.trials());
    }
    for series in ["debian-6.1", "debian-6.12"] {
        let bare = SharedBoot::new(format!("bad_input::bare::{series}"), move || {
            programs(Run::bare().guest(series).modules(""))
        });
        let bare = bare.steps(&bare_script()).check("lucos_is_not_underneath", not_underneath);
        trials.extend(bare.trials());
    }
    trials
}

fn boot(machine: &str) -> Result<Run, Failed> {
    programs(Run::of_series(machine).timeout(300).modules(""))
}

/// Adds the programs that make a hypercall.
fn programs(mut run: Run) -> Result<Run, Failed> {
    let folder = tempfile::tempdir()?;
    for instruction in INSTRUCTIONS {
        let place = folder.path().join(instruction);
        assemble(&place, instruction)?;
        run = run.argument("--add").argument(place);
    }
    Ok(run.keep(folder))
}

/// `same` fails when anything is loaded that was not, or the kernel's text has changed.
const FUNCTIONS: &str = r#"
P=/lib/lucos/patches M=/lib/lucos/modules
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
address() { echo 0x$(grep -m 1 " $1\$" /proc/kallsyms | cut -d ' ' -f 1); }
modules() { cut -d ' ' -f 1 /proc/modules; }
same() { modules | diff /tmp/modules - && cat /dev/text && grep -q '^0 ' /dev/text; }
insmod $M/text.ko start=$(address _stext) end=$(address _etext)
modules >/tmp/modules
"#;

fn script() -> Script {
    let mut script = Script::new().lines(FUNCTIONS);
    script = file_steps(script);
    script = name_steps(script);
    script = state_steps(script);
    script = who_steps(script);
    script
        .lines("echo 2 >/proc/sys/kernel/kptr_restrict")
        .refused("hidden.apply", "lucos apply $P/version_line.ko")
        .refused("hidden.check", "lucos check $P/version_line.ko")
        .step("hidden.same", "same")
        .lines("echo 0 >/proc/sys/kernel/kptr_restrict")
        .step("user.vmmcall", "/vmmcall")
        .step("user.vmcall", "/vmcall")
        .step("end.works", "lucos apply $P/version_line.ko && cat /proc/version && lucos rollback version_line")
        .step("end.same", "same")
        .step("lock.before", "lucos check $P/version_line.ko")
        .step("lock.set", "echo integrity >/sys/kernel/security/lockdown")
        .refused("lock.apply", "lucos apply $P/version_line.ko")
        .refused("lock.check", "lucos check $P/version_line.ko")
        .step("lock.unmounted", "umount /sys/kernel/security && lucos apply $P/version_line.ko; s=$?; mount -t securityfs securityfs /sys/kernel/security; exit $s")
        .step("lock.more", "echo confidentiality >/sys/kernel/security/lockdown")
        .refused("lock.apply_more", "lucos apply $P/version_line.ko")
        .step("lock.list", "lucos list")
        .step("lock.same", "same")
        .step("end.kernel", COMPLAINTS)
}

/// Commands that are refused.
trait Refused {
    /// Adds one, in both forms of its output.
    fn refused(self, name: &str, command: &str) -> Self;
}

impl Refused for Script {
    fn refused(self, name: &str, command: &str) -> Self {
        self.step(name, command).step(&format!("{name}.json"), &format!("{command} --json"))
    }
}

/// Fails unless a command failed with this message and, for programs, this word. `...` at the end
/// of the message stands for anything.
fn refused(results: &Results, step: &str, code: &str, message: &str) -> Result<(), Failed> {
    let line = results.complaint(step)?;
    match message.strip_suffix("...") {
        Some(start) if line.starts_with(&format!("lucos: {start}")) => {}
        _ => equal(step, line, &format!("lucos: {message}"))?,
    }
    equal(step, results.step(step)?.stdout.as_str(), "")?;
    let step = format!("{step}.json");
    equal(&step, results.complaint(&step)?, line)?;
    let json: Value = serde_json::from_str(&results.step(&step)?.stdout)
        .map_err(|error| format!("{step}: {error}"))?;
    equal(&step, &json["error"]["code"], &Value::from(code))?;
    let message = json["error"]["message"].as_str().unwrap_or_default();
    let subject = json["error"]["subject"].as_str().unwrap_or_default();
    equal(&step, !message.is_empty() && line.contains(message), true)?;
    equal(&step, line.contains(subject), true)
}

/// Files that are no patch for this kernel: a name, the path, the word, and the complaint.
const FILES: [(&str, &str, &str, &str); 10] = [
    ("nothing", "/tmp/nothing", "READ", "/tmp/nothing: No such file or directory (os error 2)"),
    ("folder", "/tmp", "READ", "/tmp: Is a directory (os error 21)"),
    ("text", "/tmp/text", "NOT_ELF", "/tmp/text: not an ELF file"),
    ("truncated", "/tmp/truncated", "TRUNCATED", "/tmp/truncated: the file is truncated"),
    ("program", "/usr/bin/lucos", "NOT_MODULE", "/usr/bin/lucos: not a kernel module for x86-64"),
    (
        "module",
        "$M/hypercall.ko",
        "NOT_PATCH",
        "/lib/lucos/modules/hypercall.ko: a kernel module, but no patch (it has no .lucos.patch section)",
    ),
    ("kernel", "/tmp/kernel.ko", "KERNEL_VERSION", "/tmp/kernel.ko: built for kernel 9..."),
    (
        "unknown",
        "$M/unknown.ko",
        "UNKNOWN_SYMBOL",
        "this kernel has no symbol a_function_of_no_kernel",
    ),
    ("ambiguous", "$M/ambiguous.ko", "AMBIGUOUS", "modalias_show is ambiguous: vmlinux 1 at 0x..."),
    (
        "bytes",
        "$M/wrong_bytes.ko",
        "EXPECTED_BYTES",
        "cmdline_proc_show: a function does not have the expected bytes...",
    ),
];

fn file_steps(mut script: Script) -> Script {
    script = script.lines(
        "echo text >/tmp/text; head -c 3000 $P/cmdline_word.ko >/tmp/truncated\n\
         cp $P/cmdline_word.ko /tmp/kernel.ko\n\
         set -- $(strings -t d /tmp/kernel.ko | grep ' vermagic=')\n\
         printf 9 | dd of=/tmp/kernel.ko bs=1 seek=$(($1 + 9)) conv=notrunc 2>/dev/null",
    );
    for (name, path, ..) in FILES {
        for verb in ["apply", "check"] {
            script =
                script.refused(&format!("file.{name}.{verb}"), &format!("lucos {verb} {path}"));
        }
        script = script.step(&format!("file.{name}.same"), "same");
    }
    script
        // The first file is good, and is not applied either.
        .step("file.second", "lucos apply $P/cmdline_word.ko /tmp/text")
        .step("file.second_json", "lucos apply $P/uptime_loadavg.ko /tmp/text --json")
        .step("file.second_same", "same")
        .step("file.usage", "lucos apply")
}

fn files(results: &Results) -> Result<(), Failed> {
    for (name, _, code, message) in FILES {
        for verb in ["apply", "check"] {
            refused(results, &format!("file.{name}.{verb}"), code, message)?;
        }
        results.text(&format!("file.{name}.same"))?;
    }
    let ambiguous = results.complaint("file.ambiguous.apply")?;
    equal("how to choose", ambiguous.contains("LUCOS_REPLACE_SELECTED(object, number, "), true)?;
    let json: Value = serde_json::from_str(&results.step("file.ambiguous.apply.json")?.stdout)?;
    let candidates = json["error"]["candidates"].as_array().map_or(0, Vec::len);
    equal("candidates", candidates >= 2, true)?;

    equal("second", results.complaint("file.second")?, "lucos: /tmp/text: not an ELF file")?;
    equal("second", results.step("file.second")?.stdout.as_str(), "")?;
    let json: Value = serde_json::from_str(&results.step("file.second_json")?.stdout)?;
    equal("second", &json["error"]["code"], &Value::from("NOT_ELF"))?;
    results.text("file.second_same")?;
    equal("usage", results.step("file.usage")?.status, 2)
}

/// Names that no patch has.
const NAMES: [(&str, &str, &str); 3] =
    [("unknown", "nothing", "nothing"), ("words", "'two words'", "two words"), ("empty", "''", "")];

fn name_steps(mut script: Script) -> Script {
    for (step, name, _) in NAMES {
        for verb in ["rollback", "show"] {
            script =
                script.refused(&format!("name.{step}.{verb}"), &format!("lucos {verb} {name}"));
        }
    }
    let long = "$(printf '%0200d' 0)";
    script.refused("name.long", &format!("lucos rollback {long}")).step("name.same", "same")
}

fn names(results: &Results) -> Result<(), Failed> {
    for (step, _, shown) in NAMES {
        let separator = if shown.is_empty() { "" } else { ": " };
        let message = format!("{shown}{separator}there is no such patch");
        for verb in ["rollback", "show"] {
            refused(results, &format!("name.{step}.{verb}"), "UNKNOWN_PATCH", &message)?;
        }
    }
    let long = format!("{}: there is no such patch", "0".repeat(200));
    refused(results, "name.long", "UNKNOWN_PATCH", &long)?;
    results.text("name.same").map(|_| ())
}

/// A patch that is in force, one that is on its way out, and one that has gone.
fn state_steps(script: Script) -> Script {
    script
        .step("state.apply", "lucos apply $P/cmdline_word.ko && waits \"lucos list --json | grep -q '\\\"jumping\\\":1'\"")
        .refused("state.twice", "lucos apply $P/cmdline_word.ko")
        .refused("state.twice_check", "lucos check $P/cmdline_word.ko")
        .step("state.word", "cat /proc/cmdline")
        .step("state.back", "lucos rollback cmdline_word")
        .refused("state.gone", "lucos rollback cmdline_word")
        .step("state.sleeper", "lucos apply $M/sleeper.ko")
        .lines("cat /proc/uptime >/tmp/sleeper & sleeper=$!")
        .step("state.sleeps", "waits 'grep -q msleep /proc/'$sleeper'/stack'")
        .step("state.drain", "lucos rollback sleeper")
        .refused("state.drained", "lucos rollback sleeper")
        .step("state.wake", "echo 0 >/sys/module/sleeper/parameters/hold; waits '! grep -q ^sleeper /proc/modules'")
        .refused("state.drained_gone", "lucos rollback sleeper")
        .step("state.insmod", "insmod $P/cmdline_word.ko")
        .step("state.same", "same")
}

fn states(results: &Results) -> Result<(), Failed> {
    results.text("state.apply")?;
    let applied = "cmdline_word: a patch of this name is applied already";
    refused(results, "state.twice", "ALREADY_APPLIED", applied)?;
    refused(results, "state.twice_check", "ALREADY_APPLIED", applied)?;
    equal("word", results.text("state.word")?.ends_with(" lucos.patched\n"), true)?;
    results.text("state.back")?;
    refused(results, "state.gone", "UNKNOWN_PATCH", "cmdline_word: there is no such patch")?;
    for step in ["state.sleeper", "state.sleeps", "state.drain", "state.wake"] {
        results.text(step)?;
    }
    refused(results, "state.drained", "NOT_APPLIED", "sleeper: the patch is not applied")?;
    refused(results, "state.drained_gone", "UNKNOWN_PATCH", "sleeper: there is no such patch")?;
    equal("insmod", results.step("state.insmod")?.status != 0, true)?;
    results.text("state.same").map(|_| ())
}

/// Every command, with what it needs.
const COMMANDS: [(&str, &str); 7] = [
    ("apply", "apply /tmp/version.ko"),
    ("check", "check /tmp/version.ko"),
    ("rollback", "rollback version_line"),
    ("list", "list"),
    ("show", "show version_line"),
    ("status", "status"),
    ("log", "log"),
];

fn every_command(mut script: Script, group: &str, program: &str) -> Script {
    for (name, arguments) in COMMANDS {
        script = script.refused(&format!("{group}.{name}"), &format!("{program} {arguments}"));
    }
    script
}

fn all_refused(results: &Results, group: &str, code: &str, message: &str) -> Result<(), Failed> {
    COMMANDS
        .iter()
        .try_for_each(|(name, _)| refused(results, &format!("{group}.{name}"), code, message))
}

fn who_steps(script: Script) -> Script {
    let script = script.lines("cp $P/version_line.ko /tmp/version.ko");
    let user = "start-stop-daemon -S -c 65534:65534 -x /usr/bin/lucos --";
    let script = every_command(script, "user", user).step("user.same", "same");
    let script = script
        .step("unloaded", "rmmod lucos")
        .lines("mv /tmp/modules /tmp/modules.all; modules >/tmp/modules");
    every_command(script, "unloaded", "lucos")
        .step("unloaded.same", "same")
        .lines("mv /tmp/modules.all /tmp/modules")
        .step("loaded", "modprobe lucos && lucos list")
        .step("loaded.same", "modules | sort >/tmp/a; sort /tmp/modules | diff - /tmp/a")
        .lines("modules >/tmp/modules")
}

fn not_root(results: &Results) -> Result<(), Failed> {
    all_refused(results, "user", "NOT_ROOT", "this needs root")?;
    results.text("user.same").map(|_| ())
}

fn no_manager(results: &Results) -> Result<(), Failed> {
    results.text("unloaded")?;
    let message = "the update manager is not loaded (modprobe lucos)";
    all_refused(results, "unloaded", "MANAGER_NOT_LOADED", message)?;
    results.text("unloaded.same")?;
    equal("list", results.text("loaded")?, "no patches are loaded\n")?;
    results.text("loaded.same").map(|_| ())
}

fn hidden_addresses(results: &Results) -> Result<(), Failed> {
    let message = "/proc/kallsyms shows no addresses: the kernel hides them (kernel.kptr_restrict)";
    refused(results, "hidden.apply", "ADDRESSES_HIDDEN", message)?;
    refused(results, "hidden.check", "ADDRESSES_HIDDEN", message)?;
    results.text("hidden.same").map(|_| ())
}

fn lockdown(results: &Results) -> Result<(), Failed> {
    let message = |degree| {
        format!("the kernel is locked down ({degree}): it loads no module that is not signed")
    };
    // What came of this check is not what comes of the loads that the kernel refuses.
    equal("check", results.text("lock.before")?, "version_line can be applied\n")?;
    results.text("lock.set")?;
    refused(results, "lock.apply", "LOCKDOWN", &message("integrity"))?;
    refused(results, "lock.check", "LOCKDOWN", &message("integrity"))?;
    equal(
        "without securityfs",
        results.complaint("lock.unmounted")?,
        "lucos: the kernel loads no modules: it is locked down, or kernel.modules_disabled is set",
    )?;
    results.text("lock.more")?;
    refused(results, "lock.apply_more", "LOCKDOWN", &message("confidentiality"))?;
    equal("list", results.text("lock.list")?, "no patches are loaded\n")?;
    results.text("lock.same").map(|_| ())
}

fn nothing_changed(results: &Results) -> Result<(), Failed> {
    equal("works", results.text("end.works")?.contains("was replaced while"), true)?;
    results.text("end.same")?;
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}

/// The instructions that make a hypercall, one for each vendor.
const INSTRUCTIONS: [&str; 2] = ["vmmcall", "vmcall"];

/// The shell's status of a program that an illegal instruction ended.
const SIGILL: i32 = 128 + 4;

fn user_hypercalls(results: &Results) -> Result<(), Failed> {
    for instruction in INSTRUCTIONS {
        equal(instruction, results.step(&format!("user.{instruction}"))?.status, SIGILL)?;
    }
    Ok(())
}

fn bare_script() -> Script {
    let script = Script::new().lines(FUNCTIONS).lines("cp $P/version_line.ko /tmp/version.ko");
    // The driver of registers lets the command see what is underneath.
    let script = script.lines("modprobe msr; modules >/tmp/modules");
    every_command(script, "bare", "lucos")
        .step("modprobe", "modprobe lucos")
        .step("user.vmmcall", "/vmmcall")
        .step("user.vmcall", "/vmcall")
        .step("bare.same", "same")
}

fn not_underneath(results: &Results) -> Result<(), Failed> {
    let message = "LUCOS is not underneath: this kernel runs on the bare machine or on another \
                   hypervisor";
    all_refused(results, "bare", "NOT_UNDERNEATH", message)?;
    equal("modprobe", results.step("modprobe")?.status, 1)?;
    results.text("bare.same")?;
    user_hypercalls(results)
}

/// Assembles the program that makes a hypercall with `instruction`.
fn assemble(place: &Path, instruction: &str) -> Result<(), Failed> {
    let status = Command::new("cc")
        .args(["-nostdlib", "-static", &format!("-DINSTRUCTION={instruction}"), "-o"])
        .arg(place)
        .arg(lucos_tests::folder("guest-programs/hypercall.S"))
        .status()?;
    if status.success() { Ok(()) } else { Err("the program does not assemble".into()) }
}
