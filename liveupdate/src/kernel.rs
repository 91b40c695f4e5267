//! The platform of the real task: messages to the kernel and to `memory`.

use lucos_abi::manifest::Object;
use lucos_abi::object::{
    COUNTERS, ExitReason, MachineReply, MachineRequest, VcpuReply, VcpuRequest,
};
use lucos_abi::registers::Registers;
use lucos_data_versions::Note;
use lucos_guest_interface::Part;
use lucos_guest_interface::status::{
    ASSIST_CLEAN_BITS, ASSIST_DECODE, ASSIST_FLUSH_BY_ASID, ASSIST_NEXT_RIP, ASSIST_PAUSE_FILTER,
    ASSIST_VIRTUAL_NMI, CONTAINS_INIT, Extension,
};
use lucos_runtime::{CallError, GuestWindow, Thread, read_log, time_stamp};
use lucos_service::client::{Failure, Memory};
use lucos_service::{AddressSpace, MemoryReply, MemoryRequest};
use lucos_system_info::SystemInfo;
use lucos_transaction::SubjectError;

use crate::guest::subject_error;
use crate::late::Late;
use crate::platform::{Facts, Platform};
use crate::retained::RetainedPages;

/// How long a stop may take, in time-stamp ticks: about a second. Processors arrive within
/// microseconds, and one that does not arrive at all is broken; but an emulator on a busy machine
/// was seen not to run a processor for a third of a billion ticks.
const STOP_DEADLINE: u64 = 3_000_000_000;

/// One thread of the task.
#[derive(Debug)]
pub struct Real<'a> {
    /// The thread.
    pub thread: &'a mut Thread,
    /// Number of its processor.
    pub processor: u32,
    /// What does not change.
    pub facts: Facts,
    /// What survives a restart.
    pub pages: RetainedPages,
    /// Guest memory.
    pub window: &'a GuestWindow,
}

/// The facts, from the kernel's description of the machine.
pub fn facts(info: &'static SystemInfo) -> Facts {
    let (extension, assists, contains_init) = match info.extension {
        lucos_system_info::Extension::Svm { features, contains_init } => {
            (Extension::Svm, svm_assists(features), contains_init)
        }
        lucos_system_info::Extension::Vtx => (Extension::Vmx, 0, true),
    };
    Facts {
        apic_ids: &info.apic_ids,
        region: info.region,
        extension: extension.number(),
        containment: if contains_init { CONTAINS_INIT } else { 0 },
        assists,
    }
}

/// What this AMD-V has (EDX of CPUID Fn8000_000A).
fn svm_assists(edx: u32) -> u32 {
    let bits = [
        (3, ASSIST_NEXT_RIP),
        (5, ASSIST_CLEAN_BITS),
        (6, ASSIST_FLUSH_BY_ASID),
        (7, ASSIST_DECODE),
        (10, ASSIST_PAUSE_FILTER),
        (25, ASSIST_VIRTUAL_NMI),
    ];
    let present = bits.into_iter().filter(|(bit, _)| edx & 1 << bit != 0);
    present.fold(0, |assists, (_, assist)| assists | assist)
}

/// A reply of another request.
const UNEXPECTED: SubjectError = SubjectError::Failed(Part::Liveupdate);

fn kernel_error(error: CallError) -> SubjectError {
    subject_error(error.into(), 0)
}

impl Real<'_> {
    fn machine(&mut self, request: &MachineRequest) -> Result<MachineReply<'_>, SubjectError> {
        self.thread.call(Object::Machine, request).map_err(kernel_error)
    }

    fn done(&mut self, request: &MachineRequest) -> Result<(), SubjectError> {
        match self.machine(request)? {
            MachineReply::Done => Ok(()),
            _ => Err(UNEXPECTED),
        }
    }
}

impl Memory for Real<'_> {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.thread.ask(request, value)
    }
}

