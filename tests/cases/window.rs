//! A thread stands in the five bytes that a jump needs: on every kind of stack, one after the
//! other. The update is in force at once, by its trap; the jump waits until the thread has left.
//!
//! The module `window` has a function for each kind, and brings a thread to the place.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

/// What the module says about the thread that it holds.
struct Spot {
    name: &'static str,
    /// The thread's RIP, from the site.
    offset: u64,
    /// Called on the stack of its task.
    own_stack: bool,
    /// Whoever holds it runs on that stack too.
    handler_on_own_stack: bool,
    interrupts_on: bool,
    /// It holds itself: it is not switched out.
    running: bool,
    /// `None`: the softirq comes on top of whatever runs.
    idle: Option<bool>,
}

impl Spot {
    const fn new(name: &'static str, offset: u64) -> Self {
        Self {
            name,
            offset,
            own_stack: true,
            handler_on_own_stack: true,
            interrupts_on: true,
            running: true,
            idle: Some(false),
        }
    }
}

const SPOTS: [Spot; 8] = [
    Spot { handler_on_own_stack: false, ..Spot::new("interrupt", 2) },
    Spot { handler_on_own_stack: false, running: false, ..Spot::new("preempted", 2) },
    Spot { handler_on_own_stack: false, idle: Some(true), ..Spot::new("idle", 2) },
    Spot { own_stack: false, handler_on_own_stack: false, idle: None, ..Spot::new("softirq", 2) },
    Spot::new("fault", 1),
    Spot::new("opcode", 1),
    Spot { handler_on_own_stack: false, interrupts_on: false, ..Spot::new("debug", 2) },
    Spot { handler_on_own_stack: false, interrupts_on: false, ..Spot::new("nmi", 1) },
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let mut tests = SharedBoot::new(format!("window::{series}"), move || boot(series));
        tests = tests.steps(&script());
        for spot in &SPOTS {
            tests = tests.check(spot.name, |results| check(results, spot));
        }
        let tests = tests.check("one_of_several", one_of_several);
        trials.extend(tests.check("kernel_is_quiet", quiet).trials());
    }
    trials
}

/// Processor 1 is for the thread that is held, 2 for the search, which has to wait for the other
/// one as long as that has its interrupts off, and 0 for the script. It makes no other process
/// while a thread is held.
///
/// `say LABEL SPOT` calls the spot's function and prints what there is to know.
const FUNCTIONS: &str = r#"
taskset -p 1 $$ >/dev/null
echo 4 >/sys/devices/virtual/workqueue/cpumask
M=/lib/lucos/modules
insmod $M/window.ko
printf '\0' >/sys/module/lucos/parameters/unload_helper
look() { while read -r name value; do eval "$name=$value"; done </dev/window; }
tell() {
    exec 3<>/dev/lucos
    echo "$1 window_$2" >&3
    # A refusal is a record behind the reply's version and number of records.
    set -- "$1" "$2" $(hexdump -v -e '1/4 "%u "' <&3)
    exec 3>&-
    [ "$3 $4" = "1 0" ] || { echo "$1 $2: error $9" >&2; exit 1; }
}
say() {
    echo "call $2 41" >/dev/window
    look
    shown=$(lucos show window_$2 --json)
    site=NONE
    case $shown in *'"state":"TRAP"'*) site=TRAP;; *'"state":"JUMP"'*) site=JUMP;; esac
    eval bytes=\$bytes_$2
    echo "$1 called $called site $site bytes $bytes phase $phase done $done result $result"
}
settled() {
    for i in $(seq 600); do
        lucos show window_$1 --json | grep -q '"state":"JUMP"' && return 0
        sleep 0.1
    done
    return 1
}
held() {
    for i in $(seq 600); do
        look
        [ $phase = held ] && return 0
        [ $done = 1 ] && break
        sleep 0.1
    done
    echo "not held: phase $phase result $result" >&2
    echo release >/dev/window
    return 1
}
spot() {
    say before $1
    lucos apply $M/window_$1.ko >/dev/null || exit 1
    settled $1 || exit 1
    say jump $1
    tell rollback $1
    say restored $1
    echo "hold $1 41" 1<>/dev/window & holder=$!
    held || exit 1
    echo "held offset $offset cpu $cpu own_stack $own_stack" \
        "handler_on_own_stack $handler_on_own_stack interrupts_on $interrupts_on" \
        "running $running idle $idle"
    tell apply $1
    say applied $1
    sleep 0.7
    say later $1
    tell rollback $1
    say back $1
    tell apply $1
    say again $1
    echo release >/dev/window
    wait $holder
    settled $1 || exit 1
    say left $1
    tell rollback $1
    say end $1
}
several() {
    echo "hold fault 41" 1<>/dev/window & holder=$!
    held || exit 1
    lucos apply $M/several.ko >/dev/null || exit 1
    sleep 2
    lucos show window_several --json
    echo release >/dev/window
    wait $holder
    for i in $(seq 100); do
        lucos show window_several --json | grep -q TRAP || break
        sleep 0.1
    done
    lucos show window_several --json
    look
    echo "released $phase $result"
    lucos rollback window_several >/dev/null
}
"#;

