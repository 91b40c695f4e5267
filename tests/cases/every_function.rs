//! Any function of the kernel and of its modules can be replaced: those without an ftrace slot,
//! those of modules, those that are replaced already, and those whose first bytes take no jump. What
//! cannot be is refused with the reason.
//!
//! The machine starts with one processor, which is when the kernel takes LOCK prefixes off. All of
//! the kernel is traced at that time too: under QEMU's TCG the function tracer brings a busy kernel
//! on several processors down, without LUCOS as well.

mod windows;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Report, Results, Run, Script, SharedBoot, equal, guest_program};
use serde_json::Value;
use windows::{refused, refused_steps, slot_steps, slots, windows_steps};

/// Words for the kernel. On a slow host ftrace takes longer to change all functions than the
/// kernel's watchdogs wait.
const WORDS: &str = "maxcpus=1 nowatchdog rcupdate.rcu_cpu_stall_timeout=300";

type Check = fn(&Results) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 9] = [
    ("without_a_slot", without_slot),
    ("without_a_slot_under_load", under_load),
    ("the_function_tracer", tracer),
    ("windows_that_take_no_jump", windows::windows),
    ("sites_at_the_slot", slots),
    ("refused_with_the_reason", refused),
    ("functions_of_modules", modules),
    ("three_on_one_another", stacked),
    ("the_kernel_is_content", kernel_is_content),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let boot = SharedBoot::new(format!("every_function::{series}"), move || {
            let folder = tempfile::tempdir()?;
            let program = guest_program("load", folder.path())?;
            let run = Run::lucos().guest(series).cpus(2).timeout(600);
            let run = run.append(WORDS);
            let run = run.modules("every_function");
            let program = format!("{}:usr/bin/load", program.display());
            Ok(run.argument("--add").argument(program).keep(folder))
        });
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        trials.extend(CHECKS.into_iter().fold(boot.steps(&script()), add).trials());
    }
    trials
}

/// `waits COMMAND` tries a command until it works, for at most half a minute. `bytes FUNCTION`
/// shows the first ones. `load` keeps all processors busy until `rest`, and writes to /tmp/workers
/// what came of that.
const FUNCTIONS: &str = r#"
P=/lib/lucos/patches M=/lib/lucos/modules
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
jumps() { waits "lucos list --json | grep -q '\"jumping\":$2,[^{}]*\"name\":\"$1\"'"; }
back() { lucos rollback $1 && waits "! grep -q '^$1 ' /proc/modules"; }
calls() { cat /sys/module/$1/parameters/calls; }
grep -E ' (memcpy|syscall_exit_to_user_mode|tasklet_unlock|urandom_read_iter|strcasecmp|psi_show|version_proc_show)$' /proc/kallsyms >/tmp/symbols
bytes() {
    echo 0x$(sed -n "s/ . $1\$//p" /tmp/symbols | head -n 1) >/sys/module/bytes/parameters/at
    cat /sys/module/bytes/parameters/at
}
load() {
    rm -f /tmp/rest
    ip link set lo up
    /usr/bin/load workers /tmp/rest >/tmp/workers 2>&1 &
}
rest() { touch /tmp/rest; wait; }
insmod $M/bytes.ko
insmod $M/calls.ko
"#;

/// Functions without an ftrace slot: the sample that replaces one, and its name.
const WITHOUT_SLOT: [(&str, &str); 2] =
    [("memcpy_count", "memcpy"), ("syscall_count", "syscall_exit_to_user_mode")];

fn script() -> Script {
    let mut script = Script::new().lines(FUNCTIONS).step("release", "uname -r");
    script = tracer_steps(script);
    script = windows_steps(script);
    script = load_steps(script);
    script = slot_steps(script);
    script = refused_steps(script);
    script = module_steps(script);
    stacked_steps(script)
        .step("end.modules", "rmmod calls && rmmod bytes && cut -d ' ' -f 1 /proc/modules")
        .step("end.kernel", COMPLAINTS)
}

