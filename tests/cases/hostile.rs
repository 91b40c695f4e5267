//! A guest kernel that makes wrong hypercalls, many of them: wild pointers, wrong sizes, code that
//! cannot be replaced, and descriptors that another processor changes while they are read.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use lucos_guest_interface::ErrorCode;
use lucos_tests::{BOCHS, COMPLAINTS, Report, Results, Run, Script, SharedBoot, equal, number_at};
use serde_json::Value;

/// Begins the sequence of random numbers. The calls are the same in every run, but for the
/// descriptors that change while they are read.
const SEED: u64 = 20_260_101;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for machine in ["debian-6.1", "debian-6.12", BOCHS] {
        trials.extend(storm(machine, "", 10_000, 300).long(machine == BOCHS).trials());
        if machine != BOCHS {
            let long = storm(machine, "hundred_thousand_", 100_000, 1200).long(true);
            trials.extend(long.trials());
        }
    }
    trials
}

fn storm(machine: &'static str, prefix: &str, calls: u64, timeout: u64) -> SharedBoot {
    let prepare = move || {
        let run = Run::checked(machine).racing().timeout(timeout);
        Ok(run.modules(""))
    };
    SharedBoot::new(format!("hostile::{machine}"), prepare)
        .steps(&script(calls))
        .check(format!("{prefix}wrong_calls_are_refused"), move |results| refused(results, calls))
        .check(format!("{prefix}nothing_changed"), nothing_changed)
}

fn script(calls: u64) -> Script {
    Script::new()
        .lines(
            "P=/lib/lucos/patches M=/lib/lucos/modules\n\
             address() { echo 0x$(grep -m 1 \" $1\\$\" /proc/kallsyms | cut -d ' ' -f 1); }\n\
             insmod $M/text.ko start=$(address _stext) end=$(address _etext)\n\
             insmod $M/hostile_calls.ko nonce=$(address 'nonce.\\[lucos\\]')",
        )
        .step("before", "lucos status --json")
        .step("storm", &format!("taskset 1 sh -c 'echo {SEED} {calls} >/dev/hostile'"))
        .step("ends", "cat /dev/hostile")
        .step("after", "lucos status --json")
        .step("list", "lucos list --json")
        .step("text", "cat /dev/text")
        .step("log", "lucos log | grep -c ' is in force'")
        .step(
            "works",
            "lucos apply $P/version_line.ko && cat /proc/version && lucos rollback version_line",
        )
        .step("kernel", COMPLAINTS)
}

/// Errors that the calls provoke, each many times.
const PROVOKED: [ErrorCode; 52] = [
    ErrorCode::UnknownCall,
    ErrorCode::InterfaceVersion,
    ErrorCode::Argument,
    ErrorCode::Nonce,
    ErrorCode::Address,
    ErrorCode::Length,
    ErrorCode::Unsupported,
    ErrorCode::Registration,
    ErrorCode::BuildId,
    ErrorCode::DescriptorTruncated,
    ErrorCode::Magic,
    ErrorCode::DescriptorVersion,
    ErrorCode::HeaderSize,
    ErrorCode::TotalLength,
    ErrorCode::UnknownFlag,
    ErrorCode::Reserved,
    ErrorCode::NameTerminator,
    ErrorCode::NameEmpty,
    ErrorCode::NameCharacter,
    ErrorCode::NameTail,
    ErrorCode::BuildIdLength,
    ErrorCode::SectionCount,
    ErrorCode::SectionRange,
    ErrorCode::SectionAlignment,
    ErrorCode::SectionOverlap,
    ErrorCode::SectionGap,
    ErrorCode::NothingToDo,
    ErrorCode::FunctionSize,
    ErrorCode::FunctionRange,
    ErrorCode::FunctionOverlap,
    ErrorCode::SiteOffset,
    ErrorCode::NewSize,
    ErrorCode::NewRange,
    ErrorCode::NewIsOld,
    ErrorCode::ExpectedLength,
    ErrorCode::ExpectedMask,
    ErrorCode::FlagCombination,
    ErrorCode::Reason,
    ErrorCode::Dependency,
    ErrorCode::ValueSize,
    ErrorCode::ValueRange,
    ErrorCode::ValueMask,
    ErrorCode::ValueOverlap,
    ErrorCode::ValueChanged,
    ErrorCode::ValueInText,
    ErrorCode::OldNotText,
    ErrorCode::NewNotText,
    ErrorCode::ExpectedBytes,
    ErrorCode::Decode,
    ErrorCode::SiteBoundary,
    ErrorCode::BranchToSite,
    ErrorCode::UnknownPatch,
];

/// How the module counts instructions that were no hypercalls.
const REFUSED_INSTRUCTION: u32 = 256;

/// Every call ended as it must, and nothing else went wrong than what was wrong.
fn refused(results: &Results, calls: u64) -> Result<(), Failed> {
    results.text("storm")?;
    let report = Report::new(results.text("ends")?);
    let first = report.value("first").unwrap_or_default();
    equal(&format!("surprises ({first})"), report.number::<u64>("surprises")?, 0)?;
    report.expect("seed", SEED)?;
    report.expect("calls", calls)?;
    // A descriptor without a defect is right: the module is wrong in what it wants to be wrong in.
    report.expect("right", 0)?;
    report.expect("whole", 1)?;
    // What LUCOS met in a descriptor that changed was not always the same.
    let moving: u64 = report.number("moving_errors")?;
    equal(&format!("{moving} errors of moving descriptors are enough"), moving >= 2, true)?;

    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    for line in report.all("end") {
        let (code, count) = line.split_once(' ').ok_or("not an end")?;
        ends.insert(code.parse()?, count.parse()?);
    }
    // With the right one.
    equal("calls with a known end", ends.values().sum::<u64>(), calls + 1)?;
    let strange = ends.keys().find(|&&code| {
        code != 0 && code != REFUSED_INSTRUCTION && ErrorCode::from_number(code).is_none()
    });
    equal("unknown errors", strange, None)?;
    let own = ends.contains_key(&ErrorCode::Internal.number());
    equal("LUCOS blames itself", own, false)?;
    let least = calls / 4000;
    for code in PROVOKED {
        let count = ends.get(&code.number()).copied().unwrap_or(0);
        equal(&format!("{code}: {count} are enough"), count >= least, true)?;
    }
    let no_calls = ends.get(&REFUSED_INSTRUCTION).copied().unwrap_or(0);
    equal("invalid opcodes", no_calls >= least, true)?;
    let rise = |place| -> Result<u64, Failed> {
        let (before, after) = (results.json("before")?, results.json("after")?);
        Ok(number_at(&after, place)? - number_at(&before, place)?)
    };
    // An invalid opcode is handed back.
    equal("hypercalls", rise("/exits/HYPERCALL")? >= calls, true)
}

fn nothing_changed(results: &Results) -> Result<(), Failed> {
    let (before, after) = (results.json("before")?, results.json("after")?);
    for place in ["/restarts", "/patches", "/applied", "/stops", "/hidden_writes"] {
        equal(place, number_at(&after, place)?, number_at(&before, place)?)?;
    }
    equal("list", results.json("list")?["patches"].clone(), Value::Array(Vec::new()))?;
    equal("text", results.text("text")?, "0 0x0\n")?;
    equal("updates in the log", results.step("log")?.stdout.as_str(), "0\n")?;
    equal("works", results.text("works")?.contains("was replaced while"), true)?;
    equal("kernel's log", results.step("kernel")?.stdout.as_str(), "")
}
