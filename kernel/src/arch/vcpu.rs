//! The vCPU of a processor, and the protocol of entering the guest.
//!
//! The vendor's part, a [`Backend`], switches to the guest and back, and names the exit. What is the
//! same for all vendors is here: when the guest may be entered, what is said to other processors on
//! the way, which exits the kernel handles itself, and what is counted.

use super::processor::{self, PerProcessor};
use super::{apic, cpuid, idle, nmi, port, svm};
use crate::fatal::Fatal;
use crate::object::{guest_space, machine};
use crate::{cpuid_table, stop};
use alloc::boxed::Box;
use core::mem::take;
use core::sync::atomic::{AtomicU64, Ordering};
use lucos_abi::object::{COUNTERS, Counter, Event, ExitReason, FlatStart};
use lucos_abi::registers::Registers;
use lucos_paging::Format;
use spin::Once;
use x86::msr::IA32_APIC_BASE;

/// The virtualization extension of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// The format of its nested page tables.
    pub format: Format,
    /// CPUID leaves the guest, so that a hypervisor below stays hidden.
    pub hides_cpuid: bool,
    /// Switches it on for the processor that calls, and makes its vCPU.
    pub(super) make: fn(&'static PerProcessor) -> Result<Box<dyn Backend>, Fatal>,
}

static EXTENSION: Once<Extension> = Once::new();

/// Finds the extension, once and for all processors. Each switches it on in [`Vcpu::new`]. The guest
/// must not use the interface of a hypervisor below, if there is one.
///
/// # Errors
/// There is none, it is locked, or it lacks something.
pub fn probe(hypervisor_below: bool) -> Result<(), Fatal> {
    if !cpuid::has_svm() {
        return Err(Fatal::NoExtension);
    }
    EXTENSION.try_call_once(|| svm::probe(hypervisor_below)).map(|_| ())
}

/// The extension that [`probe`] found.
///
/// # Errors
/// It was not called, or found none.
pub fn extension() -> Result<&'static Extension, Fatal> {
    EXTENSION.get().ok_or(Fatal::NoExtension)
}

/// Makes every access of the guest to a port an exit; `None` before there is a vCPU.
pub fn intercept_port(port: u16) -> Option<()> {
    svm::io_map().map(|map| map.intercept(port))
}

/// Reads a port, or writes it, for the guest; `None` unless an access of this size is an exit.
pub fn access_port(port: u16, size: u8, output: Option<u32>) -> Option<u32> {
    svm::io_map()?.stops(port, size).then(|| port::access(port, size, output))?
}

/// What is left to be done after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exited {
    /// Nothing, or the guest was not entered: look around and try again.
    Again,
    /// CPUID, where that leaves the guest, is to be answered.
    Cpuid,
    /// What a task has to do.
    Reason(ExitReason),
}

/// What differs between the vendors. [`Vcpu::enter`] calls the first six in their order.
pub trait Backend {
    /// The processor would not enter the state that the guest has made.
    fn is_refused(&self) -> bool;
    /// Prepares the next entry. False when something of the guest's waits for an entry that comes
    /// soon after.
    fn prepare(&mut self) -> bool;
    /// From here to the guest no NMI goes unnoticed.
    fn close(&mut self);
    /// Enters the guest, with its old translations forgotten when `flush`, and comes back with the
    /// state saved. Invalid opcodes leave the guest when asked for.
    fn switch(&mut self, flush: bool, invalid_opcode: bool);
    /// The processor is LUCOS's again, and NMIs come to it.
    fn open(&mut self);
    /// Looks at the last exit.
    fn look_at_exit(&mut self, counts: &ExitCounts) -> Exited;

    /// An NMI of the guest has come.
    fn pend_nmi(&mut self);
    /// Sets the state in which the guest starts. Nothing of an earlier run is left.
    fn start(&mut self, state: &FlatStart);
    /// The registers.
    fn registers(&self) -> Registers;
    /// Changes the registers that a task may change.
    fn set_registers(&mut self, block: &Registers);
    /// Delivers an exception at the next entry; false when it comes while a double fault is
    /// delivered, which is a shutdown.
    fn inject(&mut self, event: Event) -> bool;
    /// Length of the instruction of the last exit; 0 when the processor does not tell.
    fn instruction_length(&self) -> u8;
    /// Reads a register whose reads leave the guest though it is the machine's.
    fn read_register(&self, number: u32) -> Option<u64>;
    /// Writes a register for the guest; `None` when it may not write it, or not this value.
    fn write_register(&mut self, number: u32, value: u64) -> Option<()>;
}

