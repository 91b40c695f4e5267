//! Data in another form: variables and things that are made and freed, moved with an update and back.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{BOCHS, COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

type Check = fn(&Results) -> Result<(), Failed>;

/// What runs under Bochs too.
const MOVES: [(&str, Check); 7] = [
    ("variables_move_with_an_update_and_back", variables),
    ("things_get_twins_and_lose_them", things),
    ("whoever_is_inside_writes_his_own_form", inside),
    ("a_shared_field_is_not_carried", shared),
    ("more_come_and_go_than_lucos_remembers", many),
    ("patches_with_data_in_one_step", group),
    ("of_several_patches_with_data_one_fails", group_fails),
];

/// What takes too long there.
const MORE: [(&str, Check); 4] = [
    ("what_cannot_go_back_is_rounded", lossy),
    ("a_transfer_that_fails_changes_nothing", failures),
    ("a_hundred_cycles_lose_no_unit", cycles),
    ("every_store_of_every_context_counts", stores),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for machine in ["debian-6.1", "debian-6.12", BOCHS] {
        let prepare = move || {
            let run = Run::of_series(machine).timeout(900).modules("data");
            Ok(run.append(WORDS))
        };
        let boot = SharedBoot::new(format!("data::{machine}"), prepare).long(machine == BOCHS);
        let add = |boot: SharedBoot, (name, check): (&str, Check)| boot.check(name, check);
        let (script, more) = match machine {
            BOCHS => (moves(), [].as_slice()),
            _ => (more_steps(moves()), MORE.as_slice()),
        };
        let script = script.step("end.kernel", COMPLAINTS);
        let checks = MOVES.iter().chain(more).copied();
        let boot = checks.fold(boot.steps(&script), add);
        trials.extend(boot.check("the_kernel_is_content", is_content).trials());
    }
    trials
}

/// Words for the kernel. Writers in interrupts that have each store carried leave an emulated machine
/// on a busy host no time for anything else, longer than the kernel's watchdogs wait.
const WORDS: &str = "nowatchdog rcupdate.rcu_cpu_stall_timeout=300";

/// `raw` is the memory of the old form; `units` and `things` are what the code that runs knows.
/// `settled NAME` waits until only one side of a patch's data lives, `gone NAME` until it is unloaded.
const FUNCTIONS: &str = r#"
M=/lib/lucos/modules
T=/sys/module/data_target/parameters
insmod $M/data_target.ko
waits() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.2; done; return 1; }
gone() { waits "! grep -q '^$1 ' /proc/modules"; }
settled() { waits "lucos show $1 --json | grep -q '\"sides\":\"NEW\"'"; }
raw() { cat $T/raw; }
units() { cat $T/units; }
add() { echo $1 >$T/units; }
things() { cat $T/things; }
"#;

fn moves() -> Script {
    let script = Script::new()
        .lines(FUNCTIONS)
        .step("before", "add 5; raw; units")
        .step("check", "lucos check $M/data_wider.ko; raw")
        .step("apply", "lucos apply $M/data_wider.ko")
        .step("applied", "units")
        .step("written", "add 3; add 4; units")
        .step("settled", "settled data_wider; lucos show data_wider --json")
        .step("show.text", "lucos show data_wider")
        .step("written.settled", "add 1; units")
        .step("back", "lucos rollback data_wider")
        .step("restored", "raw; units")
        .step("again", "gone data_wider && lucos apply $M/data_wider.ko && units")
        .step("again.back", "lucos rollback data_wider && gone data_wider && raw");
    group_steps(many_steps(inside_steps(thing_steps(script))))
}

fn more_steps(script: Script) -> Script {
    store_steps(cycle_steps(failure_steps(lossy_steps(script))))
}

/// What the old form holds: the total, the sum of all processors, and the slots.
fn numbers(text: &str) -> Result<Vec<i64>, Failed> {
    let number = |word: &str| word.parse().map_err(|error| format!("{text:?}: {error}").into());
    text.lines().next().unwrap_or_default().split(' ').take(6).map(number).collect()
}

