//! The update manager's upcalls: transfer functions that turn every bit of a mask.

use std::collections::VecDeque;

use lucos_abi::object::{Access, Event, ExitReason, View};
use lucos_abi::registers::Registers;
use lucos_data_versions::{Pair, Side};
use lucos_guest_interface::call::{Call, Upcall, register_value};
use lucos_guest_interface::upcall::{StoppedProcessor, StoppedProcessors};
use lucos_memory::fake::{Fake, SPACE};
use lucos_memory::platform::Rights;
use lucos_service::client::Memory as _;

/// What transfer functions do to each byte.
pub(super) const TURN: u8 = 0x5a;

/// How an upcall ends otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trick {
    /// An exception, with an address in CR2.
    Raises(Event, u64),
    /// A write to memory.
    Writes(u64),
    /// It never comes to an end.
    Loops,
    /// Another hypercall.
    Calls,
    /// Hypercall DONE with this result and detail.
    Says(u64, u64),
    /// Interrupted so many times, and then as it should.
    Interrupted(u32),
    /// It reads through page tables that are not open, and memory that is not mapped yet.
    Walks,
}

#[derive(Debug, Default)]
pub(super) struct Manager {
    /// The size of an object and of its twin, and the pairs.
    pub(super) sizes: [u64; 2],
    pub(super) pairs: Vec<Pair>,
    /// From one place of the stage to the next.
    pub(super) step: u64,
    pub(super) inside: bool,
    /// What the next upcalls do, each once.
    pub(super) tricks: VecDeque<Trick>,
    /// What the witness was told.
    pub(super) stopped: Vec<StoppedProcessor>,
    /// Detours: with which registers, and how many runs each.
    pub(super) detours: Vec<(Registers, u32)>,
    /// What is left of the detour.
    trick: Option<Trick>,
    runs: u32,
    is_out: bool,
    /// What the guest's instruction does in a step: writes these bytes at this guest-physical address.
    pub(super) store: Option<(u64, Vec<u8>)>,
}

fn gpa(memory: &mut Fake, address: u64) -> u64 {
    memory.translate(SPACE, address).unwrap()
}

fn read(memory: &mut Fake, address: u64, length: u64) -> Vec<u8> {
    let gpa = gpa(memory, address);
    memory.bytes(gpa, length as usize)
}

fn is_open(memory: &Fake, gpa: u64) -> bool {
    memory.rights(View::Confined, gpa) == Some(Rights::All)
}

impl Manager {
    pub(super) fn end_detour(&mut self) {
        assert!(std::mem::take(&mut self.is_out), "there is no detour");
        self.trick = None;
    }

    pub(super) fn confined(
        &mut self,
        memory: &mut Fake,
        start: Option<&Registers>,
        steps: u32,
    ) -> (ExitReason, Registers) {
        if let Some(start) = start {
            assert!(!std::mem::replace(&mut self.is_out, true), "a detour from a detour");
            self.trick = self.tricks.pop_front();
            self.detours.push((*start, 0));
            self.runs = 0;
        }
        if !self.is_out {
            return self.step_of_the_guest(memory);
        }
        let (registers, runs) = self.detours.last_mut().unwrap();
        *runs += 1;
        self.runs += 1;
        let registers = *registers;
        // Whatever happens, it has used its stack.
        let stack = gpa(memory, registers.rsp - 8);
        assert!(is_open(memory, stack), "the stack cannot be written");
        memory.put(stack, &[0xee; 8]);
        match self.trick {
            Some(Trick::Raises(event, cr2)) => {
                (ExitReason::Exception(event), Registers { cr2, rip: 0x1234, ..registers })
            }
            Some(Trick::Writes(gpa)) => {
                let access = Access { write: true, present: true, ..Access::default() };
                (ExitReason::NestedFault { gpa, access }, registers)
            }
            Some(Trick::Loops) if steps == 0 => (ExitReason::Interrupted, registers),
            Some(Trick::Loops) => (ExitReason::Stepped, registers),
            Some(Trick::Calls) => {
                let rax = register_value(Call::Query);
                (ExitReason::Hypercall, Registers { rax, ..registers })
            }
            Some(Trick::Says(rbx, rcx)) => done(registers, rbx, rcx),
            Some(Trick::Interrupted(times)) if self.runs <= times => {
                (ExitReason::Interrupted, registers)
            }
            Some(Trick::Walks) if self.runs <= 2 => {
                let table_walk = self.runs == 1;
                let access = Access { write: table_walk, table_walk, ..Access::default() };
                (ExitReason::NestedFault { gpa: 0x6_0000, access }, registers)
            }
            _ => self.serve(memory, registers),
        }
    }

