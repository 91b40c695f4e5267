//! A Debian guest under LUCOS.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_debian_archive::kernel::Series;
use lucos_debian_archive::packages::{self, Consent, Need};
use lucos_tests::{Run, SharedBoot, boot_iso, equal, kernels};

use crate::{confinement, devices, nmi, steady};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("boot::iso::bios", || iso(None)),
        Trial::test("boot::iso::uefi", uefi),
        Trial::test("boot::without_huge_pages", without_huge_pages),
        Trial::test("boot::32_processors", || many_processors(32)),
        Trial::test("boot::64_processors", || many_processors(64)).with_ignored_flag(true),
        Trial::test("boot::foreign_kernel", foreign_kernel),
        Trial::test("boot::reboot", || reboot(Run::lucos(), "reboot -f")),
        Trial::test("boot::reset_without_page_tables", without_page_tables),
        Trial::test("bare::reboot", || reboot(Run::bare(), "reboot -f")),
    ];
    for series in ["debian-6.1", "debian-6.12"] {
        for cpus in [1, 2, 4] {
            trials.extend(shared(series, cpus).trials());
        }
        trials.extend(crate::processors::shared(series).trials());
    }
    // Two processors with the one kernel, one with the other: Bochs takes turns.
    for (series, cpus) in [("debian-6.1", 2), ("debian-6.12", 1)] {
        trials.extend(under_vtx(series, cpus).trials());
    }
    let control = SharedBoot::new("bare::control", || Ok(Run::bare().cpus(1)));
    trials.extend(confinement::add_control(control).trials());
    trials
}

/// Tests by the number of processors that they want.
fn shared(series: &'static str, cpus: u32) -> SharedBoot {
    let name = format!("boot::{series}::{cpus}_processors");
    let run = move || Run::lucos().guest(series).cpus(cpus);
    match cpus {
        1 => {
            let boot = SharedBoot::new(name, move || steady::prepare(run()));
            let shared = processors(boot, cpus);
            let shared = steady::add(confinement::add(shared));
            shared.ending("kernel_panic", "echo c >/proc/sysrq-trigger", 121)
        }
        2 => {
            let prepare = move || steady::prepare(run());
            steady::add(processors(devices::shared(name, prepare), cpus))
        }
        _ => {
            let run = move || Ok(run().racing().timeout(300));
            nmi::add(processors(SharedBoot::new(name, run), cpus), 300)
        }
    }
}

/// The same under VT-x.
fn under_vtx(series: &'static str, cpus: u32) -> SharedBoot {
    let name = format!("boot::bochs::{series}::{cpus}_processors");
    let run = move || Run::bochs().guest(series).cpus(cpus);
    let shared = processors(SharedBoot::new(name, move || steady::prepare(run())), cpus);
    let shared = shared
        .test("extension", "lucos status | tr -s ' '", |report| report.expect("extension", "VMX"));
    let shared = shared.test("update", UPDATE, |report| report.expect("update", 0));
    steady::add(shared)
}

fn processors(shared: SharedBoot, cpus: u32) -> SharedBoot {
    let script = "echo processors $(nproc); echo manager $(grep -c '^lucos ' /proc/modules)";
    shared.test("processors", script, move |report| {
        report.expect("processors", cpus)?;
        report.expect("manager", 1)
    })
}

/// A kernel for which there are no headers runs under LUCOS too, without the manager.
fn foreign_kernel() -> Result<(), Failed> {
    let kernel = kernels::pinned(Series::Debian6_1)?;
    let command = "nproc; grep -c '^lucos ' /proc/modules; lucos status; echo $?; cat /proc/sys/kernel/tainted";
    Run::lucos().kernel(&kernel.image).check(command, |end| {
        equal("status", end.status, Some(0))?;
        equal("it says so", end.errors().contains("the guest has no update manager"), true)?;
        equal(
            "the command says why",
            end.errors().contains("lucos: the update manager is not loaded"),
            true,
        )?;
        equal("stdout", end.stdout.as_slice(), b"2\n0\n1\n0\n")
    })
}

fn iso(firmware: Option<&str>) -> Result<(), Failed> {
    let command = "nproc; lucos status >/dev/null && echo under; [ -d /sys/firmware/efi ]; echo $?";
    let text = boot_iso(command, firmware, Duration::from_secs(240))?;
    let is_bios = u8::from(firmware.is_none());
    // UEFI writes to all serial ports before.
    let expected = format!("2\nunder\n{is_bios}\n");
    equal(&text, text.ends_with(&expected) && (text == expected || is_bios == 0), true)
}

/// The same CD-ROM in a machine with UEFI.
fn uefi() -> Result<(), Failed> {
    const FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";
    let need = Need { file: FIRMWARE, package: "ovmf" };
    packages::ensure(&[need], Consent::new(true)).map_err(|error| format!("{error:#}"))?;
    iso(Some(FIRMWARE))
}

/// An update and its rollback.
const UPDATE: &str = "
lucos apply /lib/lucos/patches/version_line.ko >/dev/null && lucos rollback version_line >/dev/null
echo update $?
";

/// The processor has no pages of 1 GiB: the guest's memory is mapped by smaller ones.
fn without_huge_pages() -> Result<(), Failed> {
    Run::lucos()
        .qemu(["-cpu", "EPYC,+svm,-pdpe1gb"])
        .check(&format!("grep -c pdpe1gb /proc/cpuinfo; {UPDATE}"), |end| {
            end.printed("0\nupdate 0\n")
        })
}

/// LUCOS's memory grows with their number.
fn many_processors(count: u32) -> Result<(), Failed> {
    Run::lucos()
        .cpus(count)
        .timeout(900)
        .check(&format!("nproc; lucos status | grep '^processors'; {UPDATE}"), |end| {
            end.printed(&format!("{count}\nprocessors    {count}\nupdate 0\n"))
        })
}

/// CR3 leads into LUCOS's region: no fault can be delivered, and the machine is reset, as it is by a
/// triple fault.
fn without_page_tables() -> Result<(), Failed> {
    let run = Run::lucos().modules("");
    reboot(
        run,
        "region=$(lucos status --json | sed 's/.*\"region_start\":\\([0-9]*\\).*/\\1/'); \
         insmod /lib/lucos/modules/page_tables.ko root=$region; sleep 1000",
    )
}

/// The first boot leaves a mark on a disk, the second one finds it.
fn reboot(run: Run, command: &str) -> Result<(), Failed> {
    let disk = tempfile::NamedTempFile::new()?;
    disk.as_file().set_len(1 << 20)?;
    run.argument("--disk")
        .argument(disk.path())
        .exec(&format!(
            "if [ \"$(head -c 4 /dev/vda)\" = mark ]; then echo second; exit 0; fi; \
             echo first; printf mark | dd of=/dev/vda conv=fsync 2>/dev/null; {command}"
        ))?
        .printed("first\nsecond\n")
}
