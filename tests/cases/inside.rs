//! Who is inside code that is being left: a patch's module stays for as long as anybody can come
//! back to it.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

type Check = fn(&Results) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 3] = [
    ("a_pointer_keeps_the_module", pointer),
    ("callbacks_run_before_the_module_goes", callbacks),
    ("the_kernel_is_content", kernel_is_content),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let boot = SharedBoot::new(format!("inside::{series}"), move || {
            Ok(Run::of_series(series).timeout(400).modules(""))
        });
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        trials.extend(CHECKS.into_iter().fold(boot.steps(&script()), add).trials());
    }
    trials
}

/// `waits COMMAND` tries a command until it works, for at most half a minute.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules H=/sys/module/holder/parameters
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
gone() { waits "! grep -q '^$1 ' /proc/modules"; }
"#;

fn script() -> Script {
    Script::new()
        .lines(FUNCTIONS)
        .step("holder", "insmod $M/holder.ko")
        .step("pointer.apply", "lucos apply $M/pointer.ko")
        .step("pointer.call", "cat /proc/uptime")
        .step("pointer.back", "lucos rollback pointer --json")
        // Long enough for several searches.
        .step("pointer.wait", "sleep 3; cat $H/calls")
        .step("pointer.list", "lucos list --json")
        .step("pointer.show", "lucos show pointer --json")
        .step("pointer.show_text", "lucos show pointer")
        .step("pointer.release", "echo 0 >$H/hold; gone pointer; cat $H/calls")
        .step("deferred.apply", "lucos apply $M/deferred.ko")
        .step("deferred.call", "cat /proc/uptime")
        .step("deferred.back", "lucos rollback deferred >/dev/null; gone deferred; cat $H/calls")
        .step("end.kernel", COMPLAINTS)
}

/// A thread sleeps with the address of a new function on its stack, and calls it after the
/// rollback.
fn pointer(results: &Results) -> Result<(), Failed> {
    results.text("holder")?;
    results.text("pointer.apply")?;
    equal("call", results.text("pointer.call")?, "handed over\n")?;
    let back = results.json("pointer.back")?;
    equal("unloaded", &back["unloaded"], &Value::from(false))?;
    equal("calls", results.text("pointer.wait")?, "0\n")?;
    let list = results.json("pointer.list")?;
    equal("state", &list["patches"][0]["state"], &Value::from("draining"))?;
    let inside = &results.json("pointer.show")?["inside"];
    equal("thread", &inside["name"], &Value::from("holder"))?;
    let place = inside["place"].as_str().unwrap_or_default();
    equal("place", place.starts_with("called_later+0x0/"), true)?;
    let text = results.text("pointer.show_text")?;
    equal("text", text.contains("inside        holder ("), true)?;
    equal("text", text.contains("called_later+0x0/"), true)?;
    equal("released", results.text("pointer.release")?, "1\n")
}

fn callbacks(results: &Results) -> Result<(), Failed> {
    results.text("deferred.apply")?;
    equal("call", results.text("deferred.call")?, "5000 callbacks\n")?;
    // The one of the thread, and all of these.
    equal("calls", results.text("deferred.back")?, "5001\n")
}

fn kernel_is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
