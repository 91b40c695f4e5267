//! Processors that come and go.

use libtest_mimic::Failed;
use lucos_tests::{Report, Run, SharedBoot, equal, number_at};

use crate::confinement::{complaints, quiet};

const CPUS: u32 = 4;
/// How often each processor but the first is taken offline.
const ROUNDS: u32 = 5;

/// A machine that starts with one of its processors, and the tests.
pub fn shared(series: &'static str) -> SharedBoot {
    let name = format!("processors::{series}");
    let prepare = move || {
        let run = Run::lucos().racing().guest(series).cpus(CPUS).timeout(300);
        Ok(run.append("maxcpus=1"))
    };
    let script = |steps: &str| format!("{}\n{FUNCTIONS}\n{steps}", complaints());
    SharedBoot::new(name, prepare).test("brought_online_later", script(LATER), later).test(
        "offline_and_online_again",
        script(AGAIN),
        move |report| again(report, series),
    )
}

/// `timers` prints how many ticks each processor counts while a program on it sleeps shortly;
/// `pinned` prints which processors run programs.
pub const FUNCTIONS: &str = "
ticks() { awk '/LOC:/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) printf \"%s \", $i }' /proc/interrupts; }
timers() {
    set -- $(ticks); before=\"$*\"
    for cpu in $(seq 0 $(($# - 1))); do taskset -c $cpu sleep 0.1; done
    set -- $(ticks)
    for old in $before; do echo ticks $(($1 - old)); shift; done
}
pinned() {
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        echo pinned $(taskset -c $cpu cut -d ' ' -f 39 /proc/self/stat)
    done
}
";

const LATER: &str = "
echo start $(nproc)
for cpu in 1 2 3; do
    echo 1 >/sys/devices/system/cpu/cpu$cpu/online; echo online $?
done
echo all $(nproc)
pinned
timers
lucos status >/dev/null; echo lucos $?
complaints
";

fn later(report: &Report) -> Result<(), Failed> {
    report.expect("start", 1)?;
    equal("statuses", report.all("online").collect::<Vec<_>>(), vec!["0"; 3])?;
    report.expect("all", CPUS)?;
    report.expect("lucos", 0)?;
    all_work(report)?;
    quiet(report)
}

/// Every processor runs programs and has a timer.
pub fn all_work(report: &Report) -> Result<(), Failed> {
    equal("pinned", report.all("pinned").collect::<Vec<_>>(), vec!["0", "1", "2", "3"])?;
    let ticks: Vec<&str> = report.all("ticks").collect();
    equal("processors with timers", ticks.len(), 4)?;
    let standing = ticks.iter().any(|ticks| ticks.parse::<u64>().map_or(true, |ticks| ticks == 0));
    equal("a timer stands still", standing, false)
}

/// The first part brought all processors online.
const AGAIN: &str = "
echo before $(lucos status --json)
for round in 1 2 3 4 5; do
    for cpu in 1 2 3; do
        echo 0 >/sys/devices/system/cpu/cpu$cpu/online; echo offline $?
    done
    echo one $(nproc)
    for cpu in 3 1 2; do
        echo 1 >/sys/devices/system/cpu/cpu$cpu/online; echo online $?
    done
    echo all $(nproc)
done
echo after $(lucos status --json)
pinned
timers
complaints
";

fn again(report: &Report, series: &str) -> Result<(), Failed> {
    let each = (ROUNDS * (CPUS - 1)) as usize;
    for name in ["offline", "online"] {
        equal(name, report.all(name).collect::<Vec<_>>(), vec!["0"; each])?;
    }
    for (name, count) in [("one", "1"), ("all", "4")] {
        equal(name, report.all(name).collect::<Vec<_>>(), vec![count; ROUNDS as usize])?;
    }
    all_work(report)?;
    quiet(report)?;
    let (before, after) = (report.json("before")?, report.json("after")?);
    let rise = |class: &str| {
        let place = format!("/exits/{class}");
        Ok::<_, Failed>(number_at(&after, &place)? - number_at(&before, &place)?)
    };
    let each = each as u64;
    // Three stores to the mailbox wake a processor, and a kick takes it out of where it is.
    at_least("stores to the mailbox", rise("NESTED_PAGE_FAULT")?, 3 * each)?;
    at_least("kicks", rise("NMI")?, each)?;
    // 6.12 gives its processors back to LUCOS by a hypercall; 6.1 leaves them halted.
    if series == "debian-6.12" {
        at_least("processors given back", rise("HYPERCALL")?, each)?;
    }
    Ok(())
}

fn at_least(what: &str, found: u64, least: u64) -> Result<(), Failed> {
    if found >= least {
        return Ok(());
    }
    Err(format!("{what}: {found}, fewer than {least}").into())
}
