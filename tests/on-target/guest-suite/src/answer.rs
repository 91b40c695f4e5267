//! Answering the guest's exits.

use crate::{confined, guest as load, report};
use lucos_abi::object::{
    Counter, Event, ExitReason, MachineReply, MachineRequest, VcpuReply, VcpuRequest, View,
};
use lucos_abi::registers::{Registers, SIZE};
use lucos_runtime::{CallError, GuestWindow, Object, Thread, system_info, time_stamp};
use lucos_test_protocol::guest;

/// Time-stamp ticks that a stop may take: far more than any emulator needs.
const PATIENCE: u64 = 5_000_000_000;

/// Time-stamp ticks within which a processor of the guest obeys.
const A_WHILE: u64 = 100_000_000;

/// Runs this processor's vCPU for ever.
pub fn exits(mut thread: Thread, generation: u32) -> ! {
    let mut next = Next::default();
    loop {
        let registers = next.registers.map(|registers| registers.to_bytes());
        let registers: &[u8] = registers.as_ref().map_or(&[], |bytes| bytes);
        let request = VcpuRequest::Run { registers, event: next.event };
        let mut block = [0; SIZE];
        let reason = match thread.call(Object::Vcpu, &request) {
            Ok(VcpuReply::Exit { reason, registers, .. }) => {
                block.copy_from_slice(registers);
                reason
            }
            other => {
                let why: Option<CallError> = other.err();
                thread.give_up(format_args!("the vCPU does not run: {why:?}"))
            }
        };
        let registers = Registers::from_bytes(&block).unwrap_or_default();
        next = answer(&mut thread, generation, reason, registers);
    }
}

/// What the next entry brings.
#[derive(Default)]
pub struct Next {
    /// Changed registers.
    pub registers: Option<Registers>,
    /// An exception.
    pub event: Option<Event>,
}

fn go_on(registers: Registers) -> Next {
    Next { registers: Some(registers), event: None }
}

fn answer(
    thread: &mut Thread,
    generation: u32,
    reason: ExitReason,
    mut registers: Registers,
) -> Next {
    match reason {
        ExitReason::Hypercall => {
            registers.rip += 3;
            hypercall(thread, generation, registers)
        }
        ExitReason::ReadMsr => {
            registers.rip += 2;
            registers.rax = 0x0d01;
            registers.rdx = 0x1234_5678;
            go_on(registers)
        }
        ExitReason::Exception(Event { vector: 6, .. }) => {
            registers.rip += 2;
            registers.rax = 0x0606;
            go_on(registers)
        }
        ExitReason::Exception(event @ Event { vector: 1, .. }) => {
            Next { registers: None, event: Some(event) }
        }
        ExitReason::NestedFault { gpa, access } if access.delivery => {
            // The event comes again, behind this one.
            let status = protect(thread, gpa & !0xfff, false);
            report::check(thread, "stack_is_given_back", status, 0);
            Next { registers: None, event: Some(Event { vector: 13, error_code: Some(0x70) }) }
        }
        ExitReason::NestedFault { gpa, .. } if confined::is_guarded(gpa) => {
            confined::write(thread, gpa)
        }
        ExitReason::NestedFault { gpa, access } => {
            let expected = system_info().region.start + 0x4_5678;
            report::check(thread, "hidden_write_address", gpa, expected);
            report::check(thread, "hidden_write_is_a_write", access.write, true);
            Next { registers: None, event: Some(Event { vector: 13, error_code: Some(0) }) }
        }
        other => {
            report::check(thread, "no_other_exit", Some(other), None);
            report::end(thread);
            Next::default()
        }
    }
}