impl Platform for Real<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn processor(&self) -> u32 {
        self.processor
    }

    fn time(&mut self) -> u64 {
        time_stamp()
    }

    fn stop(&mut self) -> Result<(), SubjectError> {
        self.done(&MachineRequest::Stop { deadline: STOP_DEADLINE })
    }

    fn resume(&mut self) -> Result<(), SubjectError> {
        self.done(&MachineRequest::Resume)
    }

    fn registers(&mut self, processor: u32) -> Result<Option<Registers>, SubjectError> {
        match self.machine(&MachineRequest::Registers { cpu: processor })? {
            MachineReply::Registers { registers: [] } => Ok(None),
            MachineReply::Registers { registers } => {
                Registers::from_bytes(registers).map(Some).ok_or(UNEXPECTED)
            }
            _ => Err(UNEXPECTED),
        }
    }

    fn confined(
        &mut self,
        start: Option<&Registers>,
        steps: u32,
    ) -> Result<(ExitReason, Registers), SubjectError> {
        let block = start.map(Registers::to_bytes);
        let registers: &[u8] = block.as_ref().map_or(&[], |block| block);
        let request = VcpuRequest::Confined { registers, steps };
        match self.thread.call(Object::Vcpu, &request).map_err(kernel_error)? {
            VcpuReply::Exit { reason, registers, .. } => {
                Ok((reason, Registers::from_bytes(registers).ok_or(UNEXPECTED)?))
            }
            VcpuReply::Value(_) | VcpuReply::Done => Err(UNEXPECTED),
        }
    }

    fn end_detour(&mut self) -> Result<(), SubjectError> {
        match self.thread.call(Object::Vcpu, &VcpuRequest::Return).map_err(kernel_error)? {
            VcpuReply::Done => Ok(()),
            VcpuReply::Exit { .. } | VcpuReply::Value(_) => Err(UNEXPECTED),
        }
    }

    fn look(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Failure> {
        match self.window.read(gpa, to) {
            Ok(()) => Ok(()),
            // Memory that was added since the machine booted.
            Err(_) => self.read_physical(gpa, to),
        }
    }

    fn note(&self) -> Option<(Note, AddressSpace)> {
        self.pages.note(self.processor)
    }

    fn others_have_notes(&self) -> bool {
        let others = (0..self.facts.processors()).filter(|&other| other != self.processor);
        others.into_iter().any(|other| self.pages.has_note(other))
    }

    fn retain_note(&mut self, note: &Note, space: AddressSpace) -> Result<(), SubjectError> {
        let retained = self.pages.retain_note(self.processor, note, space);
        retained.map_err(|_| SubjectError::Failed(Part::Journal))
    }

    fn late(&self, place: usize) -> Option<Late> {
        self.pages.late(place)
    }

    fn retain_late(&mut self, place: usize, late: Option<Late>) -> Result<(), SubjectError> {
        let retained = self.pages.retain_late(place, late);
        retained.map_err(|_| SubjectError::Failed(Part::Journal))
    }

    fn clear_note(&mut self) -> Result<(), SubjectError> {
        let cleared = self.pages.clear_note(self.processor);
        cleared.map_err(|_| SubjectError::Failed(Part::Journal))
    }

    fn intercept(&mut self, on: bool) -> Result<(), SubjectError> {
        self.done(&MachineRequest::InterceptInvalidOpcode { on })
    }

    fn forward_kicks(&mut self, on: bool) -> Result<(), SubjectError> {
        self.done(&MachineRequest::ForwardKicks { on })
    }

    fn counters(&mut self) -> Result<[u64; COUNTERS], SubjectError> {
        match self.machine(&MachineRequest::Counters)? {
            MachineReply::Counters { counts } => Ok(counts),
            _ => Err(UNEXPECTED),
        }
    }

    fn retain_redirections(&mut self, count: u64) {
        self.pages.retain_redirections(count);
    }

    fn read_log(&mut self, offset: u64, bytes: &mut [u8]) -> (u64, usize) {
        read_log(offset, bytes)
    }

    fn log(&mut self, line: core::fmt::Arguments<'_>) {
        self.thread.log(line);
    }
}

#[cfg(test)]
mod tests {
    use super::svm_assists;
    use lucos_guest_interface::status::{ASSIST_DECODE, ASSIST_NEXT_RIP};

    #[test]
    fn assists_are_found_by_their_bits() {
        assert_eq!(svm_assists(0), 0);
        assert_eq!(svm_assists(1 << 3 | 1 << 7 | 1), ASSIST_NEXT_RIP | ASSIST_DECODE);
    }
}
