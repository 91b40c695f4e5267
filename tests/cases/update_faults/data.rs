//! What goes wrong while data moves with an update, in a clear moment and with guards, while a pair
//! comes or goes, and while a write is carried.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Results, Script, equal};
use serde_json::Value;

use super::{Call, check_end, check_hashes, end, reports, run};

/// The tests.
pub fn trials() -> Vec<Trial> {
    // Some minutes.
    let mut trials = vec![
        Trial::test("update_faults::data::some_steps", || {
            script(Extent::Short).check(run(1800), |results| check(results, Extent::Short))
        })
        .with_ignored_flag(true),
    ];
    for series in ["debian-6.1", "debian-6.12"] {
        let name = format!("update_faults::data::{series}::all_steps_and_hashes");
        let long = Trial::test(name, move || {
            let run = run(7200).guest(series);
            script(Extent::Long).check(run, |results| check(results, Extent::Long))
        });
        trials.push(long.with_ignored_flag(true));
    }
    trials
}

fn check(results: &Results, extent: Extent) -> Result<(), Failed> {
    every_step_fails(results, extent)?;
    hashes(results, extent)?;
    tasks_end(results)
}

/// How much of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Some of the steps, and the hash of memory for the last failure of each kind.
    Short,
    /// All, each with its hash.
    Long,
}

/// A call, at a moment, whose steps go wrong one after the other.
#[derive(Clone, Copy, Debug)]
struct Moment {
    name: &'static str,
    call: u16,
    /// Least number of its steps whose failure must make it fail.
    least: usize,
    /// Calls of this number that go by before: so often the manager tries a clear moment first.
    skip: u8,
    /// Of how many steps one fails in the short way. The first one counts.
    stride: usize,
    /// The guest stands still for this call, so that memory can be hashed.
    stops: bool,
    /// It is for the last failure in the short way: a hash takes long.
    hashed: bool,
}

const fn moment(name: &'static str, call: u16, least: usize) -> Moment {
    Moment { name, call, least, skip: 0, stride: 1, stops: true, hashed: false }
}

/// What the manager tries first when it may not be inside.
const CLEAR_TRIES: u8 = 10;

const MOMENTS: [Moment; 9] = [
    Moment { stride: 5, ..moment("apply.clear", 3, 20) },
    Moment { skip: CLEAR_TRIES, stride: 5, hashed: true, ..moment("apply.guarded", 3, 20) },
    Moment { stride: 3, ..moment("rollback.clear", 5, 10) },
    Moment { skip: CLEAR_TRIES, stride: 3, hashed: true, ..moment("rollback.guarded", 5, 10) },
    Moment { stride: 3, ..moment("rollback.settling", 5, 5) },
    Moment { stride: 2, ..moment("drained", 10, 3) },
    moment("pair", 11, 5),
    Moment { stops: false, ..moment("unpair", 12, 1) },
    Moment { stops: false, ..moment("write", 0xff01, 0) },
];

/// `go KIND MOMENT STEP HOW` makes one call go wrong, looks at the data before and after it, and
/// leaves everything as it was. `walk KIND MOMENT SKIP STRIDE HASH` does that for the steps of one
/// moment. Values are counted here too: V is the gauge's, T that of each of two things.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules G=/sys/module/gauge_target/parameters
insmod $M/hypercall.ko
insmod $M/gauge_target.ko
V=0 T=0
echo 2 >$G/make
order() { printf '4c55ff00 %x %x %x %x' $1 $2 $3 $4 >/dev/hypercall; grep -q '^0 ' /dev/hypercall; }
waits() { for i in $(seq 600); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.05; done; return 1; }
gone() { waits "! grep -q '^gauge_wide ' /proc/modules" || echo "WRONG: not gone"; }
sides() { waits "lucos show gauge_wide --json | grep -q '\"sides\":\"$1\"'" || echo "WRONG: not $1"; }
reports() { lucos log | grep -c 'injection: '; }
report() { waits "[ \$(reports) -gt $reported ]"; lucos log | grep 'injection: ' | tail -n 1; }
must() { [ "$1" = "$2" ] || echo "WRONG: $3: $1 instead of $2"; }
add() { V=$((V + $1)); echo $1 >$G/$2; }
things() { T=$((T + $1)); echo $1 >$G/things; }
known() { must "$(cat $G/known)" "$1 $V $T $T" "$2"; }
raw() { must "$(cat $G/raw)" "raw $V $T $T" "$1, in the old form"; }
nap() { echo 1 >$G/gauge_hold; echo 1 >$G/nap; sleep 0.1; }
wake() { echo 0 >$G/gauge_hold; }
apply() { lucos apply $M/gauge_wide.ko >/dev/null 2>&1; }
back() { lucos rollback gauge_wide >/dev/null 2>&1; }
always() { "$@" || echo "WRONG: $*"; }

