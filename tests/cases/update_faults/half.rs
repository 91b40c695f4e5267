//! A task ends between the two writes of a rollback: no processor sees one function old and the
//! other new.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Report, SharedBoot, equal};
use serde_json::Value;

use super::{FUNCTIONS, run};

/// How often `liveupdate` ends there.
const ROUNDS: usize = 20;

/// The tests.
pub fn trials() -> Vec<Trial> {
    SharedBoot::new("update_faults", || Ok(run(300).argument("--cpus").argument("2")))
        .test(
            "no_processor_sees_half_a_rollback",
            format!("{FUNCTIONS}\nrounds={ROUNDS}\n{LOOK}"),
            check,
        )
        .trials()
}

/// The second processor reads all the time what the two functions print. Looks that are like the
/// one before are left out, unless they see half.
const LOOK: &str = r#"
word() { case "$1" in *patched*) word=new;; *) word=old;; esac; }
look() {
    while [ ! -e /tmp/done ]; do
        read -r uptime </proc/uptime; read -r loadavg </proc/loadavg
        word "$uptime"; seen=$word
        word "$loadavg"; seen=$seen-$word
        case $seen in $last) ;; *) echo $seen;; esac
        case $seen in new-new | old-old) last=$seen;; *) last=;; esac
    done
}
for round in $(seq $rounds); do
    lucos apply $P/uptime_loadavg.ko >/dev/null || echo wrong apply
    rm -f /tmp/done /tmp/seen
    look >/tmp/seen &
    taskset -p 2 $! >/dev/null
    waits '[ -s /tmp/seen ]' || echo wrong look
    order 2 5 5 0
    taskset 1 lucos rollback uptime_loadavg >/dev/null || echo wrong rollback
    waits 'grep -q old-old /tmp/seen' || echo wrong end
    touch /tmp/done
    wait
    echo round $(cat /tmp/seen)
done
echo status $(lucos status --json)
"#;

/// Between the two reads of one look the functions may change, and only then.
fn check(report: &Report) -> Result<(), Failed> {
    equal("wrong", report.all("wrong").collect::<Vec<_>>(), Vec::new())?;
    let rounds: Vec<&str> = report.all("round").collect();
    equal("rounds", rounds.len(), ROUNDS)?;
    for round in rounds {
        let one_step = ["new-new old-old", "new-new new-old old-old"].contains(&round);
        equal(&format!("{round:?} is one step"), one_step, true)?;
    }
    equal("restarts", report.json("status")?["restarts"].clone(), Value::from(ROUNDS))
}