fn boot(series: &str) -> Result<Run, Failed> {
    Ok(Run::lucos()
        .racing()
        .guest(series)
        .cpus(3)
        .timeout(600)
        // How long a thread is held depends on how fast the machine is.
        .append("preempt=full nowatchdog rcupdate.rcu_cpu_stall_suppress=1 no_timer_check")
        .modules("window"))
}

fn script() -> Script {
    let mut script = Script::new().lines(FUNCTIONS);
    for spot in &SPOTS {
        script = script.step(spot.name, &format!("spot {}", spot.name));
    }
    script
        .step("several", "several")
        .step("applied", "lucos status --json")
        .step("kernel", COMPLAINTS)
}

/// The values of one line that a spot printed, by their names.
fn line<'a>(text: &'a str, label: &str) -> Result<BTreeMap<&'a str, &'a str>, Failed> {
    let found =
        text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == label));
    let (_, rest) = found.ok_or_else(|| format!("no line {label} in:\n{text}"))?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    Ok(words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// What the old and the new function make of the number.
const OLD: &str = "42";
const NEW: &str = "1042";

fn check(results: &Results, spot: &Spot) -> Result<(), Failed> {
    let text = results.text(spot.name)?;
    let original = line(text, "before")?["bytes"];
    is_held(text, spot)?;
    // The label, what a call gives, and what stands at the site; whether the thread is there.
    let moments = [
        ("before", OLD, "NONE", false),
        ("jump", NEW, "JUMP", false),
        ("restored", OLD, "NONE", false),
        ("applied", NEW, "TRAP", true),
        ("later", NEW, "TRAP", true),
        ("back", OLD, "NONE", true),
        ("again", NEW, "TRAP", true),
        ("left", NEW, "JUMP", false),
        ("end", OLD, "NONE", false),
    ];
    for (label, called, site, held) in moments {
        let values = line(text, label)?;
        let value = |name: &str| values.get(name).copied().unwrap_or_default();
        equal(label, value("called"), called)?;
        equal(label, value("site"), site)?;
        if held {
            equal(label, [value("phase"), value("done")], ["held", "0"])?;
        }
        check_bytes(label, value("bytes"), original, site)?;
    }
    // The thread finished the old function, although the new one was in force all the time.
    let left = line(text, "left")?;
    equal("left", [left["phase"], left["done"], left["result"]], ["released", "1", OLD])
}

/// Of three functions of one patch, only the one whose window is occupied waits for its jump.
fn one_of_several(results: &Results) -> Result<(), Failed> {
    let text = results.text("several")?;
    let mut lines = text.lines();
    for (moment, fault) in [("held", "TRAP"), ("released", "JUMP")] {
        let show: Value = serde_json::from_str(lines.next().unwrap_or_default())?;
        let state = |index: usize| show["function"][index]["state"].as_str();
        equal(moment, [0, 1, 2].map(state), [fault, "JUMP", "JUMP"].map(Some))?;
    }
    equal("the thread", lines.next(), Some(format!("released released {OLD}").as_str()))
}

/// One byte for a trap, five for a jump; the rest is untouched.
fn check_bytes(label: &str, bytes: &str, original: &str, site: &str) -> Result<(), Failed> {
    let (first, changed) = match site {
        "TRAP" => ("06", 2),
        "JUMP" => ("e9", 10),
        _ => return equal(label, bytes, original),
    };
    equal(label, bytes.get(..2), Some(first))?;
    equal(label, bytes.get(changed..), original.get(changed..))
}

fn is_held(text: &str, spot: &Spot) -> Result<(), Failed> {
    let values = line(text, "held")?;
    let expect = |name: &str, expected: u64| {
        let value = values.get(name).copied().unwrap_or_default();
        equal(name, value, expected.to_string().as_str())
    };
    expect("offset", spot.offset)?;
    expect("cpu", 1)?;
    expect("own_stack", spot.own_stack.into())?;
    expect("handler_on_own_stack", spot.handler_on_own_stack.into())?;
    expect("interrupts_on", spot.interrupts_on.into())?;
    expect("running", spot.running.into())?;
    spot.idle.map_or(Ok(()), |idle| expect("idle", idle.into()))
}

fn quiet(results: &Results) -> Result<(), Failed> {
    let status = results.json("applied")?;
    equal("applied", status["applied"].as_u64(), Some(0))?;
    equal("redirections", status["trapping"].as_u64(), Some(0))?;
    equal("restarts", status["restarts"].as_u64(), Some(0))?;
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}
