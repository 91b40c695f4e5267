//! State that a patch keeps beside objects of the kernel.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal, guest_program};

/// Kernels that lack the fix of secretmem's accounting. The older one lacks that of who may look at tasks
/// without memory too.
const SERIES: [(&str, &str); 2] = [("debian-6.1", "6.1.0-47"), ("debian-6.12", "6.12.107+deb12")];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (series, unfixed) in SERIES {
        let boot = SharedBoot::new(format!("twins::{series}"), move || {
            Ok(Run::of_series(series).timeout(400).modules("twins"))
        });
        trials.extend(
            boot.steps(&count_steps())
                .check("each_object_has_its_twin", counts)
                .check("twins_go_when_nobody_is_inside", goes)
                .check("the_kernel_is_content", is_content)
                .trials(),
        );
        let boot = SharedBoot::new(format!("twins::{series}"), move || machine(unfixed));
        trials.extend(
            boot.steps(&secret_steps())
                .check("secretmem_both_ways", secret)
                .steps(&dumpable_steps())
                .check("a_field_in_a_hole", move |results| dumpable(results, series))
                .check("secretmem_leaves_nothing", is_content)
                .steps(&field_steps())
                .check("secretmem_without_a_twin", field)
                .trials(),
        );
    }
    trials
}

fn machine(kernel: &str) -> Result<Run, Failed> {
    let folder = tempfile::tempdir()?;
    let program = guest_program("secretmem", folder.path())?;
    let zombie = guest_program("zombie", folder.path())?;
    Ok(Run::lucos()
        .version(kernel)
        .timeout(400)
        .modules("twins")
        .append("secretmem.enable=1")
        .argument("--add")
        .argument(program)
        .argument("--add")
        .argument(format!("{}:usr/bin/zombie", zombie.display()))
        .keep(folder))
}

const FUNCTIONS: &str = r#"
M=/lib/lucos/modules P=/sys/module/twin_user/parameters
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
gone() { waits "! grep -q '^$1 ' /proc/modules"; }
"#;

/// Two threads with 20,000 events each, and 200 interrupts with one for each of 64 things.
const EVENTS: u32 = 2 * 20_000 + 200 * 64;

fn count_steps() -> Script {
    Script::new()
        .lines(FUNCTIONS)
        .step("load", "insmod $M/twin_user.ko && lucos apply $M/counted.ko")
        .step("count.run", "echo 20000 >$P/run; cat $P/twins")
        .step("count.show", "lucos show counted --json")
        .step("count.show_text", "lucos show counted")
        .step("count.end", "echo 1 >$P/end; cat $P/twins")
        .step("count.empty", "lucos show counted --json")
        // Twins are left, and somebody is inside.
        .lines("echo 64 >$P/run; echo 1 >$P/hold; echo 1 >$P/nap")
        .step(
            "go.sleeps",
            "waits 'grep -q msleep $(grep -ls napper /proc/[0-9]*/comm | sed s/comm/stack/)'",
        )
        .step("go.back", "lucos rollback counted")
        .step("go.again", "lucos apply $M/counted.ko")
        .step("go.left", "sleep 2; cat $P/twins")
        .step("go.wake", "echo 0 >$P/hold; gone counted; cat $P/twins")
        .step(
            "go.anew",
            "lucos apply $M/counted.ko >/dev/null && echo 64 >$P/run; lucos show counted --json",
        )
        .step("go.back_anew", "lucos rollback counted >/dev/null; gone counted")
        .step("end.kernel", COMPLAINTS)
}

fn counts(results: &Results) -> Result<(), Failed> {
    results.text("load")?;
    let (made, dropped, counted) = twins(results.text("count.run")?)?;
    // Of two makers one's twin was dropped, with nothing counted.
    equal("made", (made - dropped, counted), (64, 0))?;
    let shown = results.json("count.show")?;
    equal("twins", &shown["twins"][0]["name"], &"count_of".into())?;
    equal("twins", &shown["twins"][0]["count"], &64.into())?;
    let text = results.text("count.show_text")?;
    equal("text", text.contains("twins         count_of: 64\n"), true)?;
    let (made, dropped, counted) = twins(results.text("count.end")?)?;
    equal("all dropped", (made - dropped, counted), (0, EVENTS))?;
    equal("twins", &results.json("count.empty")?["twins"][0]["count"], &0.into())
}

fn goes(results: &Results) -> Result<(), Failed> {
    results.text("go.sleeps")?;
    results.text("go.back")?;
    equal(
        "again",
        results.complaint("go.again")?,
        "lucos: counted: an update on the same data has not settled yet",
    )?;
    let (made, dropped, _) = twins(results.text("go.left")?)?;
    equal("left", made - dropped, 64)?;
    let (made, dropped, _) = twins(results.text("go.wake")?)?;
    equal("dropped", made - dropped, 0)?;
    equal("anew", &results.json("go.anew")?["twins"][0]["count"], &64.into())?;
    results.text("go.back_anew").map(|_| ())
}

/// `made A dropped B counted C`
fn twins(text: &str) -> Result<(u32, u32, u32), Failed> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["made", made, "dropped", dropped, "counted", counted] => {
            Ok((made.parse()?, dropped.parse()?, counted.parse()?))
        }
        _ => Err(format!("made, dropped and counted: {text:?}").into()),
    }
}

