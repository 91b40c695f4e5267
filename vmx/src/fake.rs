//! A machine for tests.

use std::collections::BTreeMap;
use std::fmt;

use lucos_abi::object::FlatStart;
use lucos_abi::registers::Registers;
use lucos_linux_boot::nvs::fixed_places;
use lucos_service::{AddressSpace, FaultVerdict, LiveupdateReply, LiveupdateRequest, MemoryError};
use lucos_system_info::{Extension, MemoryKind, MemoryRange, SystemInfo};

use crate::exit::Machine;
use crate::platform::{Failure, Platform};
use crate::ports;

/// LUCOS's region.
pub(crate) const REGION: u64 = 0x3f80_0000;
/// The NVS area; the mailbox is at its start.
pub(crate) const MAILBOX: u64 = REGION - 0x1_0000;
pub(crate) const APIC_ID_OF_1: u32 = 0x21;

pub(crate) fn info() -> SystemInfo {
    let range = |start, end, kind| MemoryRange { start, length: end - start, kind };
    let region = range(REGION, REGION + 0x80_0000, MemoryKind::Region);
    let nvs = range(MAILBOX, REGION, MemoryKind::NvsArea);
    let memory = [
        range(0, 0x9_f000, MemoryKind::Ram),
        range(0xf_0000, 0x10_0000, MemoryKind::Reserved),
        range(0x10_0000, MAILBOX, MemoryKind::Ram),
        nvs,
        region,
    ];
    SystemInfo {
        memory: memory.into_iter().collect(),
        region,
        nvs,
        rsdp: 0xf_0000,
        modules: [].into_iter().collect(),
        apic_ids: [0, APIC_ID_OF_1, 0x22].into_iter().collect(),
        physical_bits: 40,
        extension: Extension::Svm { features: 0, contains_init: false },
        // SCE, LME, LMA, NXE.
        framebuffer: None,
        efi: None,
    }
}

pub(crate) fn machine(info: &SystemInfo) -> Machine<'_> {
    Machine { info, places: fixed_places(info.nvs.start) }
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

/// Memory by page, all zero where nothing was written.
#[derive(Default)]
pub(crate) struct Memory(BTreeMap<u64, Vec<u8>>);

impl Memory {
    pub(crate) fn read(&self, gpa: u64, length: usize) -> Vec<u8> {
        (gpa..)
            .take(length)
            .map(|gpa| {
                let page = self.0.get(&(gpa >> 12));
                page.map_or(0, |page| page[(gpa & 0xfff) as usize])
            })
            .collect()
    }

    pub(crate) fn write(&mut self, gpa: u64, data: &[u8]) {
        for (gpa, &byte) in (gpa..).zip(data) {
            let page = self.0.entry(gpa >> 12).or_insert(vec![0; 0x1000]);
            page[(gpa & 0xfff) as usize] = byte;
        }
    }
}

pub(crate) struct Fake {
    pub(crate) cpu: u32,
    pub(crate) memory: Memory,
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
    pub(crate) copied: Vec<(u64, u64, u64)>,
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
            memory: Memory::default(),
            code: vec![0x90],
            fetches: 0,
            verdict: FaultVerdict::Mended,
            liveupdate_reply: LiveupdateReply::NotOurs,
            asked_liveupdate: Vec::new(),
            refuses: None,
            started: Vec::new(),
            guarded: Vec::new(),
            copied: Vec::new(),
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

fn hidden(gpa: u64, length: usize) -> Result<(), Failure> {
    let end = gpa.saturating_add(length as u64);
    if gpa < REGION + 0x80_0000 && end > REGION {
        return Err(Failure::Memory(MemoryError::NotRam { gpa }));
    }
    Ok(())
}

impl Platform for Fake {
    fn cpu(&self) -> u32 {
        self.cpu
    }

    fn repeats(&self) -> bool {
        false
    }

    fn fetch(
        &mut self,
        _space: AddressSpace,
        _address: u64,
        to: &mut [u8],
    ) -> Result<usize, Failure> {
        self.fetches += 1;
        let length = self.code.len().min(to.len());
        to[..length].copy_from_slice(&self.code[..length]);
        Ok(length)
    }

    fn read_physical(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Failure> {
        hidden(gpa, to.len())?;
        to.copy_from_slice(&self.memory.read(gpa, to.len()));
        Ok(())
    }

    fn write_physical(&mut self, gpa: u64, data: &[u8]) -> Result<(), Failure> {
        hidden(gpa, data.len())?;
        self.memory.write(gpa, data);
        Ok(())
    }

    fn copy_physical(&mut self, from: u64, to: u64, length: u64) -> Result<(), Failure> {
        self.copied.push((from, to, length));
        let data = self.memory.read(from, length as usize);
        self.write_physical(to, &data)
    }

    fn guard(&mut self, gpa: u64) -> Result<(), Failure> {
        self.guarded.push(gpa);
        Ok(())
    }

    fn nested_fault(
        &mut self,
        _gpa: u64,
        _write: bool,
        _execute: bool,
    ) -> Result<FaultVerdict, Failure> {
        self.refuse()?;
        Ok(self.verdict)
    }

    fn liveupdate(&mut self, request: LiveupdateRequest) -> Result<LiveupdateReply, Failure> {
        self.asked_liveupdate.push(request);
        self.refuse()?;
        Ok(self.liveupdate_reply)
    }

    fn read_msr(&mut self, number: u32) -> Result<u64, Failure> {
        self.refuse()?;
        self.registers.get(&number).copied().ok_or(Failure::Refused)
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