# What comes before a moment, if it is not so yet.
before() {
    case $1 in
    apply.guarded) nap;;
    rollback.*) grep -q '^gauge_wide ' /proc/modules && return
        [ $1 = rollback.settling ] && nap
        always apply; add 3 add; things 2
        [ $1 = rollback.guarded ] && nap;;
    drained) nap; always apply; add 3 add;;
    esac
}

# The call, and whether what it did is right.
call() {
    case $1 in
    apply.*) if apply; then
            known new applied; add 3 add; things 2
            [ $1 = apply.guarded ] && raw carried
            wake; always back
        fi
        wake; known old "not applied"; gone;;
    rollback.*) if back; then
            known old "rolled back"; add 1 add; raw "rolled back"; wake; gone
        else
            known new "not rolled back"; [ $1 = rollback.settling ] && raw "not rolled back"
        fi;;
    drained) wake; sides NEW; known new settled; add 1 add; known new written; always back
        known old "rolled back"; gone;;
    pair) echo 1 >$G/make; things 1
        must "$(cat $G/known)" "new $V $T $T 1" paired; things 1
        must "$(cat $G/known)" "new $V $T $T 2" paired
        must "$(cat $G/raw)" "raw $V $T $T 2" paired; echo 1 >$G/free;;
    unpair) echo 1 >$G/free; known new unpaired;;
    write) add 1 $2; known new written; raw written;;
    esac
}

go() {
    local how=$4
    before $2
    [ $2 = unpair ] && { echo 1 >$G/make; things 1; }
    reported=$(reports)
    order $1 $CALL $3 $how
    call $2 $([ $(($3 % 2)) = 0 ] && echo add || echo old_add)
}

# Pairs come and go, and writes are carried, while somebody is inside.
open() { case $1 in pair | unpair | write) nap; always apply;; esac; }
close() { case $1 in
    pair | unpair | write) wake; sides NEW; always back; gone;;
    rollback.*) if grep -q '^gauge_wide ' /proc/modules; then always back; wake; gone; fi;; esac; known old closed; }

walk() {
    local kind=$1 moment=$2 skip=$3 stride=$4 hash=$5 step=0 count=9999
    [ $kind = 1 ] || count=$(cat /tmp/steps.$moment)
    open $moment
    while [ $step -lt $count ]; do
        go $kind $moment $step $((skip << 8 | hash))
        if [ $kind = 1 ]; then
            report >/tmp/report
            cat /tmp/report
            grep -q 'fired false' /tmp/report && break
            grep -q 'result -' /tmp/report && echo $step >/tmp/last.$moment
        else
            echo step $step
        fi
        step=$((step + stride))
    done
    [ $kind = 1 ] && sed 's/.* steps //; s/ .*//' /tmp/report >/tmp/steps.$moment
    close $moment
    echo $V $T >/tmp/values
}
values() { read V T </tmp/values; }
echo $V $T >/tmp/values
"#;

/// What ends, and the number of the order.
const ENDS: [(&str, u8); 2] = [("liveupdate", 2), ("memory", 3)];