/// A vCPU.
pub struct Vcpu {
    backend: Box<dyn Backend>,
    shared: &'static PerProcessor,
    /// It has been started, and not parked since.
    started: bool,
    /// INIT came since.
    init: bool,
    /// A task has said how the guest goes on after an exit. Whoever wants to know clears it.
    pub exit_was_handled: bool,
    /// The guest was entered since somebody asked.
    entered: bool,
}

impl Vcpu {
    /// Switches the extension on and makes this processor's vCPU, not started.
    ///
    /// # Errors
    /// The extension is missing or locked, or the region is full.
    pub fn new(shared: &'static PerProcessor) -> Result<Self, Fatal> {
        let backend = (extension()?.make)(shared)?;
        let (started, init, entered, exit_was_handled) = (false, false, false, false);
        Ok(Self { backend, shared, started, init, entered, exit_was_handled })
    }

    /// Runs the guest until an exit that a task must handle.
    pub fn run(&mut self) -> ExitReason {
        loop {
            self.wait_until_allowed();
            let exited = match take(&mut self.init) {
                true => Exited::Reason(ExitReason::Init),
                false => self.enter(),
            };
            match exited {
                Exited::Again => {}
                Exited::Cpuid => self.answer_cpuid(),
                Exited::Reason(reason) => {
                    self.shared.counts.add(counter(reason));
                    return reason;
                }
            }
        }
    }

    /// A processor on which CPUID leaves the guest tells how long the instruction was.
    fn answer_cpuid(&mut self) {
        self.shared.counts.add(Counter::Cpuid);
        let mut block = self.registers();
        let [eax, ebx, ecx, edx] =
            cpuid_table::answer(block.rax as u32, block.rcx as u32, block.cr4);
        block.rax = eax.into();
        block.rbx = ebx.into();
        block.rcx = ecx.into();
        block.rdx = edx.into();
        block.rip = block.rip.wrapping_add(self.instruction_length().into());
        let event = block.complete().then_some(Event::SINGLE_STEP);
        self.set_registers(&block);
        // Nothing else is under way: the instruction was executed.
        let _ = event.is_none_or(|event| self.inject(event));
    }

    /// Waits until the guest may be entered.
    fn wait_until_allowed(&mut self) {
        loop {
            self.take_nmis();
            if stop::holds(self.shared.number) {
                core::hint::spin_loop();
                continue;
            }
            if let Some(state) = self.shared.start.lock().take() {
                self.started = true;
                self.init = false;
                self.backend.start(&state);
            }
            if self.started {
                return;
            }
            idle::wait_for_nmi(&self.shared.nmis);
        }
    }

    /// Enters the guest once, unless something came up.
    ///
    /// Others rely on this order. Whoever wants something of this processor first says so in memory,
    /// then looks whether it is in the guest, and if so kicks it. So this processor first says that it
    /// is in the guest, then looks; and between that look and the guest no NMI is lost.
    fn enter(&mut self) -> Exited {
        if self.backend.is_refused() {
            return Exited::Reason(ExitReason::InvalidState);
        }
        let me = self.shared;
        let at_once = self.backend.prepare();
        self.backend.close();
        me.in_guest.store(true, Ordering::SeqCst);
        let enters = !self.must_not_enter();
        if enters {
            self.entered = true;
            if !at_once {
                // What is delivered first is delivered, and then this takes the guest out again.
                nmi::kick(me);
            }
            // What a stop changed is seen here: a stop that is not over was seen above, and one that
            // begins now kicks.
            self.backend.switch(self.translations_are_old(), machine::intercepts_invalid_opcode());
            *me.snapshot.lock() = Some(self.backend.registers());
        }
        me.in_guest.store(false, Ordering::SeqCst);
        self.backend.open();
        if enters { self.backend.look_at_exit(&me.counts) } else { Exited::Again }
    }

