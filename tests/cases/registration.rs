//! Other code of the guest's kernel registers in the update manager's place, or floods LUCOS with
//! registrations: the manager takes the registration back, and the log keeps what was in it.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};

type Check = fn(&Results) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 5] = [
    ("the_manager_takes_it_back", taken_back),
    ("an_ended_one_is_renewed", renewed),
    ("the_manager_can_be_unloaded", unloaded),
    ("a_flood_leaves_the_log", flood),
    ("the_kernel_is_content", content),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let run = move || Ok(Run::lucos().guest(series).timeout(300).modules(""));
        let boot = SharedBoot::new(format!("registration::{series}"), run).steps(&script());
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        trials.extend(CHECKS.into_iter().fold(boot, add).trials());
    }
    trials
}

/// Registrations of a flood.
const FLOOD: usize = 2000;
/// Lines about registrations that a flood of them may leave, with those of all other steps.
const LINES: usize = 40;

fn script() -> Script {
    let warnings = "dmesg | grep -c 'registered again'";
    Script::new()
        .lines(
            "P=/lib/lucos/patches M=/lib/lucos/modules
             insmod $M/registrar.ko
             takes() { echo \"$@\" >/dev/registrar; cat /dev/registrar; }
             registered() { lucos log | grep -c 'update manager registered'; }",
        )
        .step("first", "lucos log | head -n 1")
        .step("apply", "lucos apply $P/version_line.ko")
        .step("new", "cat /proc/version")
        .step("other", "takes other")
        .step("taken", "takes 1")
        .step("rollback", "lucos rollback version_line")
        .step("old", "cat /proc/version")
        .step("warned", warnings)
        .step("check", "takes 1; lucos check $P/cmdline_word.ko")
        .step("ended", "takes 1 0")
        .step("apply_ended", "lucos apply $P/cmdline_word.ko && cat /proc/cmdline")
        .step("rollback_ended", "takes 1; lucos rollback cmdline_word && cat /proc/cmdline")
        .step("warned_ended", warnings)
        .step(
            "unload",
            "takes 1; for i in $(seq 50); do rmmod lucos 2>/dev/null && exit 0; sleep 0.2; done; exit 1",
        )
        .step("load", "modprobe lucos && lucos apply $P/version_line.ko")
        .step("unload_again", "lucos rollback version_line")
        .step("flood", &format!("takes {FLOOD}"))
        .step("lines", "registered")
        .step("first_after", "lucos log | head -n 1")
        .step("lost", "lucos log | grep -c 'bytes are lost'; true")
        .step("works", "lucos apply $P/version_line.ko && lucos rollback version_line")
        .step("restarts", "lucos status --json | sed 's/.*\"restarts\": *\\([0-9]*\\).*/\\1/'")
        .step("kernel", COMPLAINTS)
}

fn taken_back(results: &Results) -> Result<(), Failed> {
    let is_new = |step: &str| results.text(step).map(|text| text.contains("was replaced while"));
    results.text("apply")?;
    equal("new", is_new("new")?, true)?;
    // A kernel that is there is not forgotten: its patch could never be taken back.
    equal("another boot", results.text("other")?, "-13 1\n")?;
    equal("registered by another", results.text("taken")?, "0 0\n")?;
    equal("rollback", results.text("rollback")?, "rolled back version_line\n")?;
    equal("old", is_new("old")?, false)?;
    equal("warnings", results.text("warned")?.trim(), "1")?;
    equal("check", results.text("check")?, "0 0\ncmdline_word can be applied\n")
}

fn renewed(results: &Results) -> Result<(), Failed> {
    equal("ended", results.text("ended")?, "0 0\n")?;
    let applied = results.text("apply_ended")?;
    equal(applied, applied.starts_with("applied cmdline_word (1 function)\n"), true)?;
    equal(applied, applied.ends_with(" lucos.patched\n"), true)?;
    let restored = results.text("rollback_ended")?;
    equal(restored, restored.starts_with("0 0\nrolled back cmdline_word\n"), true)?;
    equal(restored, restored.contains("lucos.patched"), false)?;
    equal("warnings", results.text("warned_ended")?.trim(), "4")
}

fn unloaded(results: &Results) -> Result<(), Failed> {
    equal("unload", results.text("unload")?, "0 0\n")?;
    equal("load", results.text("load")?, "applied version_line (1 function)\n")?;
    results.text("unload_again").map(|_| ())
}

/// Each registration is a line of 60 bytes: without a budget four such floods, or one and the boot,
/// would have driven everything out of the log.
fn flood(results: &Results) -> Result<(), Failed> {
    equal("flood", results.text("flood")?, "0 0\n")?;
    let lines: usize = results.text("lines")?.trim().parse()?;
    equal(&format!("{lines} lines are some, and few"), (8..=LINES).contains(&lines), true)?;
    equal("first line", results.text("first_after")?, results.text("first")?)?;
    equal("gaps", results.text("lost")?, "0\n")?;
    results.text("works")?;
    equal("restarts", results.text("restarts")?, "0\n")
}

fn content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}
