//! What the kernel and the other tasks do for this one.

use core::fmt;

use heapless::Vec;
use lucos_abi::cpuid::{CpuidRule, MAX_CPUID_RULES};
use lucos_abi::manifest::Object;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{FlatStart, MachineReply, MachineRequest, VcpuReply, VcpuRequest};
use lucos_runtime::{CallError, CallStatus, Journal, Thread};
use lucos_service::{
    AddressSpace, FaultVerdict, LIVEUPDATE, LiveupdateReply, LiveupdateRequest, MEMORY,
    MemoryError, MemoryReply, MemoryRequest,
};

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The task `memory` says why.
    Memory(MemoryError),
    /// The request was refused.
    Refused,
    /// The other task was restarted, each time it was asked.
    Restarted,
    /// A reply that does not fit the request, or a status that this task's requests never have.
    Protocol,
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => write!(to, "memory: {error:x?}"),
            Self::Refused => to.write_str("refused"),
            Self::Restarted => to.write_str("the other task was restarted"),
            Self::Protocol => to.write_str("unexpected reply"),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Status(
                CallStatus::Refused
                | CallStatus::NotThere
                | CallStatus::WrongState
                | CallStatus::Full,
            ) => Self::Refused,
            CallError::Status(CallStatus::Restarted) => Self::Restarted,
            _ => Self::Protocol,
        }
    }
}

/// What the kernel and the other tasks do for this one.
pub trait Platform {
    /// Number of the processor.
    fn cpu(&self) -> u32;

    /// Whether the exit may have been handled before: this task was restarted, and the guest
    /// repeats the instruction.
    fn repeats(&self) -> bool;

    /// Copies up to `to.len()` (1 to 15) bytes of code and returns how many.
    ///
    /// # Errors
    /// Not even the first byte can be read.
    fn fetch(&mut self, space: AddressSpace, address: u64, to: &mut [u8])
    -> Result<usize, Failure>;

