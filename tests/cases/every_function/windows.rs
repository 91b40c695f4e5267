//! Functions whose first bytes break a rule: they keep the trap, are redirected at their ftrace
//! slots, or are refused. `crates/x86-code/examples/survey.rs` lists others.

use libtest_mimic::Failed;
use lucos_tests::{Results, Script, equal};
use serde_json::Value;

use super::{TRAP, bytes, functions, number, site_offset, state};

/// What `calls.ko` calls, what the old functions give it, and what the new ones do.
const CALLS: [(&str, &str, &str); 4] = [
    ("strcasecmp", "0", "4242"),
    // BLK_STS_NOSPC
    ("errno_to_blk_status", "3", "42"),
    // -EINVAL
    ("restore_online_page_callback", "-22", "4242"),
    ("tasklet_unlock", "1", "1"),
];

/// The functions of `windows.ko` and why each keeps its trap.
const KEPT: [(&str, &str); 6] = [
    ("urandom_read_iter", "JUMP_LABEL"),
    ("restore_online_page_callback", "STATIC_CALL"),
    ("tasklet_unlock", "ALTERNATIVE"),
    ("native_read_msr_safe", "EXCEPTION_TABLE"),
    ("strcasecmp", "BRANCH"),
    ("errno_to_blk_status", "BRANCH"),
];

/// The first bytes of an instruction without and with its LOCK prefix.
const NO_LOCK: u8 = 0x3e;
const LOCK: u8 = 0xf0;

/// The steps of [`windows`]; they bring the second processor online.
pub fn windows_steps(script: Script) -> Script {
    let results = |script: Script, when: &str| {
        script
            .step(&format!("windows.{when}.calls"), "cat /sys/module/calls/parameters/results")
            .step(
                &format!("windows.{when}.urandom"),
                "head -c 5 /dev/urandom | hexdump -e '5/1 \"%c\"'",
            )
            .step(
                &format!("windows.{when}.msr"),
                "dd if=/dev/cpu/0/msr bs=8 count=1 skip=74 | hexdump -e '2/4 \"%08x\"'",
            )
            .step(
                &format!("windows.{when}.no_msr"),
                "dd if=/dev/cpu/0/msr bs=8 count=1 skip=402661411",
            )
            .step(&format!("windows.{when}.bytes"), "bytes tasklet_unlock")
            .step(&format!("windows.{when}.strcasecmp"), "bytes strcasecmp")
            .step(&format!("windows.{when}.urandom_read_iter"), "bytes urandom_read_iter")
    };
    let mut script = script
        .lines("modprobe msr")
        .step("lock.apply", "lucos apply $M/lock_at_site.ko")
        .step("lock.one", "lucos show lock_at_site --json")
        .step("lock.back", "back lock_at_site");
    script = results(script, "before")
        .step("windows.apply", "lucos apply $M/windows.ko")
        .step("windows.settled", "sleep 1; lucos show windows")
        .step("windows.show", "lucos show windows --json");
    script = results(script, "new");
    script = script
        .step("windows.processors", "echo 1 >/sys/devices/system/cpu/cpu1/online && nproc")
        .step("windows.unlocks", "cat /sys/module/windows/parameters/unlocks");
    script = results(script, "two").step("windows.back", "back windows");
    results(script, "old")
}

/// Functions that keep their traps.
pub fn windows(results: &Results) -> Result<(), Failed> {
    for what in ["apply", "back"] {
        results.text(&format!("windows.{what}"))?;
    }
    equal("processors", results.text("windows.processors")?, "2\n")?;
    for (when, is_new) in [("before", false), ("new", true), ("two", true), ("old", false)] {
        let text = |what: &str| results.text(&format!("windows.{when}.{what}"));
        for (name, old, new) in CALLS {
            let line = format!("{name} {}\n", if is_new { new } else { old });
            equal(&line, text("calls")?.contains(&line), true)?;
        }
        equal("urandom", text("urandom")? == "LUCOS", is_new)?;
        equal("MSR", text("msr")? == "4242424242424242", is_new)?;
        // A fault in the new function is handled as one in the old was.
        let no_msr = results.step(&format!("windows.{when}.no_msr"))?;
        equal("no such MSR", no_msr.status, 1)?;
        equal("no such MSR", no_msr.stderr.contains("Input/output error"), true)?;
    }
    let shown = functions(results, "windows.show")?;
    let text = results.text("windows.settled")?;
    for (name, reason) in KEPT {
        equal(name, state(&shown, name)?, ("TRAP".to_owned(), reason.to_owned()))?;
    }
    for line in ["no jump     a jump label lies in the window\n", "no jump     a static call lies"]
    {
        equal(line, text.contains(line), true)?;
    }
    for name in ["strcasecmp", "urandom_read_iter"] {
        trap_alone(results, &shown, name)?;
    }
    equal("unlocks", number(results, "windows.unlocks")? >= 1, true)?;
    lock_prefix(results)
}

