//! Tasks that break the rules are ended, and restarted as they were at first.

use crate::suite::{ASSIST, OTHER, Suite};
use lucos_abi::call::CallStatus;
use lucos_abi::layout;
use lucos_abi::manifest::Object;
use lucos_abi::object::{FaultRecord, MachineReply, MachineRequest, TaskFault};
use lucos_runtime::CallError;
use lucos_test_protocol::{Counted, Crime, Instruction, Request};

/// Places of the assists in the system table.
const FIRST: u8 = 1;

const INVALID_OPCODE: u8 = 6;
const DEVICE_NOT_AVAILABLE: u8 = 7;
const PROTECTION: u8 = 13;

/// Somewhere in the kernel's half.
const KERNEL: u64 = 0xffff_8000_0000_0000;

/// Runs the tests of this module.
pub fn run(suite: &mut Suite) {
    memory(suite);
    instructions(suite);
    other_ends(suite);
    restart(suite);
}

/// Has the first assist commit a crime. Returns what the call said and what the kernel recorded.
fn commit(suite: &mut Suite, crime: Crime) -> (Option<CallError>, Option<FaultRecord>) {
    let result: Result<Counted, CallError> = suite.thread.call(ASSIST, &Request::Commit(crime));
    (result.err(), last_fault(suite))
}

fn last_fault(suite: &mut Suite) -> Option<FaultRecord> {
    let reply = suite.thread.call(Object::Machine, &MachineRequest::LastFault);
    match reply {
        Ok(MachineReply::Fault(record)) => record,
        _ => None,
    }
}

fn count(suite: &mut Suite) -> Option<Counted> {
    suite.thread.call(ASSIST, &Request::Count).ok()
}

const RESTARTED: Option<CallError> = Some(CallError::Status(CallStatus::Restarted));

/// The fault without the address of the instruction, which depends on the build.
fn without_rip(record: Option<FaultRecord>) -> Option<TaskFault> {
    let fault = record.filter(|record| record.task == FIRST)?.fault;
    Some(match fault {
        TaskFault::Memory { address, write, execute, .. } => {
            TaskFault::Memory { address, rip: 0, write, execute }
        }
        TaskFault::Exception { vector, .. } => TaskFault::Exception { vector, rip: 0 },
        other => other,
    })
}

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
        ("write_below_stack", Crime::Write(layout::STACK + stride / 2), false),
        ("read_guest_window", Crime::Read(layout::GUEST_WINDOW), false),
    ];
    for (name, crime, execute) in cases {
        let (error, record) = commit(suite, crime);
        let (address, write) = match crime {
            Crime::Read(address) | Crime::Execute(address) => (address, false),
            Crime::Write(address) => (address, true),
            _ => continue,
        };
        let expected = TaskFault::Memory { address, rip: 0, write, execute };
        let found = (error, without_rip(record));
        suite.check(name, found, (RESTARTED, Some(expected)));
    }
}

fn instructions(suite: &mut Suite) {
    for (name, instruction, vector) in [
        ("instruction_hlt", Instruction::Halt, PROTECTION),
        ("instruction_cli", Instruction::DisableInterrupts, PROTECTION),
        ("instruction_mov_cr3", Instruction::WriteRoot, PROTECTION),
        ("instruction_rdmsr", Instruction::ReadMsr, PROTECTION),
        ("instruction_out", Instruction::Output, PROTECTION),
        ("instruction_vmrun", Instruction::RunGuest, PROTECTION),
        ("instruction_float", Instruction::Float, INVALID_OPCODE),
    ] {
        let (error, record) = commit(suite, Crime::Instruction(instruction));
        let fault = without_rip(record);
        let float = fault == Some(TaskFault::Exception { vector: DEVICE_NOT_AVAILABLE, rip: 0 });
        if instruction == Instruction::Float && float {
            // Either exception keeps the FPU the guest's; which one comes depends on CR0 and CR4.
            suite.check(name, error, RESTARTED);
            continue;
        }
        let expected = TaskFault::Exception { vector, rip: 0 };
        suite.check(name, (error, fault), (RESTARTED, Some(expected)));
    }
}

fn other_ends(suite: &mut Suite) {
    let (error, record) = commit(suite, Crime::Panic);
    let found = (error, without_rip(record));
    suite.check("panic", found, (RESTARTED, Some(TaskFault::GaveUp)));
    let (error, record) = commit(suite, Crime::Overflow);
    let below_stack = matches!(
        without_rip(record),
        Some(TaskFault::Memory { address, write: true, .. })
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
