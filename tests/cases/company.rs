//! Updates beside everything else that touches the text of the guest's kernel: tracers, kprobes,
//! BPF, the kernel's own livepatch, static keys.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal, guest_program};
use serde_json::Value;

type Check = fn(&Results) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 9] = [
    ("jumps_beside_watchers", |results| beside_watchers(results, "jump")),
    ("traps_beside_watchers", |results| beside_watchers(results, "trap")),
    ("kprobes_before_an_update", kprobes_before),
    ("kprobes_after_an_update", kprobes_after),
    ("the_kernels_livepatch_first", livepatch_first),
    ("the_kernels_livepatch_later", livepatch_later),
    ("static_keys", static_keys),
    ("a_slot_that_is_a_site", slot_site),
    ("tracing_stays_healthy", healthy),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let boot = SharedBoot::new(format!("company::{series}"), move || boot(series));
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        trials.extend(CHECKS.into_iter().fold(boot.steps(&script()), add).trials());
    }
    trials
}

/// What a watcher reports of so many calls.
type Report = fn(u32) -> String;

/// What watches a function while it runs.
const WATCHERS: [(&str, Report); 5] = [
    ("function", |count| count.to_string()),
    ("function_graph", |count| count.to_string()),
    ("kprobe", |count| count.to_string()),
    ("kretprobe", |count| format!("{count} {count}")),
    ("bpf", |count| format!("fentry {count} fexit {count} returned 0")),
];

/// `show` calls the function that is replaced, once, and says which one ran. `WATCHER_on` and
/// `WATCHER_off` switch a watcher; `off` prints how many calls it saw. `probe NAME DEFINITION` sets
/// a kprobe, `armed NAME` arms it, `hits NAME` prints its hits, `unset NAME` takes it off.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules T=/sys/kernel/tracing K=/sys/kernel/livepatch
cd $T
case $(uname -r) in 6.1.*) SITE=5 ;; *) SITE=9 ;; esac
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
show() {
    case $(cat /proc/filesystems) in new) echo new ;; klp) echo klp ;; *) echo old ;; esac
}
apply() { lucos apply $M/filesystems.ko >/dev/null; }
rollback() { lucos rollback filesystems >/dev/null; }
has() { lucos list --json | grep -q "\"$1\":1"; }
jumped() { waits 'has jumping'; }

trace() { echo $2 >set_ftrace_filter && echo $1 >current_tracer; }
no_trace() { echo nop >current_tracer; echo >set_ftrace_filter; }
function_on() { trace function filesystems_proc_show; }
function_off() { grep -c ': filesystems_proc_show <-' trace; no_trace; }
function_graph_on() { trace function_graph filesystems_proc_show; }
function_graph_off() { grep -c ' filesystems_proc_show();' trace; no_trace; }

probe() { echo "${3:-p}:$1 $2" >>kprobe_events; }
armed() { echo 1 >events/kprobes/$1/enable; }
hits() { awk -v name=$1 '$1 == name { print $2 }' kprobe_profile; }
unset_probe() { echo 0 >events/kprobes/$1/enable; echo "-:$1" >>kprobe_events; }
kprobe_on() { probe entry filesystems_proc_show && armed entry; }
kprobe_off() { hits entry; unset_probe entry; }
kretprobe_on() { echo >trace; probe return 'filesystems_proc_show result=$retval:s32' r && armed return; }
kretprobe_off() { echo "$(hits return) $(grep -c 'result=0$' trace)"; unset_probe return; }

bpf_on() {
    rm -f /tmp/attached; mkfifo /tmp/end
    /trampolines filesystems_proc_show sh -c 'touch /tmp/attached; read x </tmp/end' >/tmp/counts &
    waits '[ -e /tmp/attached ]'
}
bpf_off() { echo >/tmp/end; wait; rm /tmp/end; cat /tmp/counts; }

# Before, during and after an update: a watcher that comes first and goes, comes later and stays,
# comes when all is over.
beside() {
    ${1}_on && show && apply && show && $2 && show && ${1}_off &&
        show && ${1}_on && show && rollback && show && ${1}_off &&
        show && ${1}_on && show && ${1}_off
}
trapped() { has trapping; }
"#;

/// Prints what the functions with static branches give, with the key off and on.
const VALUES: &str = r#"
B=/sys/module/branches/parameters
values() {
    for key in 0 1; do
        echo $key >$B/key
        echo $(cat $B/at_site $B/in_window $B/behind)
    done
}
"#;

