//! All processors.

use super::{Buffer, log, need, reply, request};
use crate::arch::kick::kick;
use crate::arch::{self, extension, nmi, processor};
use crate::{cpuid_table, stop, vcpu};
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::object::{COUNTERS, FlatStart, MachineReply, MachineRequest};

/// Serves a request that comes from processor `me`.
pub fn serve(
    me: u32,
    rights: Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    let request: MachineRequest = request(message)?;
    need(rights, needed(&request))?;
    match request {
        MachineRequest::Stop { deadline } => stop::stop(me, deadline)?,
        MachineRequest::Registers { cpu } => return registers(me, cpu, buffer),
        MachineRequest::Counters => {
            let mut counts = [0; COUNTERS];
            processor::all().iter().for_each(|each| each.counts.add_to(&mut counts));
            return reply(&MachineReply::Counters { counts }, buffer);
        }
        MachineRequest::Resume => stop::resume(me)?,
        MachineRequest::Start { cpu, state } => start(cpu, state)?,
        MachineRequest::InterceptInvalidOpcode { on } => {
            held(me)?;
            vcpu::intercept_invalid_opcode(on);
        }
        MachineRequest::InterceptPort { port } => {
            extension::intercept_port(port).ok_or(CallStatus::WrongState)?;
        }
        MachineRequest::SetCpuid { rules } => {
            cpuid_table::set(rules).ok_or(CallStatus::WrongState)?;
        }
        MachineRequest::ForwardKicks { on } => forward_kicks(me, on)?,
        MachineRequest::Reset => arch::reset(),
        MachineRequest::Exit { status } => {
            let port = log::exit_port().ok_or(CallStatus::NotThere)?;
            arch::end_machine(Some(port), status);
        }
    }
    reply(&MachineReply::Done, buffer)
}

const fn needed(request: &MachineRequest) -> Rights {
    match request {
        MachineRequest::Stop { .. }
        | MachineRequest::Resume
        | MachineRequest::Registers { .. }
        | MachineRequest::InterceptInvalidOpcode { .. }
        | MachineRequest::ForwardKicks { .. } => Rights::STOP,
        MachineRequest::Start { .. }
        | MachineRequest::InterceptPort { .. }
        | MachineRequest::SetCpuid { .. } => Rights::START,
        MachineRequest::Counters => Rights::READ,
        MachineRequest::Reset | MachineRequest::Exit { .. } => Rights::RESET,
    }
}

/// The caller holds the stop; a machine with one processor needs none.
fn held(me: u32) -> Result<(), CallStatus> {
    let held = stop::is_held_by(me) || processor::all().len() == 1;
    held.then_some(()).ok_or(CallStatus::WrongState)
}

/// The caller's vCPU is one whose interrupt table can take NMIs.
fn forward_kicks(me: u32, on: bool) -> Result<(), CallStatus> {
    let block = processor::get(me).and_then(|processor| *processor.snapshot.lock());
    let table = block.ok_or(CallStatus::WrongState)?.idt_base;
    nmi::forward_kicks(on.then_some(table));
    Ok(())
}

fn registers(me: u32, cpu: u32, buffer: &mut Buffer) -> Result<usize, CallStatus> {
    held(me)?;
    let processor = processor::get(cpu).ok_or(CallStatus::NotThere)?;
    let snapshot = processor.snapshot.lock().map(|block| block.to_bytes());
    let registers: &[u8] = snapshot.as_ref().map_or(&[], |bytes| bytes);
    reply(&MachineReply::Registers { registers }, buffer)
}

fn start(cpu: u32, state: FlatStart) -> Result<(), CallStatus> {
    let processor = processor::get(cpu).ok_or(CallStatus::NotThere)?;
    *processor.start.lock() = Some(state);
    kick(processor);
    Ok(())
}
