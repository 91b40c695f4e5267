//! Memory and processors that are added while the machine runs.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{MONITOR, Report, Run, Script, SharedBoot, equal};
use serde_json::json;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let boot = SharedBoot::new(format!("added::{series}"), move || {
            let run = Run::lucos().guest(series).timeout(300);
            run.qemu(["-m", "1024,slots=2,maxmem=4G", "-smp", "2,maxcpus=3"]).own_monitor()
        });
        trials.extend(
            boot.steps(&Script::new().lines(MONITOR))
                .test("a_processor_is_told_apart", PROCESSOR, move |report| {
                    processor(report, series)
                })
                .trials(),
        );
    }
    trials
}

/// A processor that comes after LUCOS has started is none of its own: it does not start, the guest
/// goes on, and the status names it. Linux 6.1 waits ten seconds for it; 6.12 does not take it, on the
/// bare machine neither.
const PROCESSOR: &str = "
echo before $(lucos status --json)
monitor 'device_add EPYC-x86_64-cpu,socket-id=0,core-id=2,thread-id=0'
for i in $(seq 100); do
    dmesg | grep -q -e 'CPU2 has been hot-added' -e 'Unable to map lapic' && break; sleep 0.1
done
echo told $?
echo after $(lucos status --json)
echo named $(lucos status | grep -c '^outside  *processor 2 ')
echo 1 >/sys/devices/system/cpu/cpu2/online; echo online $?
echo processors $(nproc)
lucos apply /lib/lucos/patches/version_line.ko && lucos rollback version_line >/dev/null; echo update $?
";

fn processor(report: &Report, series: &str) -> Result<(), Failed> {
    let is_taken = series == "debian-6.1";
    report.expect("told", 0)?;
    equal("outside before", &report.json("before")?["outside"], &json!([]))?;
    equal(
        "outside",
        &report.json("after")?["outside"],
        &if is_taken { json!([2]) } else { json!([]) },
    )?;
    report.expect("named", u8::from(is_taken))?;
    report.expect("online", 1)?;
    report.expect("processors", 2)?;
    report.expect("update", 0)
}