fn variables(results: &Results) -> Result<(), Failed> {
    let before = numbers(results.text("before")?)?;
    let [total, local, slots @ ..] = before.as_slice() else { return Err("no numbers".into()) };
    equal("before", (*total, slots), (6, [10, 25, 30, 40].as_slice()))?;
    equal("old code", results.text("before")?.contains("old total 6 "), true)?;
    let checked = results.text("check")?;
    equal("check", checked.starts_with("data_wider can be applied\n6 "), true)?;
    equal("apply", results.text("apply")?, "applied data_wider (6 functions, 5 data versions)\n")?;
    let applied = format!("new total 6 local {local} slots 10 25 30 40 writes 0\n");
    equal("applied", results.text("applied")?, applied.as_str())?;
    let written = format!("new total 13 local {} slots 14 25 30 43 writes 2\n", local + 7);
    equal("written", results.text("written")?, written.as_str())?;
    let shown = results.json("settled")?;
    let versions = shown["version"].as_array().ok_or("no versions")?;
    let names: Vec<&str> = versions.iter().filter_map(|version| version["name"].as_str()).collect();
    let expected =
        ["total_counter", "slot_counters", "local_counters", "pair_counter", "counter_of"];
    equal("names", names, expected.to_vec())?;
    let text = results.text("show.text")?;
    equal("text", text.contains("data version  total_counter\n"), true)?;
    let settled = format!("new total 14 local {} slots 14 26 30 43 writes 3\n", local + 8);
    equal("settled", results.text("written.settled")?, settled.as_str())?;
    equal("back", results.text("back")?, "rolled back data_wider\n")?;
    let local = local + 8;
    let restored =
        format!("14 {local} 14 26 30 43\nold total 14 local {local} slots 14 26 30 43\n");
    equal("restored", results.text("restored")?, restored.as_str())?;
    let again = results.text("again")?;
    // What only new code knows stays in the twin as long as the module is loaded: it was not.
    equal("again", again.ends_with(" writes 0\n"), true)?;
    let back = format!("rolled back data_wider\n14 {local} 14 26 30 43\n");
    equal("again", results.text("again.back")?, back.as_str())
}

/// Things from before the update, from while it is in force, and one that goes.
fn thing_steps(script: Script) -> Script {
    script
        .step("things.before", "echo 3 >$T/make; echo 7 >$T/things; things")
        .step("things.apply", "lucos apply $M/data_wider.ko >/dev/null; things")
        .step("things.new", "echo 1 >$T/make; echo 2 >$T/things; things")
        .step("things.count", "lucos show data_wider --json")
        .step("things.free", "echo 1 >$T/free; things")
        .step("things.settled", "settled data_wider; echo 1 >$T/make; echo 1 >$T/things; things")
        .step("things.back", "lucos rollback data_wider >/dev/null; things; raw")
        .step("things.gone", "gone data_wider && echo 100 >$T/free; things")
}

fn things(results: &Results) -> Result<(), Failed> {
    equal("before", results.text("things.before")?, "0:old:7 1:old:7 2:old:7\n")?;
    equal("apply", results.text("things.apply")?, "0:new:7 1:new:7 2:new:7\n")?;
    equal("new", results.text("things.new")?, "0:new:9 1:new:9 2:new:9 3:new:2\n")?;
    let twins = &results.json("things.count")?["twins"][0];
    equal("twins", (&twins["name"], &twins["count"]), (&"counter_of".into(), &4.into()))?;
    equal("free", results.text("things.free")?, "1:new:9 2:new:9 3:new:2\n")?;
    equal("settled", results.text("things.settled")?, "1:new:10 2:new:10 3:new:3 4:new:1\n")?;
    let back = results.text("things.back")?;
    equal("back", back.starts_with("1:old:10 2:old:10 3:old:3 4:old:1\n14 "), true)?;
    equal("memory", back.ends_with(" 1:10 2:10 3:3 4:1\n"), true)?;
    equal("gone", results.text("things.gone")?, "\n")
}

