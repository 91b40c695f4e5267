//! Memory and processors that are added while the machine runs.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{MONITOR, Report, Run, Script, SharedBoot, equal};
use serde_json::json;

use crate::attacks::ATTACKS;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let boot = SharedBoot::new(format!("added::{series}"), move || {
            let run = Run::lucos().guest(series).timeout(300);
            run.modules("")
                .qemu(["-m", "1024,slots=2,maxmem=4G", "-smp", "2,maxcpus=3"])
                .qemu(["-object", "memory-backend-ram,id=virtio,size=256M"])
                .qemu(["-device", "virtio-mem-pci,id=virtio-mem,memdev=virtio,memaddr=0x110000000"])
                .qemu(["-object", "memory-backend-ram,id=persistent,size=128M"])
                .qemu(["-device", "virtio-pmem-pci,memdev=persistent,memaddr=0x120000000"])
                .own_monitor()
        });
        trials.extend(
            boot.steps(&Script::new().lines(MONITOR))
                .test("memory_is_the_guests", format!("{ATTACKS}{MEMORY}"), memory)
                .test("a_processor_is_told_apart", PROCESSOR, move |report| {
                    processor(report, series)
                })
                .trials(),
        );
    }
    trials
}

/// Memory of each kind is taken for memory by every hypercall before Linux uses it; then Linux uses
/// it, first of all others, and an update works.
const MEMORY: &str = r#"
ends() {
    echo $1 >/sys/module/attacks/parameters/at
    echo ends $(cat /sys/module/attacks/parameters/at)
}
total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
blocks=/sys/devices/system/memory
before=$(total)
# Else Linux 6.12 uses it at once, and what is written there below is somebody's.
echo offline >$blocks/auto_online_blocks
monitor 'object_add memory-backend-ram,id=module,size=256M'
monitor 'device_add pc-dimm,memdev=module,addr=0x100000000'
monitor 'qom-set virtio-mem requested-size 256M'
for i in $(seq 100); do [ -e $blocks/memory33 ] && [ -e $blocks/memory35 ] && break; sleep 0.1; done
for place in 0x100000000 0x10ffff000 0x110000000 0x11ffff000 0x120000000 0x127fff000; do ends $place; done
echo version $(devmem 0x120000000 32)
for block in 32 33 34 35; do echo online_kernel >$blocks/memory$block/state; done
echo grown $(($(total) - before))
for i in 1 2 3 4 5; do
    lucos apply /lib/lucos/patches/version_line.ko >/dev/null && lucos rollback version_line >/dev/null
    echo update $?
done
"#;

fn memory(report: &Report) -> Result<(), Failed> {
    // Bytes of QUERY and LOG, and the error of a registration that is all zeros.
    equal("ends", report.all("ends").collect::<Vec<_>>(), vec!["208 16 -13"; 6])?;
    report.expect("version", "0x00000001")?;
    report.expect("grown", 512 * 1024)?;
    equal("updates", report.all("update").collect::<Vec<_>>(), vec!["0"; 5])
}

/// A processor that comes after LUCOS has started is none of its own: it does not start, the guest
/// goes on, and the status names it. Linux 6.1 waits ten seconds for it; 6.12 does not take it, on the
/// bare machine neither.
const PROCESSOR: &str = "
echo before $(lucos status --json)
monitor 'device_add EPYC-x86_64-cpu,socket-id=0,core-id=2,thread-id=0'
for i in $(seq 100); do
    told=$(dmesg | grep -c -e 'CPU2 has been hot-added' -e 'Unable to map lapic')
    [ $told = 0 ] || break; sleep 0.1
done
echo told $told
echo after $(lucos status --json)
echo named $(lucos status | grep -c '^outside  *processor 2 ')
echo 1 >/sys/devices/system/cpu/cpu2/online; echo online $?
echo processors $(nproc)
lucos apply /lib/lucos/patches/version_line.ko && lucos rollback version_line >/dev/null; echo update $?
";

fn processor(report: &Report, series: &str) -> Result<(), Failed> {
    let is_taken = series == "debian-6.1";
    report.expect("told", 1)?;
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