/// The bytes at the start of a function.
fn bytes(results: &Results, step: &str) -> Result<Vec<u8>, Failed> {
    let words = results.text(step)?.split_whitespace();
    Ok(words.map(|word| u8::from_str_radix(word, 16)).collect::<Result<_, _>>()?)
}

/// Both forms of the ENDBR: as compiled, and sealed at boot.
const ENDBR: [[u8; 4]; 2] = [[0xf3, 0x0f, 0x1e, 0xfa], [0x66, 0x0f, 0x1f, 0x00]];
const TRAP: u8 = 0x06;
const JUMP: u8 = 0xe9;

/// The length of the ENDBR that a function starts with.
fn endbr(bytes: &[u8]) -> usize {
    if ENDBR.iter().any(|endbr| bytes.starts_with(endbr)) { 4 } else { 0 }
}

fn number(results: &Results, step: &str) -> Result<u64, Failed> {
    let text = results.text(step)?;
    text.trim().parse().map_err(|_| format!("{step}: not a number: {text}").into())
}

fn address(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// How far a function's site is behind its start.
fn site_offset(function: &Value) -> Option<u64> {
    address(&function["site"])?.checked_sub(address(&function["old"])?)
}

/// The functions that `lucos show` lists.
fn functions(results: &Results, step: &str) -> Result<Vec<Value>, Failed> {
    let shown = results.json(step)?;
    Ok(shown["function"].as_array().ok_or("no functions")?.clone())
}

/// The state of a function in the output of `lucos show`, and why it is that.
fn state(functions: &[Value], name: &str) -> Result<(String, String), Failed> {
    let function = functions.iter().find(|function| function["name"] == name);
    let function = function.ok_or_else(|| format!("{name} is not shown"))?;
    let text = |member: &str| function[member].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("reason")))
}

fn tracer_steps(mut script: Script) -> Script {
    for (patch, function) in WITHOUT_SLOT {
        script = script
            .step(&format!("{patch}.before"), &format!("bytes {function}"))
            .step(&format!("{patch}.apply"), &format!("lucos apply $P/{patch}.ko"))
            .step(&format!("{patch}.early"), &format!("bytes {function}"))
            .step(&format!("{patch}.jumps"), &format!("jumps {patch} 1"))
            .step(&format!("{patch}.show"), &format!("lucos show {patch} --json"))
            .step(&format!("{patch}.applied"), &format!("bytes {function}"));
    }
    script = script
        .step("traced.refused", "lucos apply $M/traced_copy.ko")
        .lines("cd /sys/kernel/tracing")
        .step("tracer.before", "calls memcpy_count; calls syscall_count")
        .step("tracer.on", "echo function >current_tracer && cat current_tracer")
        .step("tracer.runs", "cat /proc/version; sleep 0.2; echo 0 >tracing_on")
        .step("tracer.old", "grep -c version_proc_show trace")
        .step("tracer.callers", "grep -c '<-lucos_new_syscall_exit_to_user_mode' trace")
        .step("tracer.new", "grep -hE '(: |^)lucos_new_' trace available_filter_functions")
        .step("tracer.after", "calls memcpy_count; calls syscall_count")
        .step("tracer.off", "echo nop >current_tracer && echo 1 >tracing_on && cat current_tracer")
        .step("tracer.healthy", "cat /proc/sys/kernel/ftrace_enabled")
        .lines("cd /");
    for (patch, function) in WITHOUT_SLOT {
        script = script
            .step(&format!("{patch}.back"), &format!("back {patch}"))
            .step(&format!("{patch}.restored"), &format!("bytes {function}"));
    }
    script
}

/// The ENDBR survives, a trap and then the jump stand right behind it, and in the end all is as
/// before. Gives the ENDBR's length.
fn jump_behind_endbr(
    results: &Results,
    function: &str,
    step: impl Fn(&str) -> String,
) -> Result<usize, Failed> {
    let before = bytes(results, &step("before"))?;
    let early = bytes(results, &step("early"))?;
    let applied = bytes(results, &step("applied"))?;
    let entry = endbr(&before);
    equal(function, early.get(..entry), before.get(..entry))?;
    let site = early.get(entry).copied().unwrap_or_default();
    equal(&format!("{function}: {site:#x} redirects"), [TRAP, JUMP].contains(&site), true)?;
    equal(function, applied.get(..entry), before.get(..entry))?;
    equal(function, applied.get(entry), Some(&JUMP))?;
    equal(function, bytes(results, &step("restored"))?, before)?;
    Ok(entry)
}

