//! Static variables of functions that are replaced: the old ones keep their values, the new ones are
//! new. Changes of our own, with values that a wrong choice would show, on both series.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use lucos_patch_builder::manifest::{Manifest, Revision};
use lucos_patch_builder::pinned;
use lucos_tests::patch::{self, Explained, explain};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal, guest_program};
use serde_json::Value;

/// A series: its manifest of fixes, which pins the kernel, and its form of the change to a secret.
#[derive(Clone, Copy)]
struct Series {
    manifest: (&'static str, &'static str),
    secret: &'static str,
}

const SERIES: [Series; 2] = [
    Series {
        manifest: ("tests/fixes/debian-6.1.toml", include_str!("../fixes/debian-6.1.toml")),
        secret: include_str!("../variables/secret-6.1.diff"),
    },
    Series {
        manifest: ("tests/fixes/debian-6.12.toml", include_str!("../fixes/debian-6.12.toml")),
        secret: include_str!("../variables/secret-6.12.diff"),
    },
];

/// The changes that are the same on both series.
const CHANGES: [(&str, &str); 3] = [
    ("counter", include_str!("../variables/counter.diff")),
    ("warned", include_str!("../variables/warned.diff")),
    ("message", include_str!("../variables/message.diff")),
];

/// Prints the kernel's messages that have a word.
const SAID: &str = "said() { dmesg | sed 's/^[^]]*] //' | grep -E \"$1\"; }";

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    SERIES.iter().flat_map(|series| of_series(*series).unwrap_or_default()).collect()
}

fn of_series(series: Series) -> Result<Vec<Trial>, Failed> {
    let (file, text) = series.manifest;
    let manifest = Manifest::parse(Path::new(file), text)?;
    let (name, pinned) = (manifest.series, manifest.running);
    let running = pinned.clone();
    let boot = SharedBoot::new(format!("variables::{name}"), move || machine(series, &running))
        .steps(&Script::new().lines(SAID))
        .steps(&counter_steps())
        .check("a_helper_s_variable_is_another_one", counter)
        .steps(&warned_steps())
        .check("a_warning_that_was_given_does_not_come_again", warned)
        .steps(&message_steps())
        .check("a_debug_message_stays_switched", message)
        .steps(&secret_steps())
        .check("what_was_done_once_is_done", secret)
        .steps(&Script::new().step("kernel", COMPLAINTS))
        .check("the_kernel_is_content", |results| {
            equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
        });
    let mut trials = boot.trials();
    trials
        .push(Trial::test(format!("variables::{name}::what_cannot_be_told_is_asked"), move || {
            asked(&pinned)
        }));
    Ok(trials)
}

fn available(pinned: &Revision) -> Result<Revision, Failed> {
    Ok(pinned::running(&patch::archive()?, pinned, patch::tell)?)
}

fn machine(series: Series, pinned: &Revision) -> Result<Run, Failed> {
    let running = available(pinned)?;
    let folder = tempfile::tempdir()?;
    let mut run = Run::lucos()
        .version(&running.kernel)
        .timeout(900)
        .argument("--add")
        .argument(guest_program("variables", folder.path())?);
    for (name, diff) in CHANGES.into_iter().chain([("secret", series.secret)]) {
        let built = build(&running, folder.path(), (name, diff), &[])?;
        equal(&format!("{name}: {}", built.stderr), built.is_success, true)?;
        states(name, &built.explanation)?;
        run = run.argument("--add").argument(folder.path().join(format!("{name}.ko")));
    }
    Ok(run.keep(folder))
}

fn build(
    running: &Revision,
    folder: &Path,
    (name, diff): (&str, &str),
    options: &[&str],
) -> Result<Explained, Failed> {
    let file = folder.join(format!("{name}.diff"));
    fs::write(&file, diff)?;
    let file = file.to_string_lossy();
    let arguments = [&[file.as_ref()], options].concat();
    explain(running, &arguments, &folder.join(format!("{name}.ko")))
}

