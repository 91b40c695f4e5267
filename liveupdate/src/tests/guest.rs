//! A guest, and the update manager in it.

use std::collections::BTreeMap;

use super::manager::Manager;
use crate::late::{LATE_MAX, Late};
use crate::platform::{Facts, Platform};
use crate::service::{Liveupdate, Results};
use lucos_abi::object::{COUNTERS, ExitReason};
use lucos_abi::registers::Registers;
use lucos_data_versions::Note;
use lucos_guest_interface::call::Call;
use lucos_guest_interface::descriptor::{DescriptorBuilder, FunctionRecord};
use lucos_guest_interface::registration::{REGISTRATION_VERSION, RegistrationRecord};
use lucos_guest_interface::{ErrorCode, Part, name};
use lucos_memory::fake::Fake;
use lucos_service::client::{Failure, Memory};
use lucos_service::{AddressSpace, LiveupdateReply, LiveupdateRequest, MemoryReply, MemoryRequest};
use lucos_system_info::{MemoryKind, MemoryRange};
use lucos_transaction::SubjectError;
use lucos_transaction::journal::{Store, StoreError};

pub(super) use lucos_memory::fake::SPACE;
pub(super) const NONCE: u64 = 0x1234_5678;
/// Text of the kernel: two pages.
pub(super) const TEXT: u64 = 0xffff_ffff_8100_0000;
pub(super) const TEXT_END: u64 = TEXT + 0x2000;
/// A module: one page.
pub(super) const MODULE: u64 = 0xffff_ffff_c000_0000;
/// Data that the guest may write: 32 pages.
pub(super) const DATA: u64 = 0xffff_8880_0000_0000;
/// Where the guest's pages lie.
const PAGES: u64 = 0x20_0000;
/// Redirections before the task was restarted.
pub(super) const EARLIER: u64 = 500;
pub(super) const BUILD_ID: [u8; 4] = [0xb0, 0x11, 0xd1, 0xd0];

/// A table of addresses.
pub(super) const TABLE: u64 = TEXT + 0x1000;

const JUMPS_BY_TABLE: [u8; 17] = [
    0x0f, 0x1f, 0x44, 0, 0, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x24, 0xc5, 0x00, 0x10, 0x00, 0x81,
];

/// The functions of the kernel, each in its own 64 bytes.
pub(super) const FUNCTIONS: [(&str, &[u8]); 9] = [
    // endbr64; slot; push rbp; mov rbp, rsp; push rbx; pop rbx; pop rbp; ret
    (
        "plain",
        &[
            0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x53, 0x5b,
            0x5d, 0xc3,
        ],
    ),
    // slot; mov rax, imm64; ret
    ("long_first", &[0x0f, 0x1f, 0x44, 0, 0, 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xc3]),
    // slot; dec edi; jnz to the dec; ret
    ("loops_to_first", &[0x0f, 0x1f, 0x44, 0, 0, 0xff, 0xcf, 0x75, 0xfc, 0xc3, 0xcc, 0xcc]),
    // slot; push rbx; dec edi; jnz to the dec; pop rbx; ret
    ("loops_inside", &[0x0f, 0x1f, 0x44, 0, 0, 0x53, 0xff, 0xcf, 0x75, 0xfc, 0x5b, 0xc3]),
    // slot; ret
    ("tiny", &[0x0f, 0x1f, 0x44, 0, 0, 0xc3]),
    // push rbp; call +0; pop rbp; ret: no slot
    ("no_slot", &[0x55, 0xe8, 0, 0, 0, 0, 0x5d, 0xc3]),
    // slot; jmp [TABLE + rax*8]
    ("jumps_by_table", &JUMPS_BY_TABLE),
    ("jumps_by_it_too", &JUMPS_BY_TABLE),
    // slot; an instruction of no processor; ret
    ("broken", &[0x0f, 0x1f, 0x44, 0, 0, 0x90, 0x06, 0xc3]),
];

pub(super) fn start_of(function: &str) -> u64 {
    let index = FUNCTIONS.iter().position(|(name, _)| *name == function).unwrap();
    TEXT + index as u64 * 64
}