    /// Whether the guest was entered since the last call.
    pub fn take_entered(&mut self) -> bool {
        take(&mut self.entered)
    }

    /// Something came up that must be looked at first.
    fn must_not_enter(&self) -> bool {
        self.shared.nmis.are_waiting()
            || stop::holds(self.shared.number)
            || self.shared.start.lock().is_some()
    }

    /// Takes note of the present generation of the guest space; true when translations are older.
    fn translations_are_old(&self) -> bool {
        let generation = guest_space::generation();
        self.shared.space_generation.swap(generation, Ordering::SeqCst) != generation
    }

    /// Looks at the NMIs that the host took.
    pub fn take_nmis(&mut self) {
        let taken = self.shared.nmis.take(|| self.registers().idt_base);
        if taken.kicked {
            self.shared.counts.add(Counter::Kick);
        }
        self.init |= taken.init && self.started;
        if taken.guests && self.started {
            self.shared.counts.add(Counter::GuestNmi);
            self.backend.pend_nmi();
        }
    }

    /// The next `run` waits until the vCPU is started again.
    pub fn park(&mut self) {
        self.started = false;
        self.init = false;
        *self.shared.snapshot.lock() = None;
    }

    /// Length of the instruction that caused the last exit; 0 when the processor does not tell.
    pub fn instruction_length(&self) -> u8 {
        self.backend.instruction_length()
    }

    /// The registers.
    pub fn registers(&self) -> Registers {
        self.backend.registers()
    }

    /// Changes the registers that a task may change.
    pub fn set_registers(&mut self, registers: &Registers) {
        self.backend.set_registers(registers);
        // Whoever stops this processor before it enters sees where it goes on.
        if let Some(snapshot) = &mut *self.shared.snapshot.lock() {
            *snapshot = self.backend.registers();
        }
    }

    /// Delivers an exception at the next entry; false when it comes while a double fault is
    /// delivered, which is a shutdown.
    pub fn inject(&mut self, event: Event) -> bool {
        self.backend.inject(event)
    }

    /// Reads a register whose reads leave the guest though it is the machine's.
    pub fn read_register(&self, number: u32) -> Option<u64> {
        self.backend.read_register(number)
    }

    /// Writes a register for the guest; `None` when it may not write it, or not this value.
    pub fn write_register(&mut self, number: u32, value: u64) -> Option<()> {
        match number {
            IA32_APIC_BASE => apic::write_base(value).then_some(()),
            _ => self.backend.write_register(number, value),
        }
    }
}

/// Exit counters of a processor.
#[derive(Debug, Default)]
pub struct ExitCounts([AtomicU64; COUNTERS]);

impl ExitCounts {
    /// Counts one.
    pub fn add(&self, counter: Counter) {
        if let Some(count) = self.0.get(counter as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counters summed over all processors.
pub fn counts() -> [u64; COUNTERS] {
    let mut sums = [0; COUNTERS];
    for processor in processor::all() {
        for (sum, count) in sums.iter_mut().zip(&processor.counts.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
    sums
}

const fn counter(reason: ExitReason) -> Counter {
    match reason {
        ExitReason::Hypercall => Counter::Hypercall,
        ExitReason::ReadMsr => Counter::ReadMsr,
        ExitReason::WriteMsr => Counter::WriteMsr,
        ExitReason::Virtualization => Counter::Virtualization,
        ExitReason::Exception(Event { vector: 6, .. }) => Counter::InvalidOpcode,
        ExitReason::Exception(Event { vector: 1, .. }) => Counter::Debug,
        ExitReason::NestedFault { .. } => Counter::NestedFault,
        ExitReason::Shutdown => Counter::Shutdown,
        ExitReason::Init => Counter::Init,
        ExitReason::Exception(_)
        | ExitReason::InvalidateCaches
        | ExitReason::Port(_)
        | ExitReason::InvalidState
        | ExitReason::Other { .. } => Counter::Other,
    }
}