fn boot(series: &str) -> Result<Run, Failed> {
    let programs = tempfile::tempdir()?;
    let program = guest_program("trampolines", programs.path())?;
    let run = Run::lucos().guest(series).timeout(900).modules("");
    Ok(run.argument("--add").argument(program).keep(programs))
}

fn script() -> Script {
    let mut script = Script::new().lines(FUNCTIONS).lines(VALUES);
    for (name, _) in WATCHERS {
        script = script.step(&format!("jump.{name}"), &format!("beside {name} jumped"));
    }
    // A kprobe in the window, armed or not, keeps the trap.
    script = script.lines("probe held filesystems_proc_show+$((SITE + 2))");
    for (name, _) in WATCHERS {
        script = script.step(&format!("trap.{name}"), &format!("beside {name} trapped"));
    }
    script = script.lines("echo -:held >>kprobe_events");
    livepatch_steps(branch_steps(kprobe_steps(script)))
        .step("end.enabled", "cat /proc/sys/kernel/ftrace_enabled")
        .step("end.kernel", COMPLAINTS)
}

fn lines(results: &Results, step: &str, expected: &[&str]) -> Result<(), Failed> {
    let found: Vec<&str> = results.text(step)?.lines().collect();
    equal(step, found.as_slice(), expected)
}

fn beside_watchers(results: &Results, redirection: &str) -> Result<(), Failed> {
    for (name, report) in WATCHERS {
        let (three, two, one) = (report(3), report(2), report(1));
        let expected = ["old", "new", "new", &three, "new", "new", "old", &two, "old", "old", &one];
        lines(results, &format!("{redirection}.{name}"), &expected)?;
    }
    Ok(())
}

fn kprobe_steps(script: Script) -> Script {
    script
        // One in the window: the trap stays, and nobody comes by until the rollback.
        .step(
            "before.inside",
            "probe inside filesystems_proc_show+$((SITE + 2)); armed inside
             show; hits inside; apply; lucos show filesystems --json >/tmp/shown
             show; hits inside; rollback; show; hits inside; unset_probe inside",
        )
        .step("before.shown", "cat /tmp/shown")
        // One on the very first instruction.
        .lines("probe first filesystems_proc_show+$SITE")
        .step("before.first", "lucos apply $M/filesystems.ko")
        .step(
            "before.first_works",
            "armed first; show; hits first; unset_probe first; apply; show; rollback; show",
        )
        // The kernel refuses them where LUCOS changed the code, and nowhere else.
        .lines(
            "settable() { for place in $(seq 0 40); do
                 probe any filesystems_proc_show+$place 2>/dev/null && echo $((place - SITE)) && echo -:any >>kprobe_events
             done; true; }",
        )
        .step("after.before", "settable")
        .step("after.trap", "probe held filesystems_proc_show+$((SITE + 2)); apply; echo -:held >>kprobe_events; settable; rollback")
        .step("after.jump", "apply; jumped; settable")
        .step("after.window", "lucos show filesystems --json")
        .step(
            "after.behind",
            "behind=$(settable | tail -n 1)
             probe behind filesystems_proc_show+$((SITE + behind)); armed behind
             show; hits behind; rollback; show; hits behind; unset_probe behind",
        )
        .step("after.after", "settable")
}

fn kprobes_before(results: &Results) -> Result<(), Failed> {
    lines(results, "before.inside", &["old", "1", "new", "1", "old", "2"])?;
    let function = &results.json("before.shown")?["function"][0];
    equal("state", &function["state"], &Value::from("TRAP"))?;
    equal("reason", &function["reason"], &Value::from("KPROBE"))?;
    let refused = results.complaint("before.first")?;
    let reason = "lucos: filesystems_proc_show: a kprobe stands on the first instruction (0x";
    equal(refused, refused.starts_with(reason), true)?;
    lines(results, "before.first_works", &["old", "1", "new", "old"])
}