/// `secret NAME PAGES` starts a program that may lock four; `on FD NAME LINES` lets it go on and
/// waits until it has printed so many lines.
const SECRET: &str = r#"
M=/lib/lucos/modules
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
gone() { waits "! grep -q '^$1 ' /proc/modules"; }
printed() { waits "[ \$(grep -c . /tmp/$1.out) -ge $2 ]"; cat /tmp/$1.out; }
secret() {
	(ulimit -l 16; exec /secretmem $2 </tmp/$1.in >/tmp/$1.out 2>&1) &
	printed $1 1
}
on() { echo >&$1; printed $2 $3; }
"#;

fn secret_steps() -> Script {
    Script::new()
        .lines(SECRET)
        .lines("for name in early late next field; do mkfifo /tmp/$name.in; done")
        .lines("exec 3<>/tmp/early.in 4<>/tmp/late.in 5<>/tmp/next.in 6<>/tmp/field.in")
        .step("early.first", "secret early 32")
        .step("secret.apply", "lucos apply $M/secretmem_fix.ko")
        .step("early.second", "on 3 early 2")
        .step("early.closed", "on 3 early 3")
        .step("late.first", "secret late 32")
        .step("secret.twins", "lucos show secretmem --json")
        .step("secret.back", "lucos rollback secretmem >/dev/null; gone secretmem_fix")
        .step("late.second", "on 4 late 2")
        .step("late.closed", "on 4 late 3")
        .step("secret.again", "lucos apply $M/secretmem_fix.ko")
        .step("next.first", "secret next 32")
        .step("next.closed", "on 5 next 2; on 5 next 3")
        .step("secret.empty", "lucos show secretmem --json")
        .step("secret.back_again", "lucos rollback secretmem >/dev/null; gone secretmem_fix")
}

/// A file opened before the update and closed after it, one opened under the new functions and
/// closed after the rollback, and one after both: what they locked is given back.
fn secret(results: &Results) -> Result<(), Failed> {
    equal("old", results.text("early.first")?, "first 16\n")?;
    results.text("secret.apply")?;
    equal("new", results.text("early.second")?, "first 16\nsecond 4\n")?;
    equal("closed", results.text("early.closed")?, "first 16\nsecond 4\nclosed\n")?;
    equal("new", results.text("late.first")?, "first 4\n")?;
    equal("twins", &results.json("secret.twins")?["twins"][0]["count"], &1.into())?;
    results.text("secret.back")?;
    equal("old", results.text("late.second")?, "first 4\nsecond 16\n")?;
    equal("closed", results.text("late.closed")?, "first 4\nsecond 16\nclosed\n")?;
    results.text("secret.again")?;
    equal("next", results.text("next.first")?, "first 4\n")?;
    equal("closed", results.text("next.closed")?.ends_with("closed\n"), true)?;
    equal("twins", &results.json("secret.empty")?["twins"][0]["count"], &0.into())?;
    results.text("secret.back_again").map(|_| ())
}

/// `leaves NAME DUMPABLE` makes a zombie that was or was not dumpable, `looks NAME...` says whether somebody
/// of its user may read what only a tracer may.
fn dumpable_steps() -> Script {
    Script::new()
        .lines(
            "leaves() { zombie leave $2 >/tmp/$1 & waits \"[ -s /tmp/$1 ]\"; }
             looks() { for zombie in $@; do zombie look $(cat /tmp/$zombie); done; }
             leaves early 1; leaves early_secret 0",
        )
        .step("dumpable.before", "looks early early_secret")
        .step("dumpable.apply", "lucos apply $M/user_dumpable.ko")
        .lines("leaves late 1; leaves late_secret 0")
        .step("dumpable.new", "looks early early_secret late late_secret")
        .step("dumpable.back", "lucos rollback user_dumpable >/dev/null; gone user_dumpable")
        .step("dumpable.after", "looks early early_secret late late_secret")
        .step("dumpable.again", "lucos apply $M/user_dumpable.ko >/dev/null; looks early early_secret late late_secret; lucos rollback user_dumpable >/dev/null; gone user_dumpable")
        .step("end.kernel", COMPLAINTS)
}

/// Who died under new code has the bit or not; who died before it has none, and counts as secret. The kernel
/// of 6.12 has the fix with a bit of its own.
fn dumpable(results: &Results, series: &str) -> Result<(), Failed> {
    let secret = if series == "debian-6.1" { "readable" } else { "denied" };
    let lines = |words: &[&str]| words.iter().map(|word| format!("{word}\n")).collect::<String>();
    equal("before", results.text("dumpable.before")?, &lines(&["readable", secret]))?;
    results.text("dumpable.apply")?;
    let new = lines(&["denied", "denied", "readable", "denied"]);
    equal("new", results.text("dumpable.new")?, &new)?;
    results.text("dumpable.back")?;
    let old = lines(&["readable", secret, "readable", secret]);
    equal("after", results.text("dumpable.after")?, &old)?;
    equal("again", results.text("dumpable.again")?, &new)
}

fn field_steps() -> Script {
    Script::new()
        // Without a page it only opens and closes.
        .step("field.first", "secret field 0")
        .step("field.apply", "lucos apply $M/secretmem_field.ko")
        .step("field.second", "on 6 field 2")
        .step("field.closed", "echo >&6; sleep 2; cat /tmp/field.out")
        .step("field.kernel", COMPLAINTS)
}

/// The fix as it stands in the sources meets an inode that has no state.
fn field(results: &Results) -> Result<(), Failed> {
    equal("old", results.text("field.first")?, "first 0\n")?;
    results.text("field.apply")?;
    equal("new", results.text("field.second")?, "first 0\nsecond 0\n")?;
    equal("killed", results.text("field.closed")?, "first 0\nsecond 0\n")?;
    let log = &results.step("field.kernel")?.stdout;
    equal("oops", log.contains("BUG: kernel NULL pointer dereference"), true)
}

fn is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