impl Moment {
    fn stride(&self, extent: Extent) -> usize {
        match extent {
            Extent::Short => self.stride,
            Extent::Long => 1,
        }
    }

    fn as_call(&self) -> Call {
        Call { name: self.name, number: self.call, least: self.least }
    }

    fn walk(&self, kind: u8, stride: usize, hash: bool) -> String {
        let Self { name, call, skip, stops, .. } = *self;
        let hash = u8::from(hash && stops);
        format!("values; CALL={call}; walk {kind} {name} {skip} {stride} {hash}")
    }
}

fn script(extent: Extent) -> Script {
    let mut script = Script::new().lines(FUNCTIONS);
    for moment in MOMENTS {
        let fails = moment.walk(1, moment.stride(extent), extent == Extent::Long);
        script = script.step(moment.name, &fails);
        if extent == Extent::Short && moment.hashed {
            let Moment { name, call, skip, .. } = moment;
            let last = format!(
                "values; CALL={call}; open {name}; for step in $(cat /tmp/last.{name}); do \
                 go 1 {name} $step $(({skip} << 8 | 1)); report; done; close {name}; \
                 echo $V $T >/tmp/values"
            );
            script = script.step(&format!("{name}.last"), &last);
        }
        for (task, kind) in ENDS {
            // A restart takes as long as a failure does.
            let stride = if extent == Extent::Long { 1 } else { 3 * moment.stride };
            script = script.step(
                &format!("{name}.{task}", name = moment.name),
                &moment.walk(kind, stride, false),
            );
        }
    }
    end(script)
}

fn every_step_fails(results: &Results, extent: Extent) -> Result<(), Failed> {
    for moment in MOMENTS {
        let name = moment.name;
        let reports = reports(results, name, moment.as_call())?;
        let (last, failing) = reports.split_last().ok_or("no reports")?;
        equal(
            &format!("{name}: the last one works"),
            (last.fired, last.result >= 0),
            (false, true),
        )?;
        let stride = moment.stride(extent);
        equal(&format!("{name}: steps"), failing.len(), last.steps.div_ceil(stride))?;
        equal(name, failing.iter().all(|report| report.fired), true)?;
        let failed = failing.iter().filter(|report| report.result < 0).count();
        let enough = failed >= moment.least.div_ceil(stride);
        equal(&format!("{name}: {failed} failures are enough"), enough, true)?;
    }
    Ok(())
}

fn hashes(results: &Results, extent: Extent) -> Result<(), Failed> {
    let is_hashed = |moment: &&Moment| match extent {
        Extent::Short => moment.hashed,
        Extent::Long => moment.stops,
    };
    for moment in MOMENTS.iter().filter(is_hashed) {
        let name = moment.name;
        match extent {
            Extent::Short => {
                let reports = reports(results, &format!("{name}.last"), moment.as_call())?;
                let failed: Vec<bool> = reports.iter().map(|report| report.result < 0).collect();
                equal(name, failed, vec![true])?;
                equal(name, check_hashes(&reports)?, 1)?;
            }
            Extent::Long => {
                let reports = reports(results, name, moment.as_call())?;
                equal(name, check_hashes(&reports)? > moment.least / 2, true)?;
            }
        }
    }
    Ok(())
}

fn tasks_end(results: &Results) -> Result<(), Failed> {
    let mut restarts = 0;
    for moment in MOMENTS {
        for (task, _) in ENDS {
            let name = format!("{}.{task}", moment.name);
            let text = results.text(&name)?;
            if let Some(wrong) = text.lines().find(|line| line.starts_with("WRONG: ")) {
                return Err(format!("{name}: {wrong}\n{text}").into());
            }
            let steps = text.lines().filter(|line| line.starts_with("step ")).count();
            equal(&name, steps > 0, true)?;
            restarts += steps as u64;
        }
    }
    let status = results.json("end.status")?;
    equal("restarts", &status["restarts"], &Value::from(restarts))?;
    check_end(results, restarts)
}