    /// Fills `to` from guest-physical memory.
    ///
    /// # Errors
    /// Some of it cannot be read.
    fn read_physical(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Failure>;

    /// Writes guest-physical memory.
    ///
    /// # Errors
    /// Some of it is not the guest's; pieces of [`PAYLOAD_MAX`] bytes before it were written.
    fn write_physical(&mut self, gpa: u64, data: &[u8]) -> Result<(), Failure>;

    /// Copies within guest memory.
    ///
    /// # Errors
    /// Some of it is not the guest's; nothing was copied.
    fn copy_physical(&mut self, from: u64, to: u64, length: u64) -> Result<(), Failure>;

    /// Makes the guest's writes to a page come here.
    ///
    /// # Errors
    /// It is no page of the guest, or there are too many.
    fn guard(&mut self, gpa: u64) -> Result<(), Failure>;

    /// Asks what a nested page fault means, and mends what can be mended.
    ///
    /// # Errors
    /// The page cannot be mapped.
    fn nested_fault(
        &mut self,
        gpa: u64,
        write: bool,
        execute: bool,
    ) -> Result<FaultVerdict, Failure>;

    /// Asks the task `liveupdate`.
    ///
    /// # Errors
    /// It was restarted, or is not there.
    fn liveupdate(&mut self, request: LiveupdateRequest) -> Result<LiveupdateReply, Failure>;

    /// Reads a model-specific register of the machine.
    ///
    /// # Errors
    /// The kernel does not read it, or the processor does not have it.
    fn read_msr(&mut self, number: u32) -> Result<u64, Failure>;

    /// Writes a model-specific register.
    ///
    /// # Errors
    /// LUCOS needs the register as it is, or the processor refuses the value.
    fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Failure>;

    /// Makes the guest's accesses to a port exits.
    ///
    /// # Errors
    /// The kernel refuses.
    fn intercept_port(&mut self, port: u16) -> Result<(), Failure>;

    /// Reads such a port, or writes it: `size` bytes, 1, 2 or 4. The value is what was read.
    ///
    /// # Errors
    /// The kernel refuses.
    fn access_port(&mut self, port: u16, size: u8, output: Option<u32>) -> Result<u32, Failure>;

    /// Writes back and invalidates the caches.
    ///
    /// # Errors
    /// The kernel refuses.
    fn write_back_caches(&mut self) -> Result<(), Failure>;

    /// Starts a vCPU.
    ///
    /// # Errors
    /// There is no such vCPU.
    fn start(&mut self, cpu: u32, state: FlatStart) -> Result<(), Failure>;

    /// Reads a byte of retained memory; 0 where there is none.
    fn recall(&self, offset: usize) -> u8;

    /// Writes a byte of retained memory.
    fn retain(&mut self, offset: usize, value: u8);

    /// The time-stamp counter, in ticks.
    fn time(&self) -> u64;

    /// Writes a line to the log.
    fn log(&mut self, text: fmt::Arguments<'_>);
}

/// The real ones.
#[derive(Debug)]
pub struct Kernel {
    /// The calling thread.
    pub thread: Thread,
    /// Number of the processor.
    pub cpu: u32,
    /// Retained memory.
    pub journal: Journal,
    /// The exit may have been handled before.
    pub repeats: bool,
}

/// How often a task is asked that is restarted while it works on the question. Asking again is
/// right: `memory` may do the same twice, and `liveupdate` knows what it has done.
const ATTEMPTS: usize = 4;

/// Asks until the answer is another than that the task was restarted.
fn persist<T>(mut ask: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 1..ATTEMPTS {
        match ask() {
            Err(Failure::Restarted) => {}
            answer => return answer,
        }
    }
    ask()
}

impl Kernel {
    /// Asks `memory`, and makes a value of its reply.
    fn memory<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        mut value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        persist(|| match self.thread.call(MEMORY, request)? {
            MemoryReply::Failed(error) => Err(Failure::Memory(error)),
            reply => value(reply),
        })
    }

    fn done(&mut self, request: &MemoryRequest<'_>) -> Result<(), Failure> {
        self.memory(request, |reply| match reply {
            MemoryReply::Done => Ok(()),
            _ => Err(Failure::Protocol),
        })
    }

    /// Copies the bytes of a reply to the start of `to` and returns how many there are.
    fn bytes(&mut self, request: &MemoryRequest<'_>, to: &mut [u8]) -> Result<usize, Failure> {
        self.memory(request, |reply| {
            let MemoryReply::Bytes { data } = reply else {
                return Err(Failure::Protocol);
            };
            let place = to.get_mut(..data.len()).ok_or(Failure::Protocol)?;
            place.copy_from_slice(data);
            Ok(data.len())
        })
    }

    fn machine(&mut self, request: &MachineRequest) -> Result<(), Failure> {
        match self.thread.call(Object::Machine, request)? {
            MachineReply::Done => Ok(()),
            _ => Err(Failure::Protocol),
        }
    }

    /// Says how the kernel answers CPUID.
    ///
    /// # Errors
    /// It was said before.
    pub fn set_cpuid(&mut self, rules: Vec<CpuidRule, MAX_CPUID_RULES>) -> Result<(), Failure> {
        self.machine(&MachineRequest::SetCpuid { rules })
    }

    /// Resets the machine. Comes back only if the kernel does not do it.
    pub fn reset(&mut self) {
        let _ = self.machine(&MachineRequest::Reset);
    }

    /// Ends the emulator with this status. Comes back where LUCOS was started without a way to do
    /// that.
    pub fn end(&mut self, status: u8) {
        let _ = self.machine(&MachineRequest::Exit { status });
    }

    /// Gives the vCPU up until somebody starts it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn park(&mut self) -> Result<(), Failure> {
        self.vcpu(&VcpuRequest::Park)
    }

    fn value(&mut self, request: &VcpuRequest<'_>) -> Result<u64, Failure> {
        match self.thread.call(Object::Vcpu, request)? {
            VcpuReply::Value(value) => Ok(value),
            VcpuReply::Exit { .. } | VcpuReply::Done => Err(Failure::Protocol),
        }
    }

    fn vcpu(&mut self, request: &VcpuRequest<'_>) -> Result<(), Failure> {
        match self.thread.call(Object::Vcpu, request)? {
            VcpuReply::Done => Ok(()),
            VcpuReply::Exit { .. } | VcpuReply::Value(_) => Err(Failure::Protocol),
        }
    }
}

impl Platform for Kernel {
    fn cpu(&self) -> u32 {
        self.cpu
    }

    fn repeats(&self) -> bool {
        self.repeats
    }

    fn fetch(
        &mut self,
        space: AddressSpace,
        address: u64,
        to: &mut [u8],
    ) -> Result<usize, Failure> {
        let request = MemoryRequest::Fetch {
            space,
            address,
            length: u8::try_from(to.len()).map_err(|_| Failure::Protocol)?,
        };
        self.bytes(&request, to)
    }