pub(super) struct Guest {
    /// Memory, and the task that knows it.
    pub(super) memory: Fake,
    /// Guest-physical addresses of the pages that are mapped.
    pages: BTreeMap<u64, u64>,
    pub(super) processor: u32,
    pub(super) pointers: BTreeMap<u32, u64>,
    pub(super) stopped: bool,
    /// How often the table was read from its start.
    pub(super) table_reads: u32,
    pub(super) intercept: bool,
    pub(super) forward: bool,
    pub(super) log: Vec<u8>,
    pub(super) log_start: u64,
    pub(super) stop_error: Option<SubjectError>,
    pub(super) time: u64,
    pub(super) redirections: u64,
    /// What upcalls do.
    pub(super) manager: Manager,
    /// Notes of guarded writes.
    pub(super) notes: BTreeMap<u32, Note>,
    /// Late pairs that are retained.
    pub(super) late: BTreeMap<usize, Late>,
    /// No late pair can be.
    pub(super) retains_nothing: bool,
    /// After so many requests to `memory`, so many find that it has ended.
    pub(super) endings: (u32, u32),
}

impl Guest {
    pub(super) fn new() -> Self {
        let mut guest = Self {
            memory: Fake::new(),
            pages: BTreeMap::new(),
            processor: 0,
            pointers: BTreeMap::new(),
            stopped: false,
            table_reads: 0,
            intercept: false,
            forward: false,
            log: Vec::new(),
            log_start: 0,
            stop_error: None,
            time: 70_000,
            redirections: 0,
            manager: Manager::default(),
            notes: BTreeMap::new(),
            late: BTreeMap::new(),
            retains_nothing: false,
            endings: (0, 0),
        };
        for page in [TEXT, TEXT + 0x1000, MODULE] {
            guest.map(page, false);
            guest.poke(page, &[0x90; 4096]);
        }
        for page in 0..32 {
            let page = DATA + page * 0x1000;
            guest.map(page, true);
        }
        for (index, (_, code)) in FUNCTIONS.iter().enumerate() {
            let mut whole = vec![0xcc; 64];
            whole[..code.len()].copy_from_slice(code);
            guest.poke(TEXT + index as u64 * 64, &whole);
        }
        guest
    }

    fn map(&mut self, page: u64, writable: bool) {
        let gpa = PAGES + self.pages.len() as u64 * 0x1000;
        self.memory.map_page(page, gpa, writable);
        self.pages.insert(page, gpa);
    }

    /// Takes a page out of the guest's page tables.
    pub(super) fn unmap(&mut self, page: u64) {
        let gpa = self.pages.remove(&page).unwrap();
        self.memory.unmap_page(page);
        assert_eq!(self.memory.bytes(gpa, 1), [0x90]);
    }

    pub(super) fn gpa(&self, address: u64) -> u64 {
        self.pages[&(address & !0xfff)] + (address & 0xfff)
    }

    pub(super) fn poke(&mut self, address: u64, bytes: &[u8]) {
        let mut rest = bytes;
        let mut at = address;
        while !rest.is_empty() {
            let count = rest.len().min(0x1000 - (at & 0xfff) as usize);
            self.memory.put(self.gpa(at), &rest[..count]);
            rest = &rest[count..];
            at += count as u64;
        }
    }

    pub(super) fn peek(&self, address: u64, length: usize) -> Vec<u8> {
        let end = address + length as u64;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let at = address + bytes.len() as u64;
            let next = end.min((at | 0xfff) + 1);
            bytes.extend(self.memory.bytes(self.gpa(at), (next - at) as usize));
        }
        bytes
    }

    /// Everything that is code.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = self.peek(TEXT, 0x2000);
        text.extend(self.peek(MODULE, 0x1000));
        text
    }
}

impl Memory for Guest {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let writes_code = matches!(request, MemoryRequest::WriteCode { .. });
        assert!(self.stopped || !writes_code, "code written while the guest runs");
        let reads_table = matches!(request, MemoryRequest::Read { address: TABLE, .. });
        self.table_reads += u32::from(reads_table);
        match &mut self.endings {
            (0, 0) => {}
            (0, left) => {
                *left -= 1;
                return Err(Failure::Restarted);
            }
            (before, _) => *before -= 1,
        }
        self.memory.ask(request, value)
    }
}

impl Platform for Guest {
    fn facts(&self) -> Facts {
        Facts {
            apic_ids: &[0, 6],
            region: MemoryRange {
                start: 0x3f80_0000,
                length: 0x80_0000,
                kind: MemoryKind::Reserved,
            },
            extension: 1,
            assists: 0b101,
            containment: 1,
        }
    }

    fn processor(&self) -> u32 {
        self.processor
    }

    fn time(&mut self) -> u64 {
        self.time
    }

