//! What the kernel says to requests that it decodes and does not do: what is wrong with them.

use crate::{guest, report};
use lucos_abi::call::CallStatus;
use lucos_abi::object::{
    Event, ExitReason, FlatStart, GuestMemoryReply, GuestMemoryRequest, MachineReply,
    MachineRequest, VcpuReply, VcpuRequest, View,
};
use lucos_runtime::{CallError, Object, Thread, system_info};

/// A processor that no machine of these tests has.
const NOBODY: u32 = 63;

/// Tries them, before any vCPU runs.
pub fn check(thread: &mut Thread) {
    let state = FlatStart {
        rip: 0,
        rsi: 0,
        cr3: 0,
        gdt_base: 0,
        gdt_limit: 0,
        code_selector: 0,
        data_selector: 0,
    };
    let intercept = MachineRequest::InterceptInvalidOpcode { on: false };
    let alone = system_info().apic_ids.len() == 1;
    let stopped = if alone { None } else { Some(CallStatus::WrongState) };
    for (name, request, expected) in [
        ("resume_without_stop", MachineRequest::Resume, Some(CallStatus::WrongState)),
        ("intercept_without_stop", intercept, stopped),
        ("start_nobody", MachineRequest::Start { cpu: NOBODY, state }, Some(CallStatus::NotThere)),
        // This one has not run yet.
        (
            "forward_kicks_to_no_table",
            MachineRequest::ForwardKicks { on: true },
            Some(CallStatus::WrongState),
        ),
    ] {
        let found = status(thread.call::<_, MachineReply<'_>>(Object::Machine, &request));
        report::check(thread, name, found, expected);
    }
    let write = GuestMemoryRequest::Write { gpa: system_info().region.start, data: &[0] };
    let found = status(thread.call::<_, GuestMemoryReply<'_>>(Object::GuestMemory, &write));
    report::check(thread, "write_to_lucos", found, Some(CallStatus::NotThere));
    for (name, start, length) in [("space_misaligned", 1, 4096), ("space_wraps", !0xfff, 0x2000)] {
        for view in [View::Main, View::Confined] {
            let found = status(guest::set(thread, view, start, length, true));
            report::check(thread, name, found, Some(CallStatus::Refused));
        }
    }
    let event = Some(Event { vector: 2, error_code: None });
    let run = VcpuRequest::Run { registers: &[], event };
    let found = status(thread.call::<_, VcpuReply<'_>>(Object::Vcpu, &run));
    report::check(thread, "inject_nmi", found, Some(CallStatus::Refused));
    check_confined(thread);
}

/// A vCPU that was not started runs nothing.
fn check_confined(thread: &mut Thread) {
    let run = VcpuRequest::Confined { registers: &[], steps: 1 };
    let reason = match thread.call(Object::Vcpu, &run) {
        Ok(VcpuReply::Exit { reason, .. }) => Some(reason),
        _ => None,
    };
    report::check(thread, "confined_without_start", reason, Some(ExitReason::Interrupted));
    let short = VcpuRequest::Confined { registers: &[0; 8], steps: 1 };
    let found = status(thread.call::<_, VcpuReply<'_>>(Object::Vcpu, &short));
    report::check(thread, "short_register_block", found, Some(CallStatus::BadMessage));
}

fn status<T>(result: Result<T, CallError>) -> Option<CallStatus> {
    match result {
        Err(CallError::Status(status)) => Some(status),
        _ => None,
    }
}