fn hypercall(thread: &mut Thread, generation: u32, mut registers: Registers) -> Next {
    let (b, c, d) = (registers.rbx, registers.rcx, registers.rdx);
    match registers.rax {
        guest::CHECK => {
            let name = guest::NAMES.get(b as usize).copied().unwrap_or("unnamed");
            report::check(thread, name, c, d);
        }
        guest::DONE => report::end(thread),
        guest::EXITS => registers.rax = exit_count(thread),
        guest::INTERCEPT => intercept(thread, b == 1),
        guest::EXCEPTION => {
            if d != 0 {
                let done = load::write(thread, d, &1_u64.to_le_bytes());
                report::check(thread, "guest_word_is_written", done, Ok(()));
                let start = time_stamp();
                while time_stamp().wrapping_sub(start) < A_WHILE {
                    core::hint::spin_loop();
                }
            }
            return Next {
                registers: Some(registers),
                event: Some(Event { vector: b as u8, error_code: Some(c as u32) }),
            };
        }
        guest::STOPS => (registers.rax, registers.rcx) = stops(thread, b, c, d),
        guest::PROTECT => registers.rax = protect(thread, b, c == 1),
        guest::STOP_FOR_GOOD => {
            for _ in 0..2 {
                let stopped = machine_does(thread, &MachineRequest::Stop { deadline: PATIENCE });
                report::check(thread, "stop_goes_on", stopped, true);
            }
        }
        guest::START => {
            let started = load::start_processor(thread, b as u32, c);
            report::check(thread, "start_accepted", started, Ok(()));
        }
        guest::COMPARE => report::compare(thread, b),
        guest::GUARD => confined::guard(thread, b, c, d),
        guest::STEPS => (registers.rax, registers.rcx) = confined::take_counts(),
        guest::DETOUR => (registers.rax, registers.rcx) = confined::detour(thread, &registers),
        guest::STOPPED_DETOUR => {
            let stopped = machine_does(thread, &MachineRequest::Stop { deadline: PATIENCE });
            report::check(thread, "stopped_for_a_detour", stopped, true);
            (registers.rax, registers.rcx) = confined::detour(thread, &registers);
        }
        guest::ABANDON if generation == 0 => confined::abandon(thread, &registers),
        guest::ABANDON => registers.rax = generation.into(),
        guest::FILL => fill(thread, b, c, d),
        _ => report::check(thread, "known_hypercall", registers.rax, 0),
    }
    go_on(registers)
}

/// Writes zeros and ones in turn.
fn fill(thread: &mut Thread, gpa: u64, length: u64, times: u64) {
    for round in 0..times {
        let bytes = [if round & 1 == 0 { 0xff } else { 0 }; 64];
        let bytes = bytes.get(..length as usize).unwrap_or(&bytes);
        if load::write(thread, gpa, bytes).is_err() {
            report::check(thread, "filled", round, times);
            return;
        }
    }
}

fn exit_count(thread: &mut Thread) -> u64 {
    match thread.call(Object::Machine, &MachineRequest::Counters) {
        Ok(MachineReply::Counters { counts }) => {
            counts[Counter::Exits as usize] + counts[Counter::Cpuid as usize]
        }
        _ => 0,
    }
}

fn machine_does(thread: &mut Thread, request: &MachineRequest) -> bool {
    let reply: Result<MachineReply<'_>, CallError> = thread.call(Object::Machine, request);
    reply.is_ok()
}

/// Changing an intercept needs a stop.
fn intercept(thread: &mut Thread, on: bool) {
    let stopped = machine_does(thread, &MachineRequest::Stop { deadline: PATIENCE });
    let changed = machine_does(thread, &MachineRequest::InterceptInvalidOpcode { on });
    let resumed = machine_does(thread, &MachineRequest::Resume);
    report::check(thread, "intercept_changes", (stopped, changed, resumed), (true, true, true));
}

/// Changes the rights on a page. Returns 0 or the number of the status.
fn protect(thread: &mut Thread, start: u64, read_only: bool) -> u64 {
    match load::set(thread, View::Main, start, 4096, !read_only) {
        Ok(()) => 0,
        Err(CallError::Status(status)) => status as u64,
        Err(_) => u64::MAX,
    }
}

/// Stops and resumes so often. Returns how many stops succeeded, and how often the counter at
/// `moves` moved while all processors stood still.
fn stops(thread: &mut Thread, count: u64, moves: u64, deadline: u64) -> (u64, u64) {
    let window = GuestWindow::new(system_info());
    let look = || {
        let mut bytes = [0; 8];
        let _ = window.read(moves, &mut bytes);
        u64::from_le_bytes(bytes)
    };
    let (mut done, mut moved) = (0, 0);
    for _ in 0..count {
        if machine_does(thread, &MachineRequest::Stop { deadline }) {
            let before = look();
            for _ in 0..100 {
                core::hint::spin_loop();
            }
            moved += u64::from(look() != before);
            done += u64::from(machine_does(thread, &MachineRequest::Resume));
        }
    }
    (done, moved)
}