/// A thread naps in old code while the patch comes, and one in new code while it goes.
fn inside_steps(script: Script) -> Script {
    script
        .step("inside.nap", "raw; echo 1 >$T/target_hold; echo 1 >$T/nap; sleep 1; raw")
        .step("inside.apply", "lucos apply $M/data_wider.ko >/dev/null && units")
        .step("inside.show", "add 4; lucos show data_wider --json")
        .step("inside.text", "lucos show data_wider")
        .step("inside.carried", "raw; units")
        .step("shared.before", "lucos show data_wider --json")
        .step(
            "shared.visits",
            "cat $T/visit; for i in 1 2 3 4 5; do echo 1 >$T/visit; done; cat $T/visit",
        )
        .step("shared.after", "lucos show data_wider --json")
        .step("shared.units", "add 4; cat $T/visit; lucos show data_wider --json")
        .step("inside.wake", "echo 0 >$T/target_hold; settled data_wider; units")
        .step("inside.settled", "lucos show data_wider --json")
        .step("inside.nap_new", "echo 1 >$T/target_hold; echo 1 >$T/nap; sleep 1; units")
        .step("inside.back", "lucos rollback data_wider >/dev/null; add 1; raw")
        .step("inside.end", "echo 0 >$T/target_hold; gone data_wider; raw")
}

fn inside(results: &Results) -> Result<(), Failed> {
    let nap = results.text("inside.nap")?;
    let total = |text: &str| numbers(text).map(|numbers| numbers.first().copied());
    equal("awake", total(nap)?, Some(14))?;
    equal("napping", total(nap.lines().nth(1).unwrap_or_default())?, Some(15))?;
    equal("apply", results.text("inside.apply")?.starts_with("new total 15 "), true)?;
    let shown = results.json("inside.show")?;
    equal("state", &shown["state"], &Value::from("settling"))?;
    let version = &shown["version"][0];
    equal("sides", &version["sides"], &Value::from("BOTH"))?;
    equal("guarded", version["guarded_pages"].as_u64() >= Some(2), true)?;
    equal("carried", version["carried"].as_u64() >= Some(1), true)?;
    equal("torn", &version["torn"], &Value::from(0))?;
    let text = results.text("inside.text")?;
    equal("text", text.contains("objects and twins, each write is carried\n"), true)?;
    // What new code writes is in the old form too.
    let carried = results.text("inside.carried")?;
    equal("old form", total(carried)?, Some(19))?;
    equal("new form", carried.contains("new total 19 "), true)?;
    // And what old code writes in the new one.
    equal("woken", results.text("inside.wake")?.starts_with("new total 24 "), true)?;
    let settled = results.json("inside.settled")?;
    equal("settled", &settled["version"][0]["guarded_pages"], &Value::from(0))?;
    equal("nap", results.text("inside.nap_new")?.starts_with("new total 25 "), true)?;
    equal("back", total(results.text("inside.back")?)?, Some(26))?;
    equal("end", total(results.text("inside.end")?)?, Some(27))
}

/// The data version of a name, of what `lucos show` says.
fn version(shown: &Value, name: &str) -> Result<Value, Failed> {
    let versions = shown["version"].as_array().ok_or("no versions")?;
    let named = versions.iter().find(|version| version["name"] == name);
    Ok(named.ok_or_else(|| format!("no version {name}"))?.clone())
}