fn without_slot(results: &Results) -> Result<(), Failed> {
    for (patch, function) in WITHOUT_SLOT {
        let step = |what: &str| format!("{patch}.{what}");
        for what in ["apply", "jumps", "back"] {
            results.text(&step(what))?;
        }
        let entry = jump_behind_endbr(results, function, step)?;
        let shown = functions(results, &step("show"))?;
        let shown = shown.first().ok_or("no function")?;
        equal(function, &shown["name"], &Value::from(function))?;
        equal(function, &shown["state"], &Value::from("JUMP"))?;
        equal(function, site_offset(shown), Some(entry as u64))?;
    }
    // One series is built with indirect-branch tracking, the other without.
    let memcpy = endbr(&bytes(results, "memcpy_count.before")?);
    equal("ENDBR", memcpy, if results.text("release")?.starts_with("6.12") { 4 } else { 0 })
}

fn tracer(results: &Results) -> Result<(), Failed> {
    equal("on", results.text("tracer.on")?, "function\n")?;
    results.text("tracer.runs")?;
    equal("traced", number(results, "tracer.old")? >= 1, true)?;
    // The new functions are noinstr: what they call is traced, they are not.
    equal("called", number(results, "tracer.callers")? >= 1, true)?;
    equal("new", results.step("tracer.new")?.stdout.as_str(), "")?;
    equal("off", results.text("tracer.off")?, "nop\n")?;
    equal("healthy", results.text("tracer.healthy")?, "1\n")?;
    let counts = |step: &str| -> Result<Vec<u64>, Failed> {
        Ok(results.text(step)?.lines().map(str::parse).collect::<Result<_, _>>()?)
    };
    let (before, after) = (counts("tracer.before")?, counts("tracer.after")?);
    let grown = before.iter().zip(&after).filter(|(before, after)| after > before).count();
    equal("calls while it ran", (before.len(), grown), (2, 2))?;
    let complaint = results.complaint("traced.refused")?;
    let expected = "lucos: memcpy: the old function is never traced or probed, so the new one \
                    must be noinstr (LUCOS_REPLACE_NOINSTR)";
    equal(complaint, complaint.starts_with(expected), true)
}

fn load_steps(mut script: Script) -> Script {
    script = script.lines("load");
    for (patch, function) in WITHOUT_SLOT {
        script = script
            .step(&format!("load.{patch}.before"), &format!("bytes {function}"))
            .step(&format!("load.{patch}.apply"), &format!("lucos apply $P/{patch}.ko"))
            .step(&format!("load.{patch}.early"), &format!("bytes {function}"))
            .step(&format!("load.{patch}.jumps"), &format!("jumps {patch} 1"))
            .step(&format!("load.{patch}.first"), &format!("calls {patch}; sleep 0.5"))
            .step(&format!("load.{patch}.later"), &format!("calls {patch}"))
            .step(&format!("load.{patch}.applied"), &format!("bytes {function}"));
    }
    for (patch, function) in WITHOUT_SLOT {
        script = script
            .step(&format!("load.{patch}.back"), &format!("back {patch}"))
            .step(&format!("load.{patch}.restored"), &format!("bytes {function}"));
    }
    script.lines("rest").step("load.workers", "cat /tmp/workers")
}

