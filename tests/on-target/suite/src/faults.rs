//! Tasks that break the rules are ended, and restarted as they were at first.

use crate::suite::{ASSIST, OTHER, Suite};
use lucos_abi::call::CallStatus;
use lucos_abi::layout;
use lucos_runtime::{CallError, read_log, system_info};
use lucos_system_info::Extension;
use lucos_test_protocol::{Counted, Crime, Instruction, Request};

const INVALID_OPCODE: u64 = 6;
const DEVICE_NOT_AVAILABLE: u64 = 7;
const PROTECTION: u64 = 13;

/// Somewhere in the kernel's half.
const KERNEL: u64 = 0xffff_8000_0000_0000;

/// Runs the tests of this module.
pub fn run(suite: &mut Suite) {
    memory(suite);
    instructions(suite);
    other_ends(suite);
    restart(suite);
}

/// What the kernel says of the first assist's faults in its log.
const RESTARTED_BY: &str = "[kernel] task memory is restarted: ";

/// A fault as the log tells it, without the address of the instruction, which depends on the build.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Memory { address: u64, write: bool, execute: bool },
    Exception { vector: u64 },
    GaveUp,
}

const PAGE_FAULT: u64 = 14;
/// Bits of a page fault's error code.
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 4;

/// Has the first assist commit a crime. Returns what the call said and what the kernel logged last.
fn commit(suite: &mut Suite, crime: Crime) -> (Option<CallError>, Option<Fault>) {
    let (end, _) = read_log(u64::MAX, &mut []);
    let result: Result<Counted, CallError> = suite.thread.call(ASSIST, &Request::Commit(crime));
    let mut bytes = [0; 512];
    let (_, length) = read_log(end, &mut bytes);
    let text = bytes.get(..length).and_then(|bytes| core::str::from_utf8(bytes).ok());
    let line = text.and_then(|text| text.lines().find_map(|line| line.strip_prefix(RESTARTED_BY)));
    (result.err(), line.and_then(fault))
}

/// Reads the kernel's words for a fault.
fn fault(line: &str) -> Option<Fault> {
    if line == "it gave up" {
        return Some(Fault::GaveUp);
    }
    let number = |name| {
        let (_, behind) = line.split_once(name)?;
        let digits = behind.strip_prefix(" 0x")?.split([',', ' ']).next()?;
        u64::from_str_radix(digits, 16).ok()
    };
    let (error, address) = (number("error")?, number("address")?);
    Some(match number("exception")? {
        PAGE_FAULT => {
            Fault::Memory { address, write: error & WRITE != 0, execute: error & EXECUTE != 0 }
        }
        vector => Fault::Exception { vector },
    })
}

fn count(suite: &mut Suite) -> Option<Counted> {
    suite.thread.call(ASSIST, &Request::Count).ok()
}

const RESTARTED: Option<CallError> = Some(CallError::Status(CallStatus::Restarted));

fn memory(suite: &mut Suite) {
    let Some(places) = count(suite) else {
        suite.check("assist_answers", false, true);
        return;
    };
    let stride = layout::PER_CPU_STRIDE;
    let cases = [
        ("read_kernel", Crime::Read(KERNEL), false),
        ("write_kernel", Crime::Write(KERNEL + 0x10_0000), false),
        ("read_null", Crime::Read(0), false),
        ("read_unmapped", Crime::Read(layout::IMAGE_END), false),
        ("write_own_code", Crime::Write(places.code), false),
        ("write_own_constant", Crime::Write(places.constant), false),
        ("execute_own_data", Crime::Execute(places.variable), true),
        ("execute_own_heap", Crime::Execute(layout::HEAP), true),
        ("write_system_info", Crime::Write(layout::SYSTEM_INFO), false),
        ("read_log", Crime::Read(layout::LOG), false),
        ("write_below_stack", Crime::Write(layout::STACK + stride / 2), false),
        ("read_guest_window", Crime::Read(layout::GUEST_WINDOW), false),
    ];
    for (name, crime, execute) in cases {
        let found = commit(suite, crime);
        let (address, write) = match crime {
            Crime::Read(address) | Crime::Execute(address) => (address, false),
            Crime::Write(address) => (address, true),
            _ => continue,
        };
        let expected = Fault::Memory { address, write, execute };
        suite.check(name, found, (RESTARTED, Some(expected)));
    }
}

fn instructions(suite: &mut Suite) {
    let run_guest = match system_info().extension {
        Extension::Svm { .. } => PROTECTION,
        Extension::Vtx => INVALID_OPCODE,
    };
    for (name, instruction, vector) in [
        ("instruction_hlt", Instruction::Halt, PROTECTION),
        ("instruction_cli", Instruction::DisableInterrupts, PROTECTION),
        ("instruction_mov_cr3", Instruction::WriteRoot, PROTECTION),
        ("instruction_rdmsr", Instruction::ReadMsr, PROTECTION),
        ("instruction_out", Instruction::Output, PROTECTION),
        ("instruction_vmrun", Instruction::RunGuest, run_guest),
        ("instruction_float", Instruction::Float, INVALID_OPCODE),
    ] {
        let (error, fault) = commit(suite, Crime::Instruction(instruction));
        let float = fault == Some(Fault::Exception { vector: DEVICE_NOT_AVAILABLE });
        if instruction == Instruction::Float && float {
            // Either exception keeps the FPU the guest's; which one comes depends on CR0 and CR4.
            suite.check(name, error, RESTARTED);
            continue;
        }
        let expected = Fault::Exception { vector };
        suite.check(name, (error, fault), (RESTARTED, Some(expected)));
    }
}

fn other_ends(suite: &mut Suite) {
    let found = commit(suite, Crime::Panic);
    suite.check("panic", found, (RESTARTED, Some(Fault::GaveUp)));
    let (error, fault) = commit(suite, Crime::Overflow);
    let below_stack = matches!(
        fault,
        Some(Fault::Memory { address, write: true, .. })
            if (layout::STACK..layout::STACK + layout::PER_CPU_STRIDE).contains(&address)
    );
    suite.check("stack_overflow", (error, below_stack), (RESTARTED, true));
}

/// A restarted task has its memory as at first, keeps its retained pages, and counts up its
/// generation. The other assist notices nothing.
fn restart(suite: &mut Suite) {
    let before = count(suite);
    let (error, _) = commit(suite, Crime::Panic);
    suite.check("restart_status", error, RESTARTED);
    let after = count(suite);
    let (Some(before), Some(after)) = (before, after) else {
        suite.check("restart_answers", false, true);
        return;
    };
    suite.check("restart_ordinary_memory", after.ordinary, 1);
    suite.check("restart_retained_memory", after.retained, before.retained + 1);
    suite.check("restart_generation", after.generation, before.generation + 1);
    let other: Option<Counted> = suite.thread.call(OTHER, &Request::Count).ok();
    suite.check(
        "restart_leaves_others",
        other.map(|counted| (counted.ordinary, counted.generation)),
        Some((1, 0)),
    );
}