/// Where a trap stands all the time, it is the only byte that differs.
fn trap_alone(results: &Results, shown: &[Value], name: &str) -> Result<(), Failed> {
    let bytes = |when: &str| bytes(results, &format!("windows.{when}.{name}"));
    let function = shown.iter().find(|function| function["name"] == name).ok_or("not shown")?;
    let offset = usize::try_from(site_offset(function).ok_or("no site")?)?;
    let mut expected = bytes("before")?;
    equal("old", bytes("old")?, expected.clone())?;
    *expected.get_mut(offset).ok_or("the site is too far behind")? = TRAP;
    equal("new", bytes("new")?, expected)
}

/// The kernel put the LOCK prefix into the window while the trap stood at the site.
fn lock_prefix(results: &Results) -> Result<(), Failed> {
    let before = bytes(results, "windows.before.bytes")?;
    let with_lock: Vec<u8> =
        before.iter().map(|byte| if *byte == NO_LOCK { LOCK } else { *byte }).collect();
    // Where the prefix is the first byte, there is no place for a trap as long as that can happen.
    let first = functions(results, "lock.one")?;
    let first = first.first().ok_or("no function")?;
    equal("lock at site", &first["at_slot"], &Value::from("SITE_RESERVED"))?;
    results.text("lock.back")?;
    equal("without LOCK", before.contains(&NO_LOCK), true)?;
    equal("with LOCK", bytes(results, "windows.old.bytes")?, with_lock)
}

/// The functions of `slots.ko`, and why each is redirected at its slot.
const AT_SLOT: [(&str, &str); 3] = [
    ("psi_show", "SITE_RESERVED"),
    ("synchronize_net", "SITE_RESERVED"),
    ("hrtimer_active", "BRANCH_TO_SITE"),
];

/// The steps of [`slots`].
pub fn slot_steps(script: Script) -> Script {
    let results = |script: Script, when: &str| {
        script
            .step(&format!("slots.{when}.psi"), "cat /proc/pressure/cpu")
            .step(&format!("slots.{when}.calls"), "cat /sys/module/calls/parameters/results")
    };
    let script = results(script, "before")
        .step("slots.apply", "lucos apply $M/slots.ko")
        .step("slots.jumps", "jumps slots 3")
        .step("slots.show", "lucos show slots --json")
        .step("slots.text", "lucos show slots");
    let script = results(script, "new")
        .step("slots.synchronized", "cat /sys/module/slots/parameters/synchronized")
        .step("slots.back", "back slots");
    results(script, "old")
}

/// Functions that are redirected at their ftrace slots.
pub fn slots(results: &Results) -> Result<(), Failed> {
    for what in ["apply", "jumps", "back"] {
        results.text(&format!("slots.{what}"))?;
    }
    for (when, is_new) in [("before", false), ("new", true), ("old", false)] {
        let text = |what: &str| results.text(&format!("slots.{when}.{what}"));
        equal("psi", text("psi")? == "new\n", is_new)?;
        let line = format!("hrtimer_active {}\n", u8::from(is_new));
        equal(&line, text("calls")?.contains(&line), true)?;
    }
    equal("synchronized", number(results, "slots.synchronized")? >= 1, true)?;
    let shown = functions(results, "slots.show")?;
    for (name, reason) in AT_SLOT {
        equal(name, state(&shown, name)?, ("JUMP".to_owned(), "NONE".to_owned()))?;
        let function = shown.iter().find(|function| function["name"] == name);
        let function = function.ok_or("not shown")?;
        equal(name, &function["at_slot"], &Value::from(reason))?;
        // The slot stands at the start or behind the ENDBR.
        equal(name, matches!(site_offset(function), Some(0 | 4)), true)?;
    }
    let line = "  at the slot the kernel itself rewrites the first instruction\n";
    equal(line, results.text("slots.text")?.contains(line), true)
}

/// Patches that are refused, the function and the reason.
const REFUSED: [(&str, &str, &str); 3] = [
    ("label_at_site", "native_sched_clock", "the kernel itself rewrites the first instruction"),
    ("branch_to_site", "stpcpy", "the function branches back to the site"),
    ("no_code", "srso_untrain_ret", "a function has an instruction that cannot be decoded"),
];

/// The steps of [`refused`].
pub fn refused_steps(mut script: Script) -> Script {
    for (patch, ..) in REFUSED {
        script = script.step(&format!("refused.{patch}"), &format!("lucos apply $M/{patch}.ko"));
    }
    script.step("refused.modules", "cut -d ' ' -f 1 /proc/modules")
}

/// Functions that have no place for a redirection.
pub fn refused(results: &Results) -> Result<(), Failed> {
    for (patch, function, reason) in REFUSED {
        let complaint = results.complaint(&format!("refused.{patch}"))?;
        let expected = format!("lucos: {function}: {reason}");
        equal(complaint, complaint.starts_with(&expected), true)?;
        let modules = results.text("refused.modules")?;
        equal(patch, modules.lines().any(|module| module == patch), false)?;
    }
    Ok(())
}
