//! What the kernel and the other tasks do for this one.

use core::fmt;

use heapless::Vec;
use lucos_abi::cpuid::{CpuidRule, MAX_CPUID_RULES};
use lucos_abi::manifest::Object;
use lucos_abi::object::{FlatStart, MachineReply, MachineRequest, VcpuReply, VcpuRequest};
use lucos_runtime::{Journal, Thread};
use lucos_service::client::{Failure, Memory, ask_liveupdate};
use lucos_service::{LiveupdateReply, LiveupdateRequest, MemoryReply, MemoryRequest};

/// What the kernel and the other tasks do for this one.
pub trait Platform: Memory {
    /// Number of the processor.
    fn cpu(&self) -> u32;

    /// Whether the exit may have been handled before: this task was restarted, and the guest
    /// repeats the instruction.
    fn repeats(&self) -> bool;

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
pub struct Real {
    /// The calling thread.
    pub thread: Thread,
    /// Number of the processor.
    pub cpu: u32,
    /// Retained memory.
    pub journal: Journal,
    /// The exit may have been handled before.
    pub repeats: bool,
}

impl Real {
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

impl Memory for Real {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.thread.ask(request, value)
    }
}

impl Platform for Real {
    fn cpu(&self) -> u32 {
        self.cpu
    }

    fn repeats(&self) -> bool {
        self.repeats
    }

    fn liveupdate(&mut self, request: LiveupdateRequest) -> Result<LiveupdateReply, Failure> {
        let answer = ask_liveupdate(&mut self.thread, &request);
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