fn under_load(results: &Results) -> Result<(), Failed> {
    for (patch, function) in WITHOUT_SLOT {
        let step = |what: &str| format!("load.{patch}.{what}");
        for what in ["apply", "jumps", "back"] {
            results.text(&step(what))?;
        }
        let grown = number(results, &step("later"))?.checked_sub(number(results, &step("first"))?);
        equal("calls", grown.is_some_and(|calls| calls > 100), true)?;
        jump_behind_endbr(results, function, step)?;
    }
    // Whatever the kernel did for the load on both processors was right.
    let report = Report::new(results.text("load.workers")?);
    report.expect("hung", 0)?;
    for (kind, cpu) in LOAD.iter().flat_map(|kind| [(kind, 0), (kind, 1)]) {
        report.expect(&format!("wrong.{kind}.{cpu}"), 0)?;
        let rounds: u64 = report.number(&format!("right.{kind}.{cpu}"))?;
        equal(&format!("{kind} on processor {cpu}: {rounds} are enough"), rounds >= 4, true)?;
    }
    Ok(())
}

/// What the program `load` does on each processor.
const LOAD: [&str; 5] = ["exec", "fault", "pipe", "timer", "network"];

fn module_steps(script: Script) -> Script {
    script
        // Not loaded.
        .step("module.absent", "lucos apply $M/module_function.ko")
        .step("module.symbol_absent", "lucos apply $M/module_symbol.ko")
        .lines("insmod $M/target.ko; answer=/sys/module/target/parameters/answer")
        .step("module.before", "cat $answer")
        .step("module.apply", "lucos apply $M/module_function.ko")
        .step("module.jumps", "jumps module_function 1")
        .step("module.new", "cat $answer")
        .step("module.shared", "echo 8 >/sys/module/target/parameters/secret; cat $answer")
        .step("module.show", "lucos show module_function --json")
        .step(
            "module.in_use",
            "for m in target module_function lucos; do rmmod $m 2>&1; echo $?; done",
        )
        .step("module.back", "back module_function")
        .step("module.old", "cat $answer")
        // Only a symbol of it is used.
        .step("module.symbol", "lucos apply $M/module_symbol.ko && cat /proc/version")
        .step("module.symbol_in_use", "rmmod target")
        .step("module.symbol_back", "back module_symbol && rmmod target")
        // One of Debian's.
        .lines("modprobe loop; dd if=/dev/zero of=/tmp/disk bs=1k count=64 2>/dev/null")
        .lines("losetup -o 512 /dev/loop0 /tmp/disk; offset=/sys/block/loop0/loop/offset")
        .step("loop.before", "cat $offset")
        .step("loop.apply", "lucos apply $M/loop_offset.ko && jumps loop_offset 1")
        .step("loop.new", "cat $offset")
        .step("loop.old", "back loop_offset && cat $offset")
        .step("loop.applied", "lucos apply $M/loop_offset.ko")
        .lines("losetup -d /dev/loop0")
        .step("loop.in_use", "rmmod loop")
        .step("loop.gone", "back loop_offset && waits 'rmmod loop'")
}

/// What `rmmod` says of a module that a patch in force needs.
fn in_use(module: &str) -> String {
    format!("rmmod: can't unload module '{module}': Resource temporarily unavailable")
}

fn modules(results: &Results) -> Result<(), Failed> {
    for step in ["apply", "jumps", "back", "symbol_back"] {
        results.text(&format!("module.{step}"))?;
    }
    for step in ["module.absent", "module.symbol_absent"] {
        let complaint = results.complaint(step)?;
        let names = complaint.contains("target") && complaint.contains("not loaded");
        equal(complaint, names, true)?;
    }
    for (step, expected) in
        [("before", "7\n"), ("new", "1007\n"), ("shared", "1008\n"), ("old", "8\n")]
    {
        equal(step, results.text(&format!("module.{step}"))?, expected)?;
    }
    let shown = functions(results, "module.show")?;
    equal("module", &shown[0]["module"], &Value::from("target"))?;
    let all = ["target", "module_function", "lucos"].map(|name| in_use(name) + "\n1\n").concat();
    equal("in use", results.text("module.in_use")?, &all)?;
    equal("symbol", results.text("module.symbol")?.ends_with("\n8\n"), true)?;
    equal("symbol in use", results.complaint("module.symbol_in_use")?, &in_use("target"))?;
    for (step, expected) in [("before", "512\n"), ("new", "4242\n")] {
        equal(step, results.text(&format!("loop.{step}"))?, expected)?;
    }
    equal("old", results.text("loop.old")?.ends_with("\n512\n"), true)?;
    results.text("loop.applied")?;
    equal("loop in use", results.complaint("loop.in_use")?, &in_use("loop"))?;
    results.text("loop.gone").map(|_| ())
}

