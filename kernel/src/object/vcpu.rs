//! The vCPU of this processor.

use super::{Buffer, need, reply, request};
use crate::arch::apic;
use crate::arch::vcpu::Vcpu;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::object::{VcpuReply, VcpuRequest};
use lucos_abi::registers::Registers;

/// Serves a request. `Run` comes back when the guest has an exit that the task must handle.
pub fn serve(
    vcpu: &mut Vcpu,
    rights: Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    match request(message)? {
        VcpuRequest::Run { registers, event } => {
            need(rights, Rights::RUN)?;
            if !registers.is_empty() {
                let block = Registers::from_bytes(registers).ok_or(CallStatus::BadMessage)?;
                vcpu.set_registers(&block);
            }
            if let Some(event) = event {
                if event.vector >= 32 || event.vector == 2 {
                    return Err(CallStatus::Refused);
                }
                vcpu.inject(event);
            }
            let reason = vcpu.run();
            let exit = VcpuReply::Exit {
                reason,
                instruction_length: vcpu.instruction_length(),
                registers: &vcpu.registers().to_bytes(),
            };
            reply(&exit, buffer)
        }
        VcpuRequest::Park => {
            need(rights, Rights::RUN)?;
            vcpu.park();
            reply(&VcpuReply::Done, buffer)
        }
        VcpuRequest::WriteEfer { value } => {
            need(rights, Rights::WRITE)?;
            if !vcpu.write_efer(value) {
                return Err(CallStatus::Refused);
            }
            reply(&VcpuReply::Done, buffer)
        }
        VcpuRequest::WriteApicBase { value } => {
            need(rights, Rights::WRITE)?;
            if !apic::write_base(value) {
                return Err(CallStatus::Refused);
            }
            reply(&VcpuReply::Done, buffer)
        }
    }
}
