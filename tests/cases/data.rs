//! Data in another form: variables and things that are made and freed, moved with an update and back.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{COMPLAINTS, Results, Run, Script, SharedBoot, equal};
use serde_json::Value;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let prepare = move || Ok(Run::of_series(series).timeout(900).modules("data"));
        trials.extend(
            SharedBoot::new(format!("data::{series}"), prepare)
                .steps(&script())
                .check("variables_move_with_an_update_and_back", variables)
                .check("things_get_twins_and_lose_them", things)
                .check("whoever_is_inside_writes_his_own_form", inside)
                .check("what_cannot_go_back_is_rounded", lossy)
                .check("a_transfer_that_fails_changes_nothing", failures)
                .check("a_hundred_cycles_lose_no_unit", cycles)
                .check("every_store_of_every_context_counts", stores)
                .check("the_kernel_is_content", is_content)
                .trials(),
        );
    }
    trials
}

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

fn script() -> Script {
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
    let script = cycle_steps(failure_steps(lossy_steps(inside_steps(thing_steps(script)))));
    store_steps(script).step("end.kernel", COMPLAINTS)
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
    equal("apply", results.text("apply")?, "applied data_wider (6 functions, 4 data versions)\n")?;
    let applied = format!("new total 6 local {local} slots 10 25 30 40 writes 0\n");
    equal("applied", results.text("applied")?, applied.as_str())?;
    let written = format!("new total 13 local {} slots 14 25 30 43 writes 2\n", local + 7);
    equal("written", results.text("written")?, written.as_str())?;
    let shown = results.json("settled")?;
    let versions = shown["version"].as_array().ok_or("no versions")?;
    let names: Vec<&str> = versions.iter().filter_map(|version| version["name"].as_str()).collect();
    equal("names", names, vec!["total_counter", "slot_counters", "local_counters", "counter_of"])?;
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
    equal("woken", results.text("inside.wake")?.starts_with("new total 20 "), true)?;
    let settled = results.json("inside.settled")?;
    equal("settled", &settled["version"][0]["guarded_pages"], &Value::from(0))?;
    equal("nap", results.text("inside.nap_new")?.starts_with("new total 21 "), true)?;
    equal("back", total(results.text("inside.back")?)?, Some(22))?;
    equal("end", total(results.text("inside.end")?)?, Some(23))
}

fn lossy_steps(script: Script) -> Script {
    script
        .step("lossy.apply", "add 16; lucos apply $M/data_lossy.ko >/dev/null && units")
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
