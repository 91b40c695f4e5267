//! A machine for tests.

use std::collections::BTreeMap;
use std::fmt;

use lucos_abi::call::CallStatus;
use lucos_abi::object::FlatStart;
use lucos_abi::registers::Registers;
use lucos_linux_boot::nvs::fixed_places;
use lucos_service::client::{Failure, Memory};
use lucos_service::{FaultVerdict, LiveupdateReply, LiveupdateRequest, MemoryReply, MemoryRequest};
use lucos_system_info::SystemInfo;

use crate::outcome::Facts;
use crate::platform::Platform;
use crate::ports;

pub(crate) use lucos_memory::fake::{AREA as MAILBOX, REGION};
pub(crate) const APIC_ID_OF_1: u32 = 0x21;

/// The machine of `memory`'s tests, with three processors. The mailbox is at the start of its NVS
/// area.
pub(crate) fn info() -> SystemInfo {
    SystemInfo {
        apic_ids: [0, APIC_ID_OF_1, 0x22].into_iter().collect(),
        ..lucos_memory::fake::info()
    }
}

pub(crate) fn facts(info: &SystemInfo) -> Facts<'_> {
    Facts { info, places: fixed_places(info.nvs.start) }
}

/// A processor that runs 64-bit kernel code.
pub(crate) fn kernel_registers() -> Registers {
    Registers {
        rip: 0xffff_ffff_8100_1000,
        cr0: 0x8005_0033,
        cr3: 0x1234_5000,
        efer: 0xd01,
        code_size: 64,
        ..Registers::default()
    }
}

pub(crate) struct Fake {
    pub(crate) cpu: u32,
    /// Memory, and the task that knows it.
    pub(crate) memory: lucos_memory::fake::Fake,
    /// What is at RIP.
    pub(crate) code: Vec<u8>,
    pub(crate) fetches: usize,
    pub(crate) verdict: FaultVerdict,
    pub(crate) liveupdate_reply: LiveupdateReply,
    pub(crate) asked_liveupdate: Vec<LiveupdateRequest>,
    /// Requests to the kernel and to `liveupdate`, and questions after faults, fail so.
    pub(crate) refuses: Option<Failure>,
    pub(crate) started: Vec<(u32, FlatStart)>,
    pub(crate) guarded: Vec<u64>,
    /// Registers of the machine that the kernel reads, and those that were written.
    pub(crate) registers: BTreeMap<u32, u64>,
    pub(crate) written: Vec<(u32, u64)>,
    /// Intercepted ports, accesses to ports with their size and what is written, and what is read.
    pub(crate) intercepted: Vec<u16>,
    pub(crate) ports: Vec<(u16, u8, Option<u32>)>,
    pub(crate) port_value: u32,
    pub(crate) log: Vec<String>,
    journal: [u8; ports::LENGTH],
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            cpu: 0,
            memory: lucos_memory::fake::Fake::new(),
            code: vec![0x90],
            fetches: 0,
            verdict: FaultVerdict::Mended,
            liveupdate_reply: LiveupdateReply::NotOurs,
            asked_liveupdate: Vec::new(),
            refuses: None,
            started: Vec::new(),
            guarded: Vec::new(),
            registers: BTreeMap::new(),
            written: Vec::new(),
            intercepted: Vec::new(),
            ports: Vec::new(),
            port_value: 0,
            log: Vec::new(),
            journal: [0; ports::LENGTH],
        }
    }

    fn refuse(&self) -> Result<(), Failure> {
        self.refuses.map_or(Ok(()), Err)
    }
}

impl Memory for Fake {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        mut value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match *request {
            MemoryRequest::Fetch { length, .. } => {
                self.fetches += 1;
                let length = self.code.len().min(length.into());
                value(MemoryReply::Bytes { data: &self.code[..length] })
            }
            MemoryRequest::Fault { .. } => {
                self.refuse()?;
                value(MemoryReply::Fault(self.verdict))
            }
            MemoryRequest::Guard { pages, .. } => {
                let (pages, _) = pages.as_chunks();
                self.guarded.extend(pages.iter().copied().map(u64::from_le_bytes));
                self.memory.ask(request, value)
            }
            _ => self.memory.ask(request, value),
        }
    }
}

impl Platform for Fake {
    fn cpu(&self) -> u32 {
        self.cpu
    }

    fn repeats(&self) -> bool {
        false
    }

    fn liveupdate(&mut self, request: LiveupdateRequest) -> Result<LiveupdateReply, Failure> {
        self.asked_liveupdate.push(request);
        self.refuse()?;
        Ok(self.liveupdate_reply)
    }

    fn read_msr(&mut self, number: u32) -> Result<u64, Failure> {
        self.refuse()?;
        self.registers.get(&number).copied().ok_or(Failure::Kernel(CallStatus::Refused))
    }

    fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Failure> {
        self.refuse()?;
        self.written.push((number, value));
        Ok(())
    }

    fn intercept_port(&mut self, port: u16) -> Result<(), Failure> {
        self.refuse()?;
        self.intercepted.push(port);
        Ok(())
    }

    fn access_port(&mut self, port: u16, size: u8, output: Option<u32>) -> Result<u32, Failure> {
        self.refuse()?;
        self.ports.push((port, size, output));
        Ok(self.port_value)
    }

    fn write_back_caches(&mut self) -> Result<(), Failure> {
        self.refuse()
    }

    fn start(&mut self, cpu: u32, state: FlatStart) -> Result<(), Failure> {
        self.refuse()?;
        self.started.push((cpu, state));
        Ok(())
    }

    fn recall(&self, offset: usize) -> u8 {
        self.journal[offset]
    }

    fn retain(&mut self, offset: usize, value: u8) {
        self.journal[offset] = value;
    }

    fn time(&self) -> u64 {
        0
    }

    fn log(&mut self, text: fmt::Arguments<'_>) {
        self.log.push(text.to_string());
    }
}
