//! A Debian guest under LUCOS.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Run, boot_iso, equal};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("boot::iso::bios", iso),
        Trial::test("boot::reboot", || reboot(Run::lucos())),
        Trial::test("bare::reboot", || reboot(Run::bare())),
    ];
    for series in ["debian-6.1", "debian-6.12"] {
        for cpus in [1, 2, 4] {
            let name = format!("boot::{series}::{cpus}_processors");
            trials.push(Trial::test(name, move || processors(series, cpus)));
        }
    }
    trials
}

fn processors(series: &str, cpus: u32) -> Result<(), Failed> {
    let text = Run::lucos()
        .guest(series)
        .cpus(cpus)
        .exec("nproc; grep -c '^lucos ' /proc/modules")?
        .success()?;
    equal("processors, manager", text, format!("{cpus}\n1\n"))
}

fn iso() -> Result<(), Failed> {
    let text =
        boot_iso("nproc; lucos status >/dev/null && echo under", None, Duration::from_secs(180))?;
    equal("stdout", text.as_str(), "2\nunder\n")
}

/// The first boot leaves a mark on a disk, the second one finds it.
fn reboot(run: Run) -> Result<(), Failed> {
    let disk = tempfile::NamedTempFile::new()?;
    disk.as_file().set_len(1 << 20)?;
    let text = run
        .argument("--disk")
        .argument(disk.path())
        .exec(
            "if [ \"$(head -c 4 /dev/vda)\" = mark ]; then echo second; exit 0; fi; \
             echo first; printf mark | dd of=/dev/vda conv=fsync 2>/dev/null; reboot -f",
        )?
        .success()?;
    equal("stdout", text.as_str(), "first\nsecond\n")
}
