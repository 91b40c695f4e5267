//! The guest starts another kernel by kexec while updates come and go.

use libtest_mimic::{Failed, Trial};
use lucos_debian_archive::kernel::Series;
use lucos_tests::{COMPLAINTS, Report, Run, equal, guest_program, kernels, number_at};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    [Series::Debian6_1, Series::Debian6_12]
        .map(|series| Trial::test(format!("kexec::{series}"), move || kexec(series)))
        .into_iter()
        .collect()
}

/// Both kernels run this. The first one packs its own files for the second.
const SCRIPT: &str = "
P=/lib/lucos/patches
if ! grep -q second /proc/cmdline; then
    (cd / && find . -xdev | cpio -o -H newc >/tmp/initrd 2>/dev/null)
    while :; do
        lucos apply $P/version_line.ko && lucos rollback version_line
    done >/dev/null 2>&1 &
    lucos apply $P/cmdline_word.ko >/dev/null; echo first $?
    sleep 1
    exec kexec /kernel /tmp/initrd \"$(cat /proc/cmdline | sed 's/ lucos.patched//') second\"
fi
echo processors $(nproc)
echo version $(grep -c 'was replaced while' /proc/version)
echo status $(lucos status --json)
for i in 1 2 3; do
    lucos apply $P/version_line.ko >/dev/null && grep -q 'was replaced while' /proc/version &&
        lucos rollback version_line >/dev/null
    echo update $?
done
";

fn kexec(series: Series) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let program = guest_program("kexec", folder.path())?;
    let kernel = kernels::pinned(series)?.image;
    let script = format!("{SCRIPT}\n{COMPLAINTS} | sed 's/^/complaint /'");
    Run::lucos()
        .guest(&series.to_string())
        .timeout(240)
        .argument("--add")
        .argument(format!("{}:usr/bin/kexec", program.display()))
        .argument("--add")
        .argument(format!("{}:kernel", kernel.display()))
        .keep(folder)
        .check(&script, |end| {
            equal("status", end.status, Some(0))?;
            second(&Report::new(String::from_utf8_lossy(&end.stdout)))
        })
}

/// LUCOS has forgotten the first kernel, and serves the second.
fn second(report: &Report) -> Result<(), Failed> {
    report.expect("first", 0)?;
    report.expect("processors", 2)?;
    report.expect("version", 0)?;
    let status = report.json("status")?;
    for (place, expected) in [("/patches", 0), ("/applied", 0), ("/restarts", 0)] {
        equal(place, number_at(&status, place)?, expected)?;
    }
    equal("updates", report.all("update").collect::<Vec<_>>(), vec!["0"; 3])?;
    equal("complaints", report.all("complaint").collect::<Vec<_>>(), Vec::new())
}
