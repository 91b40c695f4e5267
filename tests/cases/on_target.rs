//! Systems that test the kernel from inside, without Linux.

use std::time::Duration;

use libtest_mimic::Trial;
use lucos_tests::{bochs_refusal, bochs_self_test, self_test};
use qemu_runner::bochs::Model;

/// The systems, as the files that describe them.
const SYSTEMS: [(&str, &str); 2] = [
    ("kernel", "tests/on-target/system.toml"),
    ("vcpu", "tests/on-target/guest-suite/system.toml"),
];

const LIMIT: Duration = Duration::from_secs(120);
const MANY_LIMIT: Duration = Duration::from_secs(300);
const BOCHS_LIMIT: Duration = Duration::from_secs(180);

/// Processors of Bochs that LUCOS can use, what it says of them, and why they: AMD-V with an assist that
/// QEMU's TCG lacks, VT-x, two with VT-x, and VT-x whose EPT has no pages of 1 GiB.
const USABLE: [(&str, (Model, u32), &[&str]); 4] = [
    ("ryzen", (Model::Ryzen, 1), &["AMD-V, assists: ", "NEXT_RIP"]),
    ("haswell", (Model::Haswell, 1), &["VT-x, secondary controls 0x10aa"]),
    ("two_haswells", (Model::Haswell, 2), &["2 processors, "]),
    ("sandy_bridge", (Model::SandyBridge, 1), &["VT-x, secondary controls "]),
];

/// Those that it cannot use, and what it says.
const UNUSABLE: [(&str, Model, &str); 3] = [
    ("lynnfield", Model::Lynnfield, "this processor lacks unrestricted guest"),
    ("penryn", Model::Penryn, "this processor lacks EPT"),
    ("celeron", Model::Celeron, "this processor offers no virtualization extension"),
];

/// Each system on one, two and four processors; that of the vCPUs on another emulator's processors
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
    for (name, processors, words) in USABLE {
        trials.push(Trial::test(format!("on_target::bochs::{name}"), move || {
            bochs_self_test(vcpu, processors, words, BOCHS_LIMIT)
        }));
    }
    // Ring 3 and its faults are the same everywhere, but for CR4 and the tables after exits.
    trials.push(Trial::test("on_target::bochs::kernel_on_haswell", move || {
        bochs_self_test(kernel, (Model::Haswell, 1), &["VT-x, secondary controls "], BOCHS_LIMIT)
    }));
    for (name, model, words) in UNUSABLE {
        trials.push(Trial::test(format!("on_target::bochs::{name}_is_refused"), move || {
            bochs_refusal(vcpu, model, &["LUCOS FAULT", words], BOCHS_LIMIT)
        }));
    }
    trials
}