    fn read_physical(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Failure> {
        for (index, part) in to.chunks_mut(PAYLOAD_MAX).enumerate() {
            let request = MemoryRequest::ReadPhysical {
                gpa: gpa.saturating_add((index * PAYLOAD_MAX) as u64),
                length: part.len() as u32,
            };
            if self.bytes(&request, part)? != part.len() {
                return Err(Failure::Protocol);
            }
        }
        Ok(())
    }

    fn write_physical(&mut self, gpa: u64, data: &[u8]) -> Result<(), Failure> {
        for (index, data) in data.chunks(PAYLOAD_MAX).enumerate() {
            let gpa = gpa.saturating_add((index * PAYLOAD_MAX) as u64);
            self.done(&MemoryRequest::WritePhysical { gpa, data })?;
        }
        Ok(())
    }

    fn copy_physical(&mut self, from: u64, to: u64, length: u64) -> Result<(), Failure> {
        self.done(&MemoryRequest::CopyPhysical { from, to, length })
    }

    fn guard(&mut self, gpa: u64) -> Result<(), Failure> {
        self.done(&MemoryRequest::Guard { gpa, on: true })
    }

    fn nested_fault(
        &mut self,
        gpa: u64,
        write: bool,
        execute: bool,
    ) -> Result<FaultVerdict, Failure> {
        let request = MemoryRequest::Fault { gpa, write, execute };
        self.memory(&request, |reply| match reply {
            MemoryReply::Fault(verdict) => Ok(verdict),
            _ => Err(Failure::Protocol),
        })
    }

    fn liveupdate(&mut self, request: LiveupdateRequest) -> Result<LiveupdateReply, Failure> {
        let answer = persist(|| Ok(self.thread.call(LIVEUPDATE, &request)?));
        #[cfg(feature = "fault-injection")]
        crate::injection::answered(&request);
        answer
    }

    fn read_msr(&mut self, number: u32) -> Result<u64, Failure> {
        self.value(&VcpuRequest::ReadMsr { number })
    }

    fn intercept_port(&mut self, port: u16) -> Result<(), Failure> {
        self.machine(&MachineRequest::InterceptPort { port })
    }

    fn access_port(&mut self, port: u16, size: u8, output: Option<u32>) -> Result<u32, Failure> {
        let value = self.value(&VcpuRequest::Port { port, size, output })?;
        u32::try_from(value).map_err(|_| Failure::Protocol)
    }

    fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Failure> {
        self.vcpu(&VcpuRequest::WriteMsr { number, value })
    }

    fn write_back_caches(&mut self) -> Result<(), Failure> {
        self.vcpu(&VcpuRequest::WriteBackCaches)
    }

    fn start(&mut self, cpu: u32, state: FlatStart) -> Result<(), Failure> {
        self.machine(&MachineRequest::Start { cpu, state })
    }

    fn recall(&self, offset: usize) -> u8 {
        let mut byte = [0];
        match self.journal.read(offset, &mut byte) {
            Ok(()) => byte[0],
            Err(_) => 0,
        }
    }

    fn retain(&mut self, offset: usize, value: u8) {
        if self.journal.write(offset, &[value]).is_err() {
            lucos_runtime::log!(self.thread, "the journal is too small");
        }
    }

    fn time(&self) -> u64 {
        lucos_runtime::time_stamp()
    }

    fn log(&mut self, text: fmt::Arguments<'_>) {
        self.thread.log(text);
    }
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS, Failure, persist};

    /// Asks a task that is restarted a number of times before it answers.
    fn asked(restarts: usize) -> (Result<u8, Failure>, usize) {
        let mut questions = 0;
        let answer = persist(|| {
            questions += 1;
            match questions > restarts {
                true => Ok(7),
                false => Err(Failure::Restarted),
            }
        });
        (answer, questions)
    }

    #[test]
    fn a_task_that_is_restarted_is_asked_again_but_not_for_ever() {
        assert_eq!(asked(0), (Ok(7), 1));
        assert_eq!(asked(ATTEMPTS - 1), (Ok(7), ATTEMPTS));
        assert_eq!(asked(ATTEMPTS), (Err(Failure::Restarted), ATTEMPTS));
    }

    #[test]
    fn other_failures_are_final() {
        let mut questions = 0;
        let answer = persist(|| {
            questions += 1;
            Err::<(), _>(Failure::Refused)
        });
        assert_eq!((answer, questions), (Err(Failure::Refused), 1));
    }
}