/// What the explanation says of the variables that are in question: function, name in the source,
/// and what becomes of it.
fn states(name: &str, explanation: &Value) -> Result<(), Failed> {
    let expected: &[(&str, &str, &str)] = match name {
        "counter" => &[
            ("count_taken", "counter", "new"),
            ("iunique", "counter", "kept"),
            ("iunique", "iunique_lock", "kept"),
        ],
        "warned" => &[
            ("note_file_capabilities", "warned", "new"),
            ("warn_setuid_and_fcaps_mixed", "warned", "kept"),
        ],
        "message" => &[
            ("__do_sys_finit_module", "__UNIQUE_ID_ddebug", "kept"),
            ("__do_sys_finit_module", "__UNIQUE_ID_ddebug", "new"),
        ],
        _ => &[
            ("inet_ehashfn", "___done", "kept"),
            ("inet_ehashfn", "___done", "new"),
            ("inet_ehashfn", "___once_key", "kept"),
            ("inet_ehashfn", "___once_key", "new"),
            ("inet_ehashfn", "__already_done", "new"),
            ("inet_ehashfn", "second_secret", "new"),
        ],
    };
    let is_wanted =
        |found: &Found| expected.iter().any(|wanted| (wanted.0, wanted.1) == (&found.0, &found.1));
    let mut found = variables(explanation);
    found.retain(is_wanted);
    let expected: Vec<Found> = expected
        .iter()
        .map(|(function, name, state)| ((*function).to_owned(), (*name).to_owned(), *state))
        .collect();
    equal(&format!("variables of {name}"), found, expected)
}

/// Function, name in the source, and what becomes of a variable.
type Found = (String, String, &'static str);

/// All variables of an explanation, sorted.
fn variables(explanation: &Value) -> Vec<Found> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let variable = |variable: Value| {
        let state = match &variable["state"] {
            state if state["kept"].is_string() => "kept",
            state if state == "new" => "new",
            _ => "gone",
        };
        let name = variable["name"].as_str()?.split('.').next()?;
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let function = variable["function"].as_str().unwrap_or_default().to_owned();
        Some((function, name, state))
    };
    let objects = list(&explanation["objects"]);
    let all = objects.iter().flat_map(|object| list(&object["variables"]));
    let mut found: Vec<Found> = all.filter_map(variable).collect();
    found.sort();
    found
}

/// A file system that numbers its files with `iunique`, whose counter goes on.
fn counter_steps() -> Script {
    Script::new()
        .step(
            "counter.before",
            "modprobe vfat; modprobe loop; modprobe nls_cp437; modprobe nls_ascii; modprobe nls_iso8859-1
             dd if=/dev/zero of=/image bs=1M count=8 2>/dev/null && mkdosfs /image >/dev/null &&
             mkdir -p /files && mount -t vfat -o loop /image /files &&
             for name in a b c d; do /variables number /files/$name; done",
        )
        .step(
            "counter.applied",
            "rm /files/a /files/b; sync; echo 3 >/proc/sys/vm/drop_caches
             lucos apply /counter.ko >/dev/null && /variables number /files/e && /variables number /files/f",
        )
        .step("counter.back", "lucos rollback counter >/dev/null && /variables number /files/g; umount /files")
}

fn numbers(text: &str) -> Result<Vec<u64>, Failed> {
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

fn counter(results: &Results) -> Result<(), Failed> {
    let before = numbers(results.text("counter.before")?)?;
    let [first, .., last] = before.as_slice() else { return Err(format!("{before:?}").into()) };
    equal("numbers", before.clone(), (*first..first + 4).collect::<Vec<u64>>())?;
    let applied = numbers(results.text("counter.applied")?)?;
    equal("with the patch", applied, vec![last + 1, last + 2])?;
    equal("behind it", numbers(results.text("counter.back")?)?, vec![last + 3])
}

fn warned_steps() -> Script {
    let runs = |names: &[&str]| -> String {
        names.iter().map(|name| format!("/variables mixed /users/{name} && ")).collect()
    };
    Script::new()
        .step(
            "warned.before",
            &format!(
                "mkdir -p /users && mount -t tmpfs none /users && {} said '^warning: .*setuid|^note: '",
                runs(&["one", "two"])
            ),
        )
        .step(
            "warned.applied",
            &format!(
                "dmesg -c >/dev/null; lucos apply /warned.ko >/dev/null && {} said 'setuid|^note: '",
                runs(&["three", "four"])
            ),
        )
        .step(
            "warned.back",
            &format!(
                "dmesg -c >/dev/null; lucos rollback warned >/dev/null && {} said 'setuid|^note: '; true",
                runs(&["five"])
            ),
        )
}

fn warned(results: &Results) -> Result<(), Failed> {
    let before = results.text("warned.before")?;
    equal(before, before.lines().count(), 1)?;
    equal(before, before.starts_with("warning: `/users/one' has both setuid-root"), true)?;
    let note = "note: `/users/three' has the capabilities of its file only\n";
    equal("with the patch", results.text("warned.applied")?, note)?;
    equal("behind it", results.text("warned.back")?, "")
}

fn message_steps() -> Script {
    let switch = |flag: &str| {
        format!("echo 'func __do_sys_finit_module {flag}p' >/proc/dynamic_debug/control")
    };
    // How often the old message and the new one come while a module is loaded.
    let load = "loaded() {
        dmesg -c >/dev/null; insmod $(modprobe -D dummy | sed 's/^insmod //') && rmmod dummy
        echo old $(dmesg | grep -c 'finit_module: fd=') new $(dmesg | grep -c 'finit_module by ')
    }";
    Script::new()
        .lines(load)
        .step("message.on", &format!("loaded; {}; loaded", switch("+")))
        .step("message.applied", "lucos apply /message.ko >/dev/null; loaded")
        .step("message.off", &format!("{}; loaded", switch("-")))
        .step("message.both", &format!("{}; loaded", switch("+")))
        .step(
            "message.back",
            "lucos rollback message >/dev/null
             for n in $(seq 100); do grep -q '^message ' /proc/modules || break; sleep 0.1; done
             loaded; grep -c 'finit_module' /proc/dynamic_debug/control",
        )
}