fn kprobes_after(results: &Results) -> Result<(), Failed> {
    let places = |step: &str| -> Result<Vec<i64>, Failed> {
        results.text(step)?.lines().map(|line| Ok(line.parse()?)).collect()
    };
    let before = places("after.before")?;
    // The slot, the site and something in the window are there to be refused.
    equal("places", [-5, 0, 2].iter().all(|place| before.contains(place)), true)?;
    let outside = |from: i64, to: i64| -> Vec<i64> {
        before.iter().copied().filter(|place| !(from..to).contains(place)).collect()
    };
    equal("trap", places("after.trap")?, outside(0, i64::MAX))?;
    let window = results.json("after.window")?["function"][0]["window"].as_i64();
    let window = window.ok_or("no window")?;
    equal("window", (5..20).contains(&window), true)?;
    let jump = outside(0, window);
    equal("there are places behind", jump.last() > Some(&window), true)?;
    equal("jump", places("after.jump")?, jump)?;
    lines(results, "after.behind", &["new", "0", "old", "1"])?;
    equal("after", places("after.after")?, before)
}

fn livepatch_steps(script: Script) -> Script {
    script
        .lines(
            "settled() { waits '[ ! -e $K/klp_filesystems ] || [ $(cat $K/klp_filesystems/transition) = 0 ]'; }
             klp_on() { insmod $M/klp_filesystems.ko && settled; }
             klp_off() { echo 0 >$K/klp_filesystems/enabled && settled && waits '[ ! -e $K/klp_filesystems ]' && rmmod klp_filesystems; }",
        )
        .step("klp.first_on", "klp_on && show")
        .step("klp.refused", "lucos apply $M/filesystems.ko")
        .step("klp.still", "show; lucos list --json")
        .step("klp.first_off", "klp_off && show && apply && show && jumped")
        .step("klp.alone", "lucos list --json")
        .step("klp.later_on", "klp_on && show")
        .step("klp.list", "lucos list --json")
        .step("klp.list_text", "lucos list")
        .step("klp.show", "lucos show filesystems --json")
        .step("klp.show_text", "lucos show filesystems")
        .step("klp.status", "lucos status --json")
        .step("klp.later_off", "klp_off && show")
        .step("klp.list_off", "lucos list --json")
        .step("klp.rollback", "klp_on && show && rollback && show && klp_off && show")
}

fn livepatch_first(results: &Results) -> Result<(), Failed> {
    lines(results, "klp.first_on", &["klp"])?;
    let refused = results.complaint("klp.refused")?;
    let reason = "lucos: filesystems_proc_show: the kernel's own livepatch or tracer redirects this function";
    equal(refused, refused.starts_with(reason), true)?;
    equal("still", results.text("klp.still")?, "klp\n{\"patches\":[]}\n")?;
    lines(results, "klp.first_off", &["old", "new"])
}

fn livepatch_later(results: &Results) -> Result<(), Failed> {
    let patch = |step: &str| Ok::<_, Failed>(results.json(step)?["patches"][0].clone());
    equal("alone", &patch("klp.alone")?["overridden"], &Value::from(0))?;
    lines(results, "klp.later_on", &["klp"])?;
    let listed = patch("klp.list")?;
    equal("listed", &listed["state"], &Value::from("applied"))?;
    equal("listed", &listed["overridden"], &Value::from(1))?;
    let list = results.text("klp.list_text")?;
    equal(list, list.contains("filesystems  overridden  1          0       0      1"), true)?;
    let function = &results.json("klp.show")?["function"][0];
    equal("function", &function["state"], &Value::from("JUMP"))?;
    equal("function", &function["overridden"], &Value::from(true))?;
    let shown = results.text("klp.show_text")?;
    equal(shown, shown.contains("\n  overridden  by the kernel's own livepatch"), true)?;
    equal("status", &results.json("klp.status")?["overridden"], &Value::from(1))?;
    lines(results, "klp.later_off", &["new"])?;
    equal("alone again", &patch("klp.list_off")?["overridden"], &Value::from(0))?;
    lines(results, "klp.rollback", &["klp", "klp", "old"])
}