/// Five visits while both forms live: they are seen, and nothing of them is carried.
fn shared(results: &Results) -> Result<(), Failed> {
    let counter = |step: &str| version(&results.json(step)?, "pair_counter");
    let (before, after) = (counter("shared.before")?, counter("shared.after")?);
    equal("carried", &after["carried"], &before["carried"])?;
    let seen = |version: &Value| version["neighbours"].as_u64().unwrap_or_default();
    equal("seen", seen(&after) >= seen(&before) + 5, true)?;
    let visits = |text: &str| -> Result<(u32, i64), Failed> {
        let (visits, units) = text.trim().split_once(' ').ok_or("no visits")?;
        Ok((visits.parse()?, units.parse()?))
    };
    let text = results.text("shared.visits")?;
    let (first, last) = text.split_once('\n').ok_or("one line")?;
    let (first, last) = (visits(first)?, visits(last)?);
    equal("visits", last, (first.0 + 5, first.1))?;
    // What is carried afterwards leaves them alone.
    let text = results.text("shared.units")?;
    let (line, json) = text.split_once('\n').ok_or("no show")?;
    equal("units", visits(line)?, (last.0, last.1 + 4))?;
    let carried = version(&serde_json::from_str(json)?, "pair_counter")?["carried"].as_u64();
    equal("carried", carried > after["carried"].as_u64(), true)
}

/// Things that come or go while both forms live: more than LUCOS has room for.
const MANY: u32 = 150;

fn many_steps(script: Script) -> Script {
    script
        .step("many.make", &format!("echo {MANY} >$T/make; echo 3 >$T/things; things | wc -w"))
        .step("many.nap", "echo 1 >$T/target_hold; echo 1 >$T/nap; sleep 1")
        .step("many.apply", "lucos apply $M/data_wider.ko >/dev/null; lucos show data_wider --json")
        .step("many.come", &format!("echo {MANY} >$T/make; echo 2 >$T/things; things | tr ' ' '\\n' | cut -d: -f2,3 | sort | uniq -c"))
        .step("many.go", &format!("echo {MANY} >$T/free; echo 1 >$T/things; things | tr ' ' '\\n' | cut -d: -f2,3 | sort | uniq -c"))
        .step("many.wake", "echo 0 >$T/target_hold; settled data_wider; echo 1 >$T/things; things | tr ' ' '\\n' | cut -d: -f2,3 | sort | uniq -c")
        .step("many.twins", "lucos show data_wider --json")
        .step("many.back", "lucos rollback data_wider >/dev/null; gone data_wider; things | tr ' ' '\\n' | cut -d: -f2,3 | sort | uniq -c")
        .step("many.end", "echo 1000 >$T/free; things")
}

fn many(results: &Results) -> Result<(), Failed> {
    let uniform = |step: &str, expected: &[(u32, &str)]| -> Result<(), Failed> {
        let lines = results.text(step)?.lines().map(|line| line.trim().to_owned());
        let expected = expected.iter().map(|(count, form)| format!("{count} {form}"));
        equal(step, lines.collect::<Vec<_>>(), expected.collect())
    };
    equal("state", &results.json("many.apply")?["state"], &Value::from("settling"))?;
    uniform("many.come", &[(MANY, "new:2"), (MANY, "new:5")])?;
    uniform("many.go", &[(MANY, "new:3")])?;
    uniform("many.wake", &[(MANY, "new:4")])?;
    equal("twins", &results.json("many.twins")?["twins"][0]["count"], &MANY.into())?;
    uniform("many.back", &[(MANY, "old:4")])?;
    equal("end", results.text("many.end")?, "\n")
}

