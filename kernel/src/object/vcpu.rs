//! The vCPU of this processor.

use super::{Buffer, need, reply, request};
use crate::arch::control;
use crate::arch::extension::access_port;
use crate::stop;
use crate::vcpu::Vcpu;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::object::{Counter, Event, ExitReason, VcpuReply, VcpuRequest};
use lucos_abi::registers::Registers;

/// Serves a request that comes from processor `me`. `Run` comes back when the guest has an exit that
/// the task must handle.
pub fn serve(
    vcpu: &mut Vcpu,
    me: u32,
    rights: Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    match request(message)? {
        VcpuRequest::Run { registers, event } => {
            need(rights, Rights::RUN)?;
            let block = block(registers)?;
            if event.is_some_and(|event| event.vector >= 32 || event.vector == 2) {
                return Err(CallStatus::Refused);
            }
            // Whoever began a detour was restarted.
            vcpu.detour(None);
            vcpu.exit_was_handled |= block.is_some() || event.is_some();
            if let Some(block) = block {
                vcpu.set_registers(&block);
            }
            if let Some(event) = event
                && !vcpu.inject(event)
            {
                return tell(vcpu, ExitReason::Shutdown, buffer);
            }
            // A processor that goes on with its guest has nobody left who would end its stop.
            let _ = stop::resume(me);
            let reason = vcpu.run();
            tell(vcpu, reason, buffer)
        }
        VcpuRequest::Confined { registers, steps } => {
            need(rights, Rights::CONFINE)?;
            if let Some(block) = block(registers)? {
                vcpu.detour(Some(&block));
            }
            let reason = vcpu.run_confined(steps);
            tell(vcpu, reason, buffer)
        }
        VcpuRequest::Return => {
            need(rights, Rights::CONFINE)?;
            vcpu.detour(None);
            reply(&VcpuReply::Done, buffer)
        }
        VcpuRequest::Park => {
            need(rights, Rights::RUN)?;
            vcpu.park();
            reply(&VcpuReply::Done, buffer)
        }
        VcpuRequest::ReadMsr { number } => {
            need(rights, Rights::WRITE)?;
            let value = vcpu.read_register(number).ok_or(CallStatus::Refused)?;
            reply(&VcpuReply::Value(value), buffer)
        }
        VcpuRequest::WriteMsr { number, value } => {
            need(rights, Rights::WRITE)?;
            vcpu.write_register(number, value).ok_or(CallStatus::Refused)?;
            reply(&VcpuReply::Done, buffer)
        }
        VcpuRequest::Port { port, size, output } => {
            need(rights, Rights::WRITE)?;
            let value = access_port(port, size, output).ok_or(CallStatus::Refused)?;
            reply(&VcpuReply::Value(value.into()), buffer)
        }
        VcpuRequest::WriteBackCaches => {
            need(rights, Rights::RUN)?;
            control::write_back_caches();
            reply(&VcpuReply::Done, buffer)
        }
    }
}

/// A register block; none in no bytes.
fn block(bytes: &[u8]) -> Result<Option<Registers>, CallStatus> {
    let block = || Registers::from_bytes(bytes).ok_or(CallStatus::BadMessage);
    (!bytes.is_empty()).then(block).transpose()
}

/// What a task is told of an exit that it has to handle.
fn tell(vcpu: &Vcpu, reason: ExitReason, buffer: &mut Buffer) -> Result<usize, CallStatus> {
    vcpu.count(counter(reason));
    let registers = &vcpu.registers().to_bytes();
    let instruction_length = vcpu.instruction_length();
    reply(&VcpuReply::Exit { reason, instruction_length, registers }, buffer)
}

/// What counts exits for this reason.
const fn counter(reason: ExitReason) -> Counter {
    match reason {
        ExitReason::Hypercall => Counter::Hypercall,
        ExitReason::ReadMsr => Counter::ReadMsr,
        ExitReason::WriteMsr => Counter::WriteMsr,
        ExitReason::Virtualization => Counter::Virtualization,
        ExitReason::Exception(Event { vector: 6, .. }) => Counter::InvalidOpcode,
        ExitReason::Exception(Event { vector: 1, .. }) | ExitReason::Stepped => Counter::Debug,
        ExitReason::NestedFault { .. } => Counter::NestedFault,
        ExitReason::Shutdown => Counter::Shutdown,
        ExitReason::Init => Counter::Init,
        _ => Counter::Other,
    }
}