fn branch_steps(script: Script) -> Script {
    script
        .step("keys.load", "insmod $M/branches.ko")
        .step("keys.old", "values")
        .step("keys.apply", "lucos apply $M/new_branches.ko")
        .step("keys.new", "values")
        .step("keys.jumps", "waits 'has trapping' && values")
        .step("keys.show", "lucos show new_branches --json")
        .step("keys.rmmod", "rmmod branches")
        .step("slot.filter", "echo branches_at_site >set_ftrace_filter")
        .step("slot.kprobe", "probe entry branches_at_site")
        // Redirections of all kinds are among the functions that are traced together.
        .step(
            "slot.traced_together",
            "apply; jumped; echo '*_show' >set_ftrace_filter; echo ':mod:branches' >>set_ftrace_filter
             echo function >current_tracer; show; values
             for name in filesystems_proc_show branches_at_site branches_in_window branches_behind; do
                 grep -c \": $name <-\" trace
             done; no_trace; rollback",
        )
        // Rolled back while the tracer runs, with the key on.
        .step(
            "slot.traced_rollback",
            "echo ':mod:branches' >set_ftrace_filter; echo function >current_tracer
             lucos rollback new_branches >/dev/null; values; no_trace; values",
        )
        .step("slot.untraced", "echo branches_at_site >set_ftrace_filter")
        .step("slot.again", "lucos apply $M/new_branches.ko >/dev/null && values && lucos rollback new_branches >/dev/null && values")
        .step(
            "slot.traced",
            "trace function branches_at_site; values; grep -c ': branches_at_site <-' trace",
        )
        .step("slot.in_use", "lucos apply $M/new_branches.ko")
        // A check beside a tracer of other functions takes nothing from anybody.
        .step(
            "slot.checked",
            "trace function branches_behind; lucos check $M/new_branches.ko >/dev/null; no_trace
             trace function branches_at_site; values; grep -c ': branches_at_site <-' trace",
        )
        .step("slot.free", "no_trace; lucos apply $M/new_branches.ko >/dev/null && values && lucos rollback new_branches")
        .step("keys.end", "values; rmmod branches")
}

const OLD_VALUES: [&str; 2] = ["11 21 31", "12 22 32"];
const NEW_VALUES: [&str; 2] = ["111 121 131", "112 122 132"];

fn static_keys(results: &Results) -> Result<(), Failed> {
    results.text("keys.load")?;
    lines(results, "keys.old", &OLD_VALUES)?;
    results.text("keys.apply")?;
    lines(results, "keys.new", &NEW_VALUES)?;
    lines(results, "keys.jumps", &NEW_VALUES)?;
    let shown = results.json("keys.show")?;
    let expected = [
        ("branches_at_site", "JUMP", "NONE"),
        ("branches_in_window", "TRAP", "JUMP_LABEL"),
        ("branches_behind", "JUMP", "NONE"),
    ];
    let functions = shown["function"].as_array().ok_or("no functions")?;
    equal("functions", functions.len(), expected.len())?;
    for (function, (name, state, reason)) in functions.iter().zip(expected) {
        equal(name, &function["name"], &Value::from(name))?;
        equal(name, &function["module"], &Value::from("branches"))?;
        equal(name, &function["state"], &Value::from(state))?;
        equal(name, &function["reason"], &Value::from(reason))?;
    }
    let in_use = "rmmod: can't unload module 'branches': Resource temporarily unavailable";
    equal("in use", results.complaint("keys.rmmod")?, in_use)?;
    lines(results, "keys.end", &OLD_VALUES)
}

fn slot_site(results: &Results) -> Result<(), Failed> {
    // The kernel refuses to trace the function whose slot LUCOS took, and traces all others.
    for step in ["slot.filter", "slot.kprobe", "slot.untraced"] {
        equal(step, results.step(step)?.status != 0, true)?;
    }
    let traced = ["new", NEW_VALUES[0], NEW_VALUES[1], "1", "0", "2", "2"];
    lines(results, "slot.traced_together", &traced)?;
    let twice = |values: [&'static str; 2]| [values[0], values[1], values[0], values[1]];
    lines(results, "slot.traced_rollback", &twice(OLD_VALUES))?;
    lines(results, "slot.again", &[NEW_VALUES, OLD_VALUES].concat())?;
    lines(results, "slot.traced", &[OLD_VALUES[0], OLD_VALUES[1], "2"])?;
    let refused = results.complaint("slot.in_use")?;
    let reason = "lucos: branches_at_site: a tracer is attached to the slot that would be changed";
    equal(refused, refused.starts_with(reason), true)?;
    lines(results, "slot.checked", &[OLD_VALUES[0], OLD_VALUES[1], "2"])?;
    lines(results, "slot.free", &[NEW_VALUES[0], NEW_VALUES[1], "rolled back new_branches"])
}

/// After everything else.
fn healthy(results: &Results) -> Result<(), Failed> {
    lines(results, "end.enabled", &["1"])?;
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
