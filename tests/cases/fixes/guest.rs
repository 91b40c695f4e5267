//! What the guest's shell does.

use libtest_mimic::Failed;
use lucos_patch_builder::manifest::{Calls, Fix, Sign};
use lucos_tests::fixes::OwnChange;
use lucos_tests::{COMPLAINTS, Script, equal};

/// - `calls FUNCTION COMMAND` prints how often a function of the kernel is called meanwhile;
/// - `new_calls PATCH FUNCTION COMMAND` the same of its new version, whose name ends with a number for
///   the object if the function is static;
/// - `left PATCH` prints 0 when the module is gone, which may take until the last thread is out of it;
/// - `asleep NAME` leaves 100 threads asleep, `awake NAME` wakes them and prints how many woke;
/// - `load` starts work that can go wrong, `load_ends` ends it and prints what came of it.
pub const FUNCTIONS: &str = r#"
T=/sys/kernel/tracing
calls() {
    echo "p:lucos_calls $1" >$T/kprobe_events && echo 1 >$T/events/kprobes/lucos_calls/enable || return 1
    eval "$2"
    awk '$1 == "lucos_calls" { print "calls", $2 }' $T/kprobe_profile
    echo 0 >$T/events/kprobes/lucos_calls/enable; echo >$T/kprobe_events
}
new_calls() {
    new=$(awk -v m="[$1]" -v f="^lucos_new_$2([.][0-9a-f]*)?$" '$4 == m && $3 ~ f { print $3; exit }' /proc/kallsyms)
    calls "$1:$new" "$3"
}
left() {
    for i in $(seq 300); do grep -q "^$1 " /proc/modules || break; sleep 0.1; done
    grep -c "^$1 " /proc/modules
}
ends() { for i in $(seq 600); do grep -q "$1" "$2" && return 0; sleep 0.1; done; return 1; }
asleep() {
    rm -f /tmp/$1.*; mkfifo /tmp/$1.pipe
    /fixes sleepers </tmp/$1.pipe >/tmp/$1.out 2>&1 &
    sleep 1000 >/tmp/$1.pipe 2>/dev/null & echo $! >/tmp/$1.pid
    ends asleep /tmp/$1.out
}
awake() { kill $(cat /tmp/$1.pid); ends woken /tmp/$1.out; cat /tmp/$1.out; }
load() {
    rm -f /tmp/load.*
    for n in 1 2 3; do (
        while [ ! -e /tmp/load.end ]; do
            head -c 200000 /dev/urandom >/tmp/load.$n.from
            cat /tmp/load.$n.from | cat >/tmp/load.$n.to
            cmp -s /tmp/load.$n.from /tmp/load.$n.to && echo good || echo bad
            usleep 1000
        done >/tmp/load.$n.rounds 2>&1
        echo ended >>/tmp/load.$n.rounds
    ) & done
}
load_ends() {
    touch /tmp/load.end
    for n in 1 2 3; do ends ended /tmp/load.$n.rounds; done
    echo good $(cat /tmp/load.*.rounds | grep -c good) other $(cat /tmp/load.*.rounds | grep -c -v -e good -e ended)
}
"#;

/// Prints what the kernel's log has that must not be there. A task that the deadline class loses,
/// which one of the reproducers shows, makes a kernel without the fix warn.
pub fn complaints() -> String {
    format!("{COMPLAINTS} | grep -v 'kernel/sched/deadline.c'")
}

/// Checks what `load_ends` printed.
pub fn load_is_well(printed: &str) -> Result<(), Failed> {
    let words: Vec<&str> = printed.split_whitespace().collect();
    let &["good", good, "other", other] = words.as_slice() else {
        return Err(format!("the load printed {printed:?}").into());
    };
    equal("rounds of the load that went wrong", other, "0")?;
    equal("rounds of the load", good.parse::<u64>()? >= 3, true)
}

/// Loads the module that a fix is for.
pub fn load_module(fix: &Fix) -> Script {
    match &fix.module {
        Some(module) => Script::new().lines(&format!("modprobe {module}")),
        None => Script::new(),
    }
}

/// What is done with a fix.
pub fn fix_steps(fix: &Fix) -> Script {
    let script = load_module(fix);
    match (&fix.sign, &fix.calls) {
        (Some(sign), _) => {
            script.then(&before_and_after(&fix.name, sign)).then(&back(&fix.name, sign))
        }
        (None, Some(calls)) => script.then(&apply(&fix.name)).then(&calls_back(&fix.name, calls)),
        (None, None) => script,
    }
}

fn before_and_after(name: &str, sign: &Sign) -> Script {
    before(name, sign).then(&apply(name)).then(&after(name, sign))
}

/// Looks before the patch is applied.
pub fn before(name: &str, sign: &Sign) -> Script {
    Script::new().step(&format!("{name}.before"), &sign.command)
}

/// Applies a patch.
pub fn apply(name: &str) -> Script {
    Script::new().step(&format!("{name}.apply"), &format!("lucos apply /{name}.ko"))
}

/// Looks while the patch is applied.
pub fn after(name: &str, sign: &Sign) -> Script {
    Script::new().step(&format!("{name}.after"), &sign.command)
}

/// Rolls a patch back and looks once more.
pub fn back(name: &str, sign: &Sign) -> Script {
    Script::new()
        .step(&format!("{name}.rollback"), &format!("lucos rollback {name}"))
        .step(&format!("{name}.restored"), &sign.command)
}

/// Counts calls of an applied patch's function, and those of the old one after the rollback.
pub fn calls_back(name: &str, Calls { command, function }: &Calls) -> Script {
    Script::new()
        .step(&format!("{name}.new"), &format!("new_calls {name} {function} '{command}'"))
        .step(&format!("{name}.rollback"), &format!("lucos rollback {name}"))
        .step(&format!("{name}.old"), &format!("calls {function} '{command}'"))
        .step(&format!("{name}.loaded"), &format!("left {name}"))
}

/// What is done with a change of a function that everything uses: all of it under load, with
/// threads that fell asleep in the old function and wake up in the new one, and the other way.
pub fn own_steps(change: &OwnChange) -> Script {
    let name = &change.name;
    Script::new()
        .lines("load; asleep old")
        .then(&before_and_after(name, &change.sign))
        .step(&format!("{name}.wake_old"), "awake old")
        .lines("asleep new")
        .then(&back(name, &change.sign))
        .step(&format!("{name}.wake_new"), "awake new")
        .step(&format!("{name}.load"), "load_ends")
}
