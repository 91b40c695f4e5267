//! Patches that come back after a boot: what is enabled comes into force again when everything was
//! taken back, and what two boots did not survive is held.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::{Value, json};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let run = move || Ok(Run::lucos().guest(series).timeout(240));
        let tests = SharedBoot::new(format!("enabled::{series}"), run)
            .steps(&script())
            .check("what_is_in_force_can_be_enabled", enable)
            .check("what_nobody_has_seen_is_refused", refused)
            .check("it_comes_back_in_order", comes_back)
            .check("one_that_is_refused_stops_no_other", one_is_refused)
            .check("what_does_not_last_is_held", held)
            .check("a_word_forbids_it", forbidden)
            .check("what_is_disabled_stays_away", disabled)
            .check("the_kernel_is_content", |results| {
                equal("complaints", results.step("kernel")?.stdout.as_str(), "")
            });
        trials.extend(tests.trials());
    }
    trials
}

/// `boot` is as good as one: nothing is in force, and what `/run` had is gone.
const FUNCTIONS: &str = r#"
P=/lib/lucos/patches E=/var/lib/lucos/enabled/$(uname -r)
boot() {
    for name in $(lucos list | grep -o '^[a-z]*_[a-z]*'); do lucos rollback $name >/dev/null; done
    rm -rf /run/lucos
    for i in $(seq 50); do lucos list --json | grep -q name || return 0; sleep 0.2; done
    return 1
}
"#;

fn script() -> Script {
    let script = Script::new()
        .lines(FUNCTIONS)
        .step("nothing", "lucos enabled --json; lucos apply --enabled")
        .step("unknown", "lucos enable cmdline_word")
        .step("unseen", "lucos enable $P/cmdline_word.ko")
        .step("neither", "lucos disable cmdline_word")
        .step("apply", "lucos apply $P/version_line.ko $P/cmdline_word.ko")
        .step("enable", "lucos enable version_line && lucos enable $P/cmdline_word.ko")
        .step("now", "lucos enable --now $P/uptime_loadavg.ko; grep -c patched /proc/uptime")
        .step("files", "ls $E; cmp $P/version_line.ko $E/01-version_line.ko")
        .step("listed", "lucos enabled --json")
        .step("boot", "boot")
        .step("waiting", "lucos enabled --json")
        .step("again", "lucos apply --enabled --json")
        .step("numbers", "lucos list --json")
        .step("twice", "lucos apply --enabled")
        .step("proven", "lucos proven; cat /var/lib/lucos/attempts.json");
    let script = script
        .step("broken.boot", "boot; cp $E/02-cmdline_word.ko /tmp/whole; echo >$E/02-cmdline_word.ko")
        .step("broken", "lucos apply --enabled --json")
        .step("broken.proven", "lucos proven; cat /var/lib/lucos/attempts.json")
        .step("first", "cp /tmp/whole $E/02-cmdline_word.ko; boot; lucos apply --enabled >&2; cat /var/lib/lucos/attempts.json")
        .step("second", "lucos disable version_line; boot; lucos apply --enabled")
        .step("third", "lucos enable --untested $P/version_line.ko; boot; lucos apply --enabled --json")
        .step("third.proven", "lucos proven; lucos enabled --json")
        .step("let_go", "lucos enable --now $P/cmdline_word.ko && lucos enable --now $P/uptime_loadavg.ko && lucos apply --enabled && lucos proven >&2");
    script
        .step("damaged", "cp /var/lib/lucos/attempts.json /tmp/a; echo x >/var/lib/lucos/attempts.json; boot; lucos apply --enabled")
        .step("damaged.list", "lucos list --json; cp /tmp/a /var/lib/lucos/attempts.json")
        .step("forbidden", "sed 's/$/ lucos.noapply/' /proc/cmdline >/tmp/c; mount --bind /tmp/c /proc/cmdline; lucos apply --enabled")
        .step("allowed", "umount /proc/cmdline; lucos apply --enabled")
        .step("disable", "lucos disable --now version_line && lucos disable cmdline_word")
        .step("left", "lucos enabled --json")
        .step("rest", "lucos proven; boot; lucos apply --enabled")
        .step("kernel", COMPLAINTS)
}

/// Names and states.
fn states(list: &Value) -> Vec<(&str, &str)> {
    let entries = list["enabled"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            (text("name"), text("state"))
        })
        .collect()
}

const ALL: [&str; 3] = ["version_line", "cmdline_word", "uptime_loadavg"];

fn all(state: &'static str) -> Vec<(&'static str, &'static str)> {
    ALL.iter().map(|name| (*name, state)).collect()
}

fn enable(results: &Results) -> Result<(), Failed> {
    equal("nothing", results.text("nothing")?, "{\"enabled\":[]}\n")?;
    results.text("apply")?;
    equal("enable", results.text("enable")?, "enabled version_line\nenabled cmdline_word\n")?;
    equal("now", results.text("now")?, "enabled uptime_loadavg\n1\n")?;
    let files = "01-version_line.ko\n02-cmdline_word.ko\n03-uptime_loadavg.ko\n";
    equal("files", results.text("files")?, files)?;
    equal("listed", states(&results.json("listed")?), all("in force"))
}