fn group_steps(script: Script) -> Script {
    let both = "lucos apply $M/data_wider.ko $M/data_spare.ko";
    let other = "lucos apply $M/data_spare.ko $M/data_wider.ko";
    let state =
        "raw; cat $T/spare; lucos list --json; grep -c -e ^data_wider -e ^data_spare /proc/modules";
    script
        .step("group.before", &format!("{state}; true"))
        .step("group.last_fails", &format!("echo 8 >$T/target_fault; {both} --json"))
        .step("group.last_fails.same", &format!("gone data_wider; gone data_spare; {state}; true"))
        .step("group.first_fails", &format!("{other} --json"))
        .step("group.first_fails.same", &format!("gone data_wider; gone data_spare; {state}; true"))
        .step("group.fault", "echo 0 >$T/target_fault")
        .step("group.apply", &format!("{both} --json"))
        .step("group.applied", "add 1; echo 2 >$T/spare; units; cat $T/spare")
        .step("group.back_fails", "settled data_spare; echo 108 >$T/target_fault; lucos rollback data_spare --json")
        .step("group.back", "echo 0 >$T/target_fault; lucos rollback data_spare >/dev/null && lucos rollback data_wider >/dev/null; gone data_wider; gone data_spare; raw; cat $T/spare")
        // A thread in old code of one of them: all that moves is guarded.
        .step("group.nap", "echo 1 >$T/target_hold; echo 1 >$T/nap; sleep 1; raw")
        .step("group.inside", &format!("{both} >/dev/null; echo 3 >$T/spare; add 1; raw; cat $T/spare"))
        .step("group.inside.wider", "lucos show data_wider --json")
        .step("group.inside.spare", "lucos show data_spare --json")
        .step("group.wake", "echo 0 >$T/target_hold; settled data_wider; settled data_spare; units; cat $T/spare")
        .step("group.end", "lucos rollback data_wider >/dev/null && lucos rollback data_spare >/dev/null; gone data_wider; gone data_spare; raw; cat $T/spare")
}

fn group(results: &Results) -> Result<(), Failed> {
    let total = |step: &str| numbers(results.text(step)?).map(|numbers| numbers.first().copied());
    let ends = |step: &str, line: &str| -> Result<(), Failed> {
        equal(step, results.text(step)?.lines().last(), Some(line))
    };
    let applied = results.json("group.apply")?;
    let names: Vec<_> =
        applied["applied"].as_array().ok_or("none")?.iter().map(|patch| &patch["name"]).collect();
    equal("names", names, vec![&Value::from("data_wider"), &Value::from("data_spare")])?;
    ends("group.applied", "new 9")?;
    equal("units", results.text("group.applied")?.starts_with("new total 30 "), true)?;
    equal("total", total("group.back")?, Some(30))?;
    ends("group.back", "old 9")?;
    equal("napping", total("group.nap")?, Some(31))?;
    // The old form of both has what new code writes.
    equal("total", total("group.inside")?, Some(32))?;
    ends("group.inside", "new 12")?;
    let inside = results.json("group.inside.wider")?;
    equal("sides", &inside["version"][0]["sides"], &Value::from("BOTH"))?;
    equal("carried", inside["version"][0]["carried"].as_u64() >= Some(1), true)?;
    // Nobody is inside what the other one left: it settles by itself.
    results.json("group.inside.spare")?;
    equal("woken", results.text("group.wake")?.starts_with("new total 33 "), true)?;
    equal("total", total("group.end")?, Some(33))?;
    ends("group.end", "old 12")
}

/// The way there fails in the first or in the last of two patches, the way back in one.
fn group_fails(results: &Results) -> Result<(), Failed> {
    let before = results.text("group.before")?;
    for step in ["group.last_fails", "group.first_fails", "group.back_fails"] {
        let error = serde_json::from_str::<Value>(&results.step(step)?.stdout)?["error"].clone();
        equal(step, &error["code"], &Value::from("TRANSFER_REFUSED"))?;
        let message = error["message"].as_str().unwrap_or_default();
        equal(message, message.contains("spare_counter"), true)?;
    }
    equal("last", results.text("group.last_fails.same")?, before)?;
    equal("first", results.text("group.first_fails.same")?, before)
}

fn lossy_steps(script: Script) -> Script {
    script
        .step("lossy.apply", "add 6; lucos apply $M/data_lossy.ko >/dev/null && units")
        .step("lossy.back", "lucos rollback data_lossy >/dev/null && raw; gone data_lossy")
}

fn lossy(results: &Results) -> Result<(), Failed> {
    equal("apply", results.text("lossy.apply")?, "3 dozens\n")?;
    equal("back", results.text("lossy.back")?.starts_with("36 "), true)
}