    fn serve(&mut self, memory: &mut Fake, registers: Registers) -> (ExitReason, Registers) {
        let Registers { rdi, rsi, rdx, rcx, .. } = registers;
        match Upcall::from_number(rdi as u32).unwrap() {
            Upcall::TransferOne => {
                // What the larger side has alone stays as it is.
                let size = self.sizes.into_iter().min().unwrap();
                let source = read(memory, rcx, size);
                self.put(memory, rdx, &source, true);
                assert_ne!(rsi, 0);
                done(registers, 0, 0)
            }
            Upcall::TransferAll => {
                let to = if rdx == 0 { Side::Twin } else { Side::Object };
                let [size, from_size] = match to {
                    Side::Object => self.sizes,
                    Side::Twin => [self.sizes[1], self.sizes[0]],
                };
                for (number, pair) in (0..).zip(self.pairs.clone()) {
                    let was = read(memory, pair.address(to), size);
                    let mut made = was.clone();
                    let source = read(memory, pair.address(to.other()), from_size);
                    let count = made.len().min(source.len());
                    made[..count].copy_from_slice(&source[..count]);
                    made[..count].iter_mut().for_each(|byte| *byte ^= TURN);
                    self.put(memory, rcx + number * self.step, &was, false);
                    self.put(memory, rcx + number * self.step + self.step / 2, &made, false);
                }
                done(registers, 0, 0)
            }
            Upcall::Witness => {
                let head = read(memory, rcx, StoppedProcessors::SIZE as u64);
                let head = StoppedProcessors::read(&head).unwrap();
                for number in 0..head.count as usize {
                    let offset = StoppedProcessors::SIZE + number * StoppedProcessor::SIZE;
                    let record = read(memory, rcx + offset as u64, StoppedProcessor::SIZE as u64);
                    self.stopped.push(StoppedProcessor::read(&record).unwrap());
                }
                done(registers, if self.inside { 16 } else { 0 }, 0)
            }
        }
    }

    fn put(&self, memory: &mut Fake, address: u64, bytes: &[u8], turned: bool) {
        let place = gpa(memory, address);
        assert!(is_open(memory, place), "{address:#x} cannot be written");
        let turn = if turned { TURN } else { 0 };
        let bytes: Vec<u8> = bytes.iter().map(|byte| byte ^ turn).collect();
        memory.put(place, &bytes);
    }

    /// One instruction of the guest.
    fn step_of_the_guest(&mut self, memory: &mut Fake) -> (ExitReason, Registers) {
        let Some((gpa, bytes)) = self.store.take() else {
            return (ExitReason::Interrupted, Registers::default());
        };
        for place in [gpa, gpa + bytes.len() as u64 - 1] {
            if !is_open(memory, place) {
                self.store = Some((gpa, bytes));
                let access = Access { write: true, present: true, ..Access::default() };
                return (ExitReason::NestedFault { gpa: place, access }, Registers::default());
            }
        }
        memory.put(gpa, &bytes);
        (ExitReason::Stepped, Registers::default())
    }
}

fn done(registers: Registers, rbx: u64, rcx: u64) -> (ExitReason, Registers) {
    let rax = register_value(Call::Done);
    (ExitReason::Hypercall, Registers { rax, rbx, rcx, ..registers })
}