    fn stop(&mut self) -> Result<(), SubjectError> {
        if let Some(error) = self.stop_error {
            return Err(error);
        }
        assert!(!self.stopped);
        self.stopped = true;
        self.time += 1000;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), SubjectError> {
        assert!(self.stopped);
        self.stopped = false;
        Ok(())
    }

    fn registers(&mut self, processor: u32) -> Result<Option<Registers>, SubjectError> {
        assert!(self.stopped && processor != self.processor);
        let rip = self.pointers.get(&processor).copied();
        Ok(rip.map(|rip| Registers { rip, rsp: 0x5000, r15: 15, ..Registers::default() }))
    }

    fn confined(
        &mut self,
        start: Option<&Registers>,
        steps: u32,
    ) -> Result<(ExitReason, Registers), SubjectError> {
        let mut manager = std::mem::take(&mut self.manager);
        let answer = manager.confined(&mut self.memory, start, steps);
        self.manager = manager;
        Ok(answer)
    }

    fn end_detour(&mut self) -> Result<(), SubjectError> {
        self.manager.end_detour();
        Ok(())
    }

    fn note(&self) -> Option<(Note, AddressSpace)> {
        self.notes.get(&self.processor).cloned().map(|note| (note, SPACE))
    }

    fn others_have_notes(&self) -> bool {
        self.notes.keys().any(|processor| *processor != self.processor)
    }

    fn retain_note(&mut self, note: &Note, space: AddressSpace) -> Result<(), SubjectError> {
        assert_eq!(space, SPACE);
        self.notes.insert(self.processor, note.clone());
        Ok(())
    }

    fn late(&self, place: usize) -> Option<Late> {
        self.late.get(&place).copied()
    }

    fn retain_late(&mut self, place: usize, late: Option<Late>) -> Result<(), SubjectError> {
        assert!(place < LATE_MAX);
        if self.retains_nothing {
            return Err(SubjectError::Failed(Part::Journal));
        }
        match late {
            Some(late) => self.late.insert(place, late),
            None => self.late.remove(&place),
        };
        Ok(())
    }

    fn clear_note(&mut self) -> Result<(), SubjectError> {
        self.notes.remove(&self.processor);
        Ok(())
    }

    fn intercept(&mut self, on: bool) -> Result<(), SubjectError> {
        assert!(self.stopped);
        self.intercept = on;
        Ok(())
    }

    fn forward_kicks(&mut self, on: bool) -> Result<(), SubjectError> {
        self.forward = on;
        Ok(())
    }

    fn counters(&mut self) -> Result<[u64; COUNTERS], SubjectError> {
        let mut counters = [0; COUNTERS];
        for (index, counter) in counters.iter_mut().enumerate() {
            *counter = 100 * index as u64;
        }
        Ok(counters)
    }

    fn retain_redirections(&mut self, count: u64) {
        self.redirections = count;
    }

    fn read_log(&mut self, offset: u64, bytes: &mut [u8]) -> (u64, usize) {
        let end = self.log_start + self.log.len() as u64;
        let start = offset.clamp(self.log_start, end);
        let rest = &self.log[(start - self.log_start) as usize..];
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        (start, count)
    }

    fn log(&mut self, line: std::fmt::Arguments<'_>) {
        self.log.extend(format!("{line}\n").into_bytes());
    }
}

#[derive(Debug)]
pub(super) struct Pages(pub(super) Vec<u8>);

impl Store for Pages {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        let from = self.0.get(offset..offset + bytes.len()).ok_or(StoreError)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let place = self.0.get_mut(offset..offset + bytes.len()).ok_or(StoreError)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// A guest with its task.
pub(super) struct System {
    pub(super) guest: Guest,
    pub(super) task: Liveupdate<Pages>,
}

pub(super) fn registration() -> RegistrationRecord {
    let mut build_id = [0; 20];
    build_id[..4].copy_from_slice(&BUILD_ID);
    RegistrationRecord {
        version: REGISTRATION_VERSION,
        size: RegistrationRecord::SIZE as u32,
        build_id_length: 4,
        build_id,
        text_start: TEXT,
        text_end: TEXT_END,
        modules_start: MODULE,
        modules_end: MODULE + 0x1000,
        boot_identity: [7; 16],
        ..RegistrationRecord::default()
    }
}

/// What the manager says about a function: its site is behind the slot.
pub(super) fn record(function: &str, entry: u64) -> FunctionRecord {
    let (_, code) = FUNCTIONS.iter().find(|(name, _)| *name == function).unwrap();
    let slot = code.windows(5).position(|bytes| bytes == [0x0f, 0x1f, 0x44, 0, 0]);
    FunctionRecord {
        old_start: start_of(function),
        old_size: 64,
        site_offset: slot.map_or(0, |slot| slot as u32 + 5),
        new_entry: MODULE + entry,
        new_size: 16,
        flags: u32::from(slot.is_some()),
        name: name::field(function).unwrap(),
        ..FunctionRecord::default()
    }
}

pub(super) fn descriptor(patch: &str, functions: &[FunctionRecord]) -> Vec<u8> {
    let builder = DescriptorBuilder::new(patch).unwrap();
    functions.iter().fold(builder, |builder, function| builder.function(*function)).build()
}

/// What transfer functions are ended for.
const ENDED: [ErrorCode; 6] = [
    ErrorCode::TransferFault,
    ErrorCode::TransferLoops,
    ErrorCode::TransferWrites,
    ErrorCode::TransferCalls,
    ErrorCode::TransferRefused,
    ErrorCode::TransferLaw,
];

impl System {
    /// Without a manager.
    pub(super) fn bare() -> Self {
        Self { guest: Guest::new(), task: Liveupdate::new(Pages(vec![0; 32 * 1024]), 2, EARLIER) }
    }