fn refused(results: &Results) -> Result<(), Failed> {
    equal(
        "unknown",
        results.complaint("unknown")?,
        "lucos: cmdline_word was not applied since the boot, so its file is not known: give the file",
    )?;
    equal(
        "unseen",
        results.complaint("unseen")?,
        "lucos: cmdline_word: this build of it is not in force (--now applies it, --untested enables \
         it all the same)",
    )?;
    equal("neither", results.complaint("neither")?, "lucos: cmdline_word is not enabled")
}

fn comes_back(results: &Results) -> Result<(), Failed> {
    results.text("boot")?;
    equal("waiting", states(&results.json("waiting")?), all("waiting"))?;
    equal("again", states(&results.json("again")?), all("applied"))?;
    let list = results.json("numbers")?;
    let in_force = |name: &str| {
        let patches = list["patches"].as_array()?;
        let patch = patches.iter().find(|patch| patch["name"] == name)?;
        (patch["state"] == "applied").then(|| patch["number"].as_u64()).flatten()
    };
    let numbers: Vec<_> = ALL.iter().filter_map(|name| in_force(name)).collect();
    equal("patches in force", numbers.len(), ALL.len())?;
    equal("in order", numbers.is_sorted(), true)?;
    let lines = "version_line: in force\ncmdline_word: in force\nuptime_loadavg: in force\n";
    equal("twice", results.text("twice")?, lines)?;
    let proven = "version_line: proven\ncmdline_word: proven\nuptime_loadavg: proven\n{}";
    equal("proven", results.text("proven")?.trim_end(), proven)
}

fn one_is_refused(results: &Results) -> Result<(), Failed> {
    let expected =
        [("version_line", "applied"), ("cmdline_word", "refused"), ("uptime_loadavg", "applied")];
    let broken = results.step("broken")?;
    equal("status", broken.status, 3)?;
    let list: Value = serde_json::from_str(&broken.stdout)?;
    equal("broken", states(&list), expected.to_vec())?;
    equal("why", &list["enabled"][1]["error"]["code"], &Value::from("NOT_ELF"))?;
    // It is no attempt.
    let proven = "version_line: proven\nuptime_loadavg: proven\n{}";
    equal("proven", results.text("broken.proven")?.trim_end(), proven)
}

/// Boots that begin and of which nobody says that they have lasted: two with two of the patches, one
/// with the third.
fn held(results: &Results) -> Result<(), Failed> {
    let attempts = |step: &str| -> Result<Vec<Value>, Failed> {
        let record: Value = serde_json::from_str(results.text(step)?)?;
        let kernels = record.as_object().ok_or("no record")?;
        Ok(kernels.values().cloned().collect())
    };
    let once = json!({ "version_line": 1, "cmdline_word": 1, "uptime_loadavg": 1 });
    equal("first", attempts("first")?, vec![once])?;
    let second = "disabled version_line\ncmdline_word: applied\nuptime_loadavg: applied\n";
    equal("second", results.text("second")?, second)?;
    let third = results.step("third")?;
    equal("status", third.status, 3)?;
    let list = third.stdout.lines().last().ok_or("nothing printed")?;
    let held = [("cmdline_word", "held"), ("uptime_loadavg", "held"), ("version_line", "applied")];
    equal("third", states(&serde_json::from_str(list)?), held.to_vec())?;
    // That a boot lasts without them says nothing of them.
    let proven = results.text("third.proven")?;
    let (line, list) = proven.split_once('\n').ok_or("nothing printed")?;
    equal("proven", line, "version_line: proven")?;
    let held = [("cmdline_word", "held"), ("uptime_loadavg", "held"), ("version_line", "in force")];
    equal("still", states(&serde_json::from_str(list)?), held.to_vec())?;
    let lines = "enabled cmdline_word\nenabled uptime_loadavg\ncmdline_word: in force\n\
                 uptime_loadavg: in force\nversion_line: in force\n";
    equal("let go", results.text("let_go")?, lines)?;
    // A record that is not understood holds nothing and lets nothing go.
    equal("damaged", results.step("damaged")?.status, 1)?;
    equal("nothing is in force", results.text("damaged.list")?, "{\"patches\":[]}\n")
}

fn forbidden(results: &Results) -> Result<(), Failed> {
    let forbidden = results.step("forbidden")?;
    equal("status", forbidden.status, 3)?;
    let lines = "cmdline_word: waiting\nuptime_loadavg: waiting\nversion_line: waiting\n";
    equal("forbidden", forbidden.stdout.as_str(), lines)?;
    equal("allowed", results.text("allowed")?, lines.replace("waiting", "applied").as_str())
}

fn disabled(results: &Results) -> Result<(), Failed> {
    equal("disable", results.text("disable")?, "disabled version_line\ndisabled cmdline_word\n")?;
    let left = results.json("left")?;
    equal("left", states(&left), vec![("uptime_loadavg", "in force")])?;
    equal("rest", results.text("rest")?, "uptime_loadavg: proven\nuptime_loadavg: applied\n")
}