fn message(results: &Results) -> Result<(), Failed> {
    equal("on", results.text("message.on")?, "old 0 new 0\nold 1 new 0\n")?;
    equal("with the patch", results.text("message.applied")?, "old 1 new 0\n")?;
    equal("switched off", results.text("message.off")?, "old 0 new 0\n")?;
    equal("switched on", results.text("message.both")?, "old 1 new 1\n")?;
    let back = results.text("message.back")?;
    equal(back, back.lines().next(), Some("old 1 new 0"))
}

/// TCP connections that are open while the function that finds their sockets is replaced.
fn secret_steps() -> Script {
    Script::new()
        .lines(
            "ip link set lo up
             for n in $(seq 50); do grep -q '^0*1 ' /proc/net/if_inet6 && break; sleep 0.1; done
             /variables hold 4 /stop >/held.4 & /variables hold 6 /stop >/held.6 & sleep 1",
        )
        .step(
            "secret.applied",
            "dmesg -c >/dev/null; lucos apply /secret.ko >/dev/null && sleep 1 &&
             /variables listen 65001 && sleep 1 && /variables listen 65001 && said 'secret is' | sed 's/.*second/second/' | uniq",
        )
        .step("secret.once", "/variables listen 65002 && /variables listen 65002 && said 'port 65002'")
        .step("secret.back", "lucos rollback secret >/dev/null && sleep 1 && /variables listen 65003")
        .step("secret.held", "touch /stop; sleep 1; wait; cat /held.4 /held.6")
}

fn secret(results: &Results) -> Result<(), Failed> {
    let said = results.text("secret.applied")?;
    equal(said, said.lines().last(), Some("second secret is set"))?;
    equal("once", results.text("secret.once")?.lines().count(), 1)?;
    results.text("secret.back")?;
    equal("connections", results.text("secret.held")?, "held\nheld\n")
}

/// A variable of the same name somewhere else in the function: the error names both, and the author's
/// word settles it.
fn asked(pinned: &Revision) -> Result<(), Failed> {
    let running = available(pinned)?;
    let folder = tempfile::tempdir()?;
    let diff = include_str!("../variables/asked.diff");
    let built = build(&running, folder.path(), ("asked", diff), &[])?;
    equal("built", built.is_success, false)?;
    let reason = &built.explanation["refused"][0]["reasons"][0]["ambiguous"];
    let (new, candidates) = (&reason["name"], &reason["candidates"]);
    equal("candidates", candidates.as_array().map(Vec::len), Some(1))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let old = text(&candidates[0]).split(' ').next().unwrap_or_default().to_owned();
    let (new, error) = (text(new), text(&built.explanation["error"]));
    let names = [new.as_str(), &old, "warn_setuid_and_fcaps_mixed", "--same", "--new"];
    for name in names {
        equal(&format!("{name:?} in {error}"), error.contains(name) && !name.is_empty(), true)?;
    }

    let same = format!("{old}={new}");
    let with_line = |line: String| format!("{line}\n{diff}");
    for (diff, options, state) in [
        (diff.to_owned(), vec!["--same", &same], "kept"),
        (diff.to_owned(), vec!["--new", &new], "new"),
        (with_line(format!("Lucos-Same: security/commoncap.o:{same}")), vec![], "kept"),
        (with_line(format!("Lucos-New: {new}")), vec![], "new"),
    ] {
        let built = build(&running, folder.path(), ("asked", &diff), &options)?;
        equal(&built.stderr, built.is_success, true)?;
        let state = (String::from("warn_setuid_and_fcaps_mixed"), String::from("warned"), state);
        equal("variables", variables(&built.explanation).contains(&state), true)?;
    }
    // What is about no variable is no decision.
    let built =
        build(&running, folder.path(), ("asked", diff), &["--new", &new, "--new", "none.1"])?;
    equal("built", built.is_success, false)?;
    let error = text(&built.explanation["error"]);
    equal(&error, error.contains("none.1"), true)
}