fn stacked_steps(mut script: Script) -> Script {
    let show = "cat /proc/version; cat /proc/pressure/cpu; head -c 1 /dev/urandom | hexdump -e '1/1 \"%u\\n\"'";
    let starts = "for name in version_proc_show psi_show urandom_read_iter; do bytes $name; done";
    script = script.step("stacked.0", show).step("stacked.bytes", starts);
    for level in 1..=3 {
        script = script
            .step(&format!("stacked.apply{level}"), &format!("lucos apply $M/stacked_{level}.ko"))
            // The lower ones have their jumps before they are covered, but for the last.
            .step(
                &format!("stacked.jumps{level}"),
                &match level {
                    2 => "true".to_owned(),
                    _ => format!("jumps stacked_{level} 2"),
                },
            )
            .step(&format!("stacked.{level}"), show);
    }
    script = script.step("stacked.show", "lucos show stacked_3 --json");
    for level in 1..=2 {
        script = script
            .step(&format!("stacked.under{level}"), &format!("lucos rollback stacked_{level}"));
    }
    script = script.step("stacked.still", show);
    for level in (1..=3).rev() {
        script = script
            .step(&format!("stacked.back{level}"), &format!("back stacked_{level}"))
            .step(&format!("stacked.below{level}"), show)
            .step(
                &format!("stacked.settled{level}"),
                &match level {
                    1 => "true".to_owned(),
                    _ => format!("jumps stacked_{} 2", level - 1),
                },
            );
    }
    script.step("stacked.restored", starts)
}

fn stacked(results: &Results) -> Result<(), Failed> {
    let shows = |step: &str, level: u8| -> Result<(), Failed> {
        // The digit as text twice, and as the code of the character.
        let expected = format!("{level}\n{level}\n{}\n", u32::from(b'0' + level));
        equal(step, results.text(step)?, &expected)
    };
    for level in 1..=3 {
        results.text(&format!("stacked.apply{level}"))?;
        results.text(&format!("stacked.jumps{level}"))?;
        shows(&format!("stacked.{level}"), level)?;
    }
    let top = functions(results, "stacked.show")?;
    for name in ["version_proc_show", "psi_show"] {
        equal(name, state(&top, name)?.0, "JUMP".to_owned())?;
    }
    equal("trap", state(&top, "urandom_read_iter")?.0, "TRAP".to_owned())?;
    for (under, above) in [(1, 2), (2, 3)] {
        let complaint = results.complaint(&format!("stacked.under{under}"))?;
        let expected =
            format!("lucos: stacked_{under}: a later patch stands on this one (stacked_{above})");
        equal("rollback", complaint, &expected)?;
    }
    shows("stacked.still", 3)?;
    for level in [3, 2, 1] {
        results.text(&format!("stacked.back{level}"))?;
        results.text(&format!("stacked.settled{level}"))?;
        match level {
            1 => {}
            _ => shows(&format!("stacked.below{level}"), level - 1)?,
        }
    }
    let line = |step: &str, number: usize| -> Result<String, Failed> {
        Ok(results.text(step)?.lines().nth(number).ok_or("a line is missing")?.to_owned())
    };
    equal("old", line("stacked.below1", 0)?, line("stacked.0", 0)?)?;
    equal("old", line("stacked.0", 0)?.starts_with("Linux version"), true)?;
    equal("old", line("stacked.below1", 1)?.starts_with("some avg10="), true)?;
    equal("old bytes", results.text("stacked.restored")?, results.text("stacked.bytes")?)
}

fn kernel_is_content(results: &Results) -> Result<(), Failed> {
    let left = results.text("end.modules")?;
    for (patch, _) in WITHOUT_SLOT {
        equal(patch, left.contains(patch), false)?;
    }
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
