//! A new function whose last act hands a callback to a function that sleeps: the patch's module stays
//! until the callback has come back, also when the patch is rolled back meanwhile. A patch that was
//! compiled otherwise is refused.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let run = move || Ok(Run::lucos().guest(series).modules("tail_calls").timeout(180));
        let tests = SharedBoot::new(format!("tail_calls::{series}"), run)
            .steps(&script())
            .check("a_callback_keeps_the_module", a_callback_keeps_the_module)
            .check("others_are_refused", others_are_refused)
            .check("kernel_is_quiet", |results| {
                equal("complaints", results.step("kernel")?.stdout.as_str(), "")
            });
        trials.extend(tests.trials());
    }
    trials
}

const FUNCTIONS: &str = r#"
M=/lib/lucos/modules
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
loaded() { grep -q "^$1 " /proc/modules && echo loaded || echo gone; }
insmod $M/later.ko
"#;

fn script() -> Script {
    Script::new()
        .lines(FUNCTIONS)
        .step("before", "cat /proc/later")
        .step("unsaid", "lucos apply $M/unsaid.ko")
        .step("untrue", "lucos apply $M/untrue.ko")
        .step("resolve", "lucos resolve $M/unsaid.ko /tmp/unsaid.ko")
        .step("manager", "insmod /tmp/unsaid.ko $(lucos resolve $M/unsaid.ko /tmp/unsaid.ko)")
        .step("refused", "loaded unsaid; loaded untrue; cat /proc/later")
        .step("apply", "lucos apply $M/hands_on.ko")
        .lines("cat /proc/later >/tmp/later &")
        .step("waits", "waits 'grep -q 1 /sys/module/later/parameters/waiting'")
        .step("rollback", "lucos rollback hands_on")
        // Several searches for threads in the module.
        .step("kept", "sleep 3; loaded hands_on")
        .step("state", "lucos show hands_on")
        .lines("echo 0 >/sys/module/later/parameters/hold")
        .step("read", "waits '[ -s /tmp/later ]'; cat /tmp/later")
        .step("gone", "waits '[ $(loaded hands_on) = gone ]' && loaded hands_on")
        .step("after", "cat /proc/later")
        .step("kernel", COMPLAINTS)
}

fn a_callback_keeps_the_module(results: &Results) -> Result<(), Failed> {
    for step in ["apply", "waits", "rollback"] {
        results.text(step)?;
    }
    equal("while it waits", results.text("kept")?, "loaded\n")?;
    let state = results.text("state")?;
    equal(state, state.contains("draining"), true)?;
    equal("what was read", results.text("read")?, "called back\n")?;
    equal("then", results.text("gone")?, "gone\n")?;
    equal("after it", results.text("after")?, "old\n")
}

fn others_are_refused(results: &Results) -> Result<(), Failed> {
    equal("before", results.text("before")?, "old\n")?;
    let mend = "so its code could be unloaded under what it has called; its Kbuild needs \
                ccflags-y += -fno-optimize-sibling-calls -DLUCOS_NO_TAIL_CALLS";
    let refused = |module: &str, with: &str| {
        let path = format!("/lib/lucos/modules/{module}.ko");
        let expected = format!("lucos: {path}: built with tail calls{with}, {mend}");
        equal(module, results.complaint(module)?.trim_end(), expected.as_str())
    };
    refused("unsaid", "")?;
    refused("untrue", " (lucos_new_later_show ends in one of later)")?;
    // Who loads a module in another way meets the manager.
    results.text("resolve")?;
    equal("insmod", results.step("manager")?.status != 0, true)?;
    equal("refused", results.text("refused")?, "gone\ngone\nold\n")
}
