//! Non-maskable interrupts of the guest while LUCOS stops all its processors with the same kind
//! of interrupt.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Report, Run, SharedBoot, equal, number_at};

use crate::confinement::{complaints, quiet};
use crate::processors::{FUNCTIONS, all_work};

/// Backtraces are asked for at least so often.
const ROUNDS: usize = 5;

/// Adds the test, with so many stops, to a boot of a guest with four processors under LUCOS.
pub fn add(shared: SharedBoot, stops: u32) -> SharedBoot {
    let script = format!("stops={stops}\n{}\n{FUNCTIONS}\n{SCRIPT}", complaints());
    shared.test("backtraces_during_stops", script, move |report| check(report, stops))
}

/// One process stops all processors again and again while the other asks for backtraces, until
/// there were enough of both.
///
/// Each stop is a call of its own: of several stops in one call, only the first finds the others
/// in the guest, since they do not get back there before the next.
const SCRIPT: &str = "
cpus='0 1 2 3'
echo before $(lucos status --json)
dmesg -c >/dev/null
(
    done=0
    until [ $done -ge $stops ] && [ -e /tmp/enough-rounds ]; do
        answer=$(lucos measure-stop 1 --json 2>&1)
        case $answer in
        *'\"stops\":1}') done=$((done + 1)) ;;
        *) echo failed $answer; break ;;
        esac
    done
    echo done $done
    : >/tmp/enough-stops
) &
all_there() {
    for cpu in $cpus; do grep -q \"NMI backtrace for cpu $cpu\" /tmp/backtraces || return 1; done
}
rounds=0
until [ -e /tmp/enough-stops ]; do
    echo l >/proc/sysrq-trigger
    : >/tmp/backtraces
    for try in $(seq 100); do
        dmesg -c >>/tmp/backtraces
        all_there && break
        sleep 0.1
    done
    for cpu in $cpus; do
        set -- \"$@\" $(grep -c \"NMI backtrace for cpu $cpu\" /tmp/backtraces)
    done
    echo round $*; set --
    cat /tmp/backtraces >>/tmp/all
    rounds=$((rounds + 1))
    [ $rounds -lt 5 ] || : >/tmp/enough-rounds
done
wait
dmesg() { cat /tmp/all; }
complaints
echo after $(lucos status --json)
pinned
timers
uptime() { cut -d ' ' -f 1 /proc/uptime | tr -d .; }
start=$(uptime); sleep 1; echo slept $(($(uptime) - start))
";

fn check(report: &Report, stops: u32) -> Result<(), Failed> {
    let rounds: Vec<&str> = report.all("round").collect();
    equal("enough rounds", rounds.len() >= ROUNDS, true)?;
    for round in rounds {
        // The processor that asks prints its own backtrace without an NMI. A kick that it gets
        // meanwhile has it print another one.
        let all = round.split(' ').filter(|count| matches!(*count, "1" | "2")).count();
        equal(&format!("processors in backtraces {round:?}"), all, 4)?;
    }
    let failed: Vec<&str> = report.all("failed").collect();
    equal("stops that failed", failed, Vec::new())?;
    let done: u64 = report.number("done")?;
    equal("enough stops", done >= u64::from(stops), true)?;
    let (before, after) = (report.json("before")?, report.json("after")?);
    let rise = |place| Ok::<_, Failed>(number_at(&after, place)? - number_at(&before, place)?);
    equal("stops", rise("/stops")?, done)?;
    // At most three for each stop: a processor that is still in LUCOS when the next stop begins needs
    // none. One that needs a kick and gets none makes its stop late, and that failed above.
    let kicks = rise("/exits/NMI")?;
    equal(&format!("{kicks} kicks are enough for {done} stops"), kicks >= done, true)?;
    quiet(report)?;
    all_work(report)?;
    // In hundredths of a second. The host may have been busy.
    let slept: u64 = report.number("slept")?;
    equal(&format!("a second took {slept} hundredths"), (95..500).contains(&slept), true)
}

/// The same with many stops: it takes minutes.
pub fn trials() -> Vec<Trial> {
    let stops = 10_000;
    let prepare = || Ok(Run::lucos().racing().guest("debian-6.1").cpus(4).timeout(3600));
    let shared = SharedBoot::new("nmi::ten_thousand_stops", prepare);
    let long = |trial: Trial| trial.with_ignored_flag(true);
    add(shared, stops).trials().into_iter().map(long).collect()
}
