//! A Debian guest under LUCOS.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Run, boot_iso, equal};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("boot::iso::bios", iso)];
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
    let text = boot_iso(
        "nproc; lucos status >/dev/null && echo under",
        None,
        Duration::from_secs(180),
    )?;
    equal("stdout", text.as_str(), "2\nunder\n")
}
