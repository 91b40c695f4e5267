//! Systems that test the kernel from inside, without Linux.

use std::time::Duration;

use libtest_mimic::Trial;
use lucos_tests::{bochs_self_test, self_test};
use qemu_runner::bochs::Model;

/// The systems, as the files that describe them.
const SYSTEMS: [(&str, &str); 2] = [
    ("kernel", "tests/on-target/system.toml"),
    ("vcpu", "tests/on-target/guest-suite/system.toml"),
];

const LIMIT: Duration = Duration::from_secs(120);
const MANY_LIMIT: Duration = Duration::from_secs(300);
const BOCHS_LIMIT: Duration = Duration::from_secs(180);

/// What AMD-V of Bochs has and that of QEMU's TCG has not.
const ASSISTS: [&str; 1] = ["NEXT_RIP"];

/// Each system on one, two and four processors; that of the vCPUs on another emulator's processor
/// too.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, system) in SYSTEMS {
        for cpus in [1, 2, 4] {
            let name = format!("on_target::{name}::{cpus}_processors");
            trials.push(Trial::test(name, move || self_test(system, cpus, LIMIT, &[])));
        }
    }
    let ((_, kernel), (_, vcpu)) = (SYSTEMS[0], SYSTEMS[1]);
    // The region grows with the machine.
    trials.push(Trial::test("on_target::kernel::32_processors", move || {
        self_test(kernel, 32, MANY_LIMIT, &[])
    }));
    // The guest's 1 TiB by pages of 2 MiB takes half of the region for tables.
    trials.push(Trial::test("on_target::vcpu::without_huge_pages", move || {
        self_test(vcpu, 1, LIMIT, &["-cpu", "EPYC,+svm,-pdpe1gb"])
    }));
    trials.push(Trial::test("on_target::bochs::ryzen", move || {
        bochs_self_test(vcpu, Model::Ryzen, &ASSISTS, BOCHS_LIMIT)
    }));
    trials
}
