//! The task `vmx`.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Object;
use lucos_abi::object::{Event, VcpuReply, VcpuRequest};
use lucos_abi::registers::Registers;
use lucos_linux_boot::nvs::fixed_places;
use lucos_runtime::{Journal, StartInfo, Thread, system_info};
use lucos_service::LiveupdateRequest;
use lucos_service::client::Failure;
use lucos_vmx::outcome::{Exit, Facts, Outcome};
use lucos_vmx::platform::{Platform, Real};
use lucos_vmx::{cpuid, exit, guest, processors};

lucos_runtime::entry!(run);

/// Status with which the emulator ends when LUCOS itself has failed.
const STATUS_FAILED: u8 = 0x13;

/// How often this task may fail at an exit before the guest takes an exception instead.
const PATIENCE: u32 = 3;

fn run(thread: Thread, start: StartInfo) -> ! {
    let mut kernel = Real {
        thread,
        cpu: start.cpu,
        journal: Journal::new(&start),
        repeats: start.generation > 0,
    };
    let info = system_info();
    let facts = Facts { info, places: fixed_places(info.nvs.start) };
    if start.cpu == 0 && !processors::guest_started(&kernel) {
        start_guest(&mut kernel, &facts, &start);
    }
    if start.generation > 0 {
        // What `liveupdate` had begun for the guest is done before it runs on. Where that fails the
        // others wait until this processor asks for something the next time.
        let _ = kernel.liveupdate(LiveupdateRequest::Finish);
    }
    let mut next = Outcome::Repeat;
    let mut failures = start.failures;
    loop {
        let exit = match enter(&mut kernel, &next) {
            Ok(exit) => exit,
            Err(error) => kernel.thread.give_up(format_args!("the vCPU does not run: {error}")),
        };
        next = match core::mem::take(&mut failures) {
            0..PATIENCE => exit::handle(&mut kernel, &facts, &exit),
            _ => exit::give_up(&mut kernel, &facts, &exit),
        };
        kernel.repeats = false;
        match next {
            Outcome::Resume(_) | Outcome::Step(_) | Outcome::Repeat | Outcome::Fault(_) => {}
            Outcome::Park => park(&mut kernel),
            Outcome::Reset => kernel.reset(),
            Outcome::Stop => stop(&mut kernel, "the guest cannot go on"),
        }
    }
}

/// Builds the guest and starts its first processor.
#[inline(never)]
fn start_guest(kernel: &mut Real, facts: &Facts<'_>, start: &StartInfo) {
    // The decoder builds its tables when it is first used; that takes longer than an exit should.
    lucos_x86_code::prepare();
    if let Err(error) = set_rules(kernel, start) {
        kernel.log(format_args!("the CPUID rules are refused: {error}"));
        return stop(kernel, "CPUID cannot be answered");
    }
    let state = match guest::build(kernel, facts.info) {
        Ok(state) => state,
        Err(error) => {
            kernel.log(format_args!("no guest: {error}"));
            return stop(kernel, "there is no guest to start");
        }
    };
    processors::set_runs(kernel, 0, true);
    match kernel.start(0, state) {
        Ok(()) => processors::set_guest_started(kernel),
        Err(error) => {
            kernel.log(format_args!("the guest does not start: {error}"));
            stop(kernel, "the guest does not start");
        }
    }
}

/// The kernel takes the rules once; a restart of this task may find them set.
#[inline(never)]
fn set_rules(kernel: &mut Real, start: &StartInfo) -> Result<(), Failure> {
    match kernel.set_cpuid(cpuid::rules()) {
        Err(Failure::Kernel(CallStatus::WrongState)) if start.generation > 0 => Ok(()),
        result => result,
    }
}

/// Lets the vCPU run until its next exit.
fn enter(kernel: &mut Real, how: &Outcome) -> Result<Exit, Failure> {
    let block = match how {
        Outcome::Resume(registers) | Outcome::Step(registers) => Some(registers.to_bytes()),
        _ => None,
    };
    let request = VcpuRequest::Run {
        registers: block.as_ref().map_or(&[], |block| block),
        event: match how {
            Outcome::Fault(event) => Some(*event),
            Outcome::Step(_) => Some(Event::SINGLE_STEP),
            _ => None,
        },
    };
    match kernel.thread.call(Object::Vcpu, &request)? {
        VcpuReply::Exit { reason, instruction_length, registers } => Ok(Exit {
            reason,
            instruction_length,
            registers: Registers::from_bytes(registers).ok_or(Failure::Protocol)?,
        }),
        VcpuReply::Value(_) | VcpuReply::Done => Err(Failure::Protocol),
    }
}

fn park(kernel: &mut Real) {
    if let Err(error) = kernel.park() {
        kernel.log(format_args!("the vCPU is not parked: {error}"));
    }
}

/// Ends the machine. Where that is not possible this processor stands still, so that what was
/// logged can still be read.
fn stop(kernel: &mut Real, why: &str) {
    kernel.log(format_args!("LUCOS FAULT: {why}"));
    kernel.end(STATUS_FAILED);
    park(kernel);
}