/// What a transfer function does, by its number in `data_faulty`, and the error that it is.
const FAULTS: [(u32, &str); 9] = [
    (1, "TRANSFER_FAULT"),
    (2, "TRANSFER_FAULT"),
    (3, "TRANSFER_LOOPS"),
    (4, "TRANSFER_WRITES"),
    (5, "TRANSFER_WRITES"),
    (6, "TRANSFER_WRITES"),
    (7, "TRANSFER_CALLS"),
    (8, "TRANSFER_REFUSED"),
    (9, "TRANSFER_LAW"),
];

/// Added to a number, it is the way back that does it.
const BACK: u32 = 100;

fn failure_steps(script: Script) -> Script {
    let mut script = script.step("faulty.before", "raw");
    for (fault, _) in FAULTS {
        script = script
            .step(
                &format!("faulty.{fault}"),
                &format!("echo {fault} >$T/target_fault; lucos apply $M/data_faulty.ko --json"),
            )
            .step(&format!("faulty.{fault}.same"), "raw; cat $T/target_victim; lucos list --json");
    }
    script = script.step(
        "faulty.apply",
        "echo 0 >$T/target_fault; lucos apply $M/data_faulty.ko >/dev/null && settled data_faulty && \
         add 1; units",
    );
    for (fault, _) in FAULTS.into_iter().filter(|(fault, _)| *fault != 9) {
        let number = fault + BACK;
        script = script.step(
            &format!("faulty.{number}"),
            &format!("echo {number} >$T/target_fault; lucos rollback data_faulty --json"),
        );
        script = script.step(&format!("faulty.{number}.same"), "units; raw; cat $T/target_victim");
    }
    script.step(
        "faulty.back",
        "echo 0 >$T/target_fault; lucos rollback data_faulty >/dev/null && raw; gone data_faulty",
    )
}

fn failures(results: &Results) -> Result<(), Failed> {
    let before = results.text("faulty.before")?;
    let code = |step: &str| -> Result<Value, Failed> {
        let json: Value = serde_json::from_str(&results.step(step)?.stdout)?;
        let message = json["error"]["message"].as_str().unwrap_or_default();
        equal(step, message.contains("bad_counter"), true)?;
        let code = json["error"]["code"].clone();
        // Where it stood, unless it came to its end.
        let ends = ["TRANSFER_REFUSED", "TRANSFER_LAW"].map(Value::from).contains(&code);
        equal(&format!("{step}: {message}"), message.contains("+0x"), !ends)?;
        Ok(code)
    };
    for (fault, expected) in FAULTS {
        let step = format!("faulty.{fault}");
        equal(&step, &code(&step)?, &Value::from(expected))?;
        let same = format!("{before}0\n{{\"patches\":[]}}\n");
        equal(&step, results.text(&format!("{step}.same"))?, same.as_str())?;
    }
    equal("applied", results.text("faulty.apply")?, "new total 37\n")?;
    for (fault, expected) in FAULTS.into_iter().filter(|(fault, _)| *fault != 9) {
        let step = format!("faulty.{}", fault + BACK);
        equal(&step, &code(&step)?, &Value::from(expected))?;
        let same = format!("new total 37\n{before}0\n");
        equal(&step, results.text(&format!("{step}.same"))?, same.as_str())?;
    }
    equal("back", results.text("faulty.back")?.starts_with("37 "), true)
}

/// Times that the patch comes and goes with nobody else about.
const QUIET: u32 = 80;
/// And while two threads add units.
const CYCLES: u32 = 20;

fn cycle_steps(script: Script) -> Script {
    script
        .lines(
            "cycles() { for cycle in $(seq $1); do lucos apply $M/data_wider.ko >/dev/null && add 1 && \
             lucos rollback data_wider >/dev/null && gone data_wider || break; done; echo $cycle; }",
        )
        .step("cycles.before", "raw")
        .step("cycles.quiet", &format!("cycles {QUIET}"))
        .step(
            "cycles",
            &format!(
                "echo 1 >$T/target_hold; echo 1 >$T/add; cycles {CYCLES}; \
                 echo 0 >$T/target_hold; waits '[ $(cat $T/running) = 0 ]'"
            ),
        )
        .step("cycles.after", "raw; cat $T/added")
}