    /// With a registered manager.
    pub(super) fn new() -> Self {
        let mut system = Self::bare();
        let answer = system.register(&registration(), NONCE);
        assert_eq!(answer, Ok([0, 0]));
        system
    }

    pub(super) fn raw(&mut self, call: Call, arguments: [u64; 4]) -> Results {
        self.answer(call, arguments, false)
    }

    /// A hypercall that may be one that was made before.
    pub(super) fn raw_again(&mut self, call: Call, arguments: [u64; 4]) -> Results {
        self.answer(call, arguments, true)
    }

    fn answer(&mut self, call: Call, arguments: [u64; 4], again: bool) -> Results {
        let number = call.number() as u16;
        let request = LiveupdateRequest::Hypercall { number, arguments, space: SPACE, again };
        let reply = self.task.answer(&mut self.guest, &request);
        assert!(!self.guest.stopped, "the guest stands still");
        match reply {
            LiveupdateReply::Results(results) => results,
            other => panic!("{other:?}"),
        }
    }

    /// A hypercall: RAX and RBX, or the error with its place and detail.
    pub(super) fn call(
        &mut self,
        call: Call,
        arguments: [u64; 4],
    ) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
        let [rax, rbx, rcx, rdx] = self.raw(call, arguments);
        match ErrorCode::from_register(rax) {
            Some(code) => {
                // Of a transfer function that was ended it says where that stood.
                if ENDED.contains(&code) {
                    assert_ne!(rbx, arguments[0]);
                } else {
                    assert_eq!(rbx, arguments[0]);
                }
                Err((code, rcx as u32, rdx))
            }
            None => {
                assert!((rax as i64) >= 0, "{rax:#x} is no answer");
                Ok([rax, rbx])
            }
        }
    }

    /// Puts bytes into the guest's data; the address.
    pub(super) fn place(&mut self, bytes: &[u8]) -> u64 {
        let address = DATA + 0x10;
        self.guest.poke(address, bytes);
        address
    }

    pub(super) fn register(
        &mut self,
        record: &RegistrationRecord,
        nonce: u64,
    ) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
        let address = self.place(&record.to_bytes());
        self.call(Call::Register, [nonce, address, RegistrationRecord::SIZE as u64, 0])
    }

    pub(super) fn apply(
        &mut self,
        patch: &str,
        functions: &[FunctionRecord],
    ) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
        self.apply_bytes(&descriptor(patch, functions))
    }

    pub(super) fn apply_bytes(&mut self, bytes: &[u8]) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
        let address = self.place(bytes);
        self.call(Call::Apply, [NONCE, address, bytes.len() as u64, 0])
    }

    pub(super) fn jump(
        &mut self,
        patch: u64,
        index: u32,
    ) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
        self.call(Call::Jump, [NONCE, patch, index.into(), 0])
    }

    pub(super) fn rollback(&mut self, patch: u64) -> Result<[u64; 2], (ErrorCode, u32, u64)> {
        self.call(Call::Rollback, [NONCE, patch, 0, 0])
    }

    pub(super) fn invalid_opcode(&mut self, rip: u64, cpl: u8) -> LiveupdateReply {
        let space = SPACE;
        let request = LiveupdateRequest::InvalidOpcode { rip, space, cpl };
        self.task.answer(&mut self.guest, &request)
    }
}