fn cycles(results: &Results) -> Result<(), Failed> {
    equal("quiet", results.text("cycles.quiet")?, format!("{QUIET}\n").as_str())?;
    equal("cycles", results.text("cycles")?, format!("{CYCLES}\n").as_str())?;
    let before = numbers(results.text("cycles.before")?)?;
    let text = results.text("cycles.after")?;
    let after = numbers(text)?;
    let added: i64 = text.lines().nth(1).unwrap_or_default().parse()?;
    // So many that there were some between two updates.
    equal("added", added > i64::from(CYCLES), true)?;
    let more = added + i64::from(QUIET + CYCLES);
    for place in [0, 1, 3] {
        let expected = before.get(place).map(|number| number + more);
        equal(&format!("place {place}"), after.get(place).copied(), expected)?;
    }
    Ok(())
}

/// How often each writer writes by each kind of store.
const ROUNDS: u64 = 10;
/// Threads, softirqs, interrupts and NMIs of two processors, each in old and in new code.
const WRITERS: usize = 16;

/// A thread stays in old code, so that both sides live while all others write.
fn store_steps(script: Script) -> Script {
    script
        .lines("S=/sys/module/data_stores/parameters")
        .step(
            "stores.stay",
            "insmod $M/data_stores.ko && echo 1 >$S/stores_hold && echo 1 >$S/stay; sleep 1",
        )
        .step("stores.apply", "lucos apply $M/data_stored.ko >/dev/null && cat $S/wrong")
        .step(
            "stores.write",
            &format!("echo {ROUNDS} >$S/rounds; waits 'grep -q done $S/counts'; cat $S/counts"),
        )
        .step("stores.wrong", "cat $S/wrong")
        .step("stores.show", "lucos show data_stored --json")
        .step("stores.settled", "echo 0 >$S/stores_hold; settled data_stored; cat $S/wrong")
        .step(
            "stores.back",
            "lucos rollback data_stored >/dev/null && gone data_stored && cat $S/wrong",
        )
        .step("stores.spoilt", "echo 1 >$S/spoil; cat $S/wrong; rmmod data_stores")
}

fn stores(results: &Results) -> Result<(), Failed> {
    results.text("stores.stay")?;
    equal("before", results.text("stores.apply")?, "0 0\n")?;
    let counts = format!("{ROUNDS} ").repeat(WRITERS) + "done\n";
    equal("written", results.text("stores.write")?, counts.as_str())?;
    equal("wrong in new and old form", results.text("stores.wrong")?, "0 0\n")?;
    let shown = results.json("stores.show")?;
    let versions = shown["version"].as_array().ok_or("no versions")?;
    for version in versions {
        equal("sides", &version["sides"], &Value::from("BOTH"))?;
        equal("torn", &version["torn"], &Value::from(0))?;
    }
    // Each kind, and the number on two pages.
    let [kinds, across] = versions.as_slice() else { return Err("not two versions".into()) };
    let carried = |version: &Value| version["carried"].as_u64().unwrap_or_default();
    let all = ROUNDS * WRITERS as u64;
    equal("kinds", carried(kinds) >= 23 * all, true)?;
    equal("across", carried(across) >= all, true)?;
    equal("settled", results.text("stores.settled")?, "0 0\n")?;
    equal("back", results.text("stores.back")?, "0 0\n")?;
    equal("a store that is lost is found", results.text("stores.spoilt")?, "1 1\n")
}

fn is_content(results: &Results) -> Result<(), Failed> {
    equal("kernel's log", results.step("end.kernel")?.stdout.as_str(), "")
}
