//! The vCPU of a processor, and the protocol of entering the guest.
//!
//! The vendor's part, a [`Backend`], switches to the guest and back, and names the exit. What is the
//! same for all vendors is here: when the guest may be entered, what is said to other processors on
//! the way, which exits the kernel handles itself, and what is counted.

use super::processor::{self, PerProcessor};
use super::time::Timer;
use super::{apic, cpuid, idle, nmi, port, svm};
use crate::fatal::Fatal;
use crate::object::{self, Buffer, guest_space, machine};
use crate::{cpuid_table, stop};
use alloc::boxed::Box;
use core::array;
use core::mem::take;
use core::sync::atomic::{AtomicU64, Ordering};
use lucos_abi::call::CallStatus;
use lucos_abi::object::{COUNTERS, Counter, Event, ExitReason, FlatStart, VcpuReply, View};
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
    if !cpuid::has(cpuid::SVM) {
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

/// How the guest is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is on its own until an exit.
    Ordinary,
    /// The same, and it leaves soon after: something of its own waits for that.
    Brief,
    /// For the IRET that comes next, with everything else held back.
    OverIret,
    /// Confined.
    Confined {
        /// For one instruction; otherwise until an exit or the machine's next interrupt.
        step: bool,
    },
}

impl Entry {
    /// The view in which the guest runs then.
    pub const fn view(self) -> View {
        if matches!(self, Self::Confined { .. }) { View::Confined } else { View::Main }
    }
}

/// What differs between the vendors. [`Vcpu::enter`] calls the first five in their order.
pub trait Backend {
    /// Prepares an entry, ordinary or confined, and tells how it has to be. `None` when the processor
    /// would not enter the state that the guest has made.
    fn prepare(&mut self, wanted: Entry) -> Option<Entry>;
    /// From here to the guest no NMI goes unnoticed.
    fn close(&mut self);
    /// Enters the guest, with its old translations forgotten when `flush`, and comes back with the
    /// state saved. Invalid opcodes leave the guest when asked for.
    fn switch(&mut self, entry: Entry, flush: bool, invalid_opcode: bool);
    /// The processor is LUCOS's again, and NMIs come to it.
    fn open(&mut self);
    /// Looks at the exit of such an entry.
    fn look_at_exit(&mut self, entry: Entry) -> Exited;
    /// Confined runs go on with these registers, apart from the guest; or where the guest is.
    fn detour(&mut self, registers: Option<&Registers>);

    /// An NMI of the guest has come.
    fn pend_nmi(&mut self);
    /// Sets the state in which the guest starts. Nothing of an earlier run is left.
    fn start(&mut self, state: &FlatStart);
    /// The registers, on a detour those of the detour.
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
    /// The guest was entered, not confined. Whoever wants to know clears it.
    pub entered: bool,
    /// Confined runs are apart from what the guest does.
    on_detour: bool,
}

impl Vcpu {
    /// Switches the extension on and makes this processor's vCPU, not started.
    ///
    /// # Errors
    /// The extension is missing or locked, or the region is full.
    pub fn new(shared: &'static PerProcessor) -> Result<Self, Fatal> {
        let backend = (extension()?.make)(shared)?;
        let [started, init, exit_was_handled, entered, on_detour] = [false; 5];
        Ok(Self { backend, shared, started, init, exit_was_handled, entered, on_detour })
    }

    /// Runs the guest until an exit that a task must handle.
    pub fn run(&mut self) -> ExitReason {
        loop {
            self.wait_until_allowed();
            let exited = match take(&mut self.init) {
                true => Exited::Reason(ExitReason::Init),
                false => self.enter(Entry::Ordinary),
            };
            match exited {
                Exited::Again => {}
                Exited::Cpuid => self.answer_cpuid(),
                Exited::Reason(reason) => return reason,
            }
        }
    }

    /// Runs the guest confined, for so many steps, or for 0 until something comes up.
    pub fn run_confined(&mut self, steps: u32) -> ExitReason {
        let mut left = steps;
        loop {
            self.take_nmis();
            if self.is_held() {
                return ExitReason::Interrupted;
            }
            match self.enter(Entry::Confined { step: steps > 0 }) {
                Exited::Reason(ExitReason::Stepped) if left > 1 => left -= 1,
                Exited::Reason(reason) => {
                    self.init |= reason == ExitReason::Init;
                    return reason;
                }
                // There was an NMI, which is enough for a run that may never leave by itself.
                _ if steps == 0 => return ExitReason::Interrupted,
                _ => {}
            }
        }
    }

    /// Confined runs go on with these registers, apart from the guest; or where the guest is.
    pub fn detour(&mut self, registers: Option<&Registers>) {
        self.on_detour = registers.is_some();
        self.backend.detour(registers);
    }

    /// What a task is told of an exit that it has to handle.
    pub fn tell(&self, reason: ExitReason, buffer: &mut Buffer) -> Result<usize, CallStatus> {
        self.shared.counts.add(counter(reason));
        let exit = VcpuReply::Exit {
            reason,
            instruction_length: self.backend.instruction_length(),
            registers: &self.registers().to_bytes(),
        };
        object::reply(&exit, buffer)
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
        block.rip = block.rip.wrapping_add(self.backend.instruction_length().into());
        let event = block.complete().then_some(Event::SINGLE_STEP);
        self.set_registers(&block);
        // Nothing else is under way: the instruction was executed.
        let _ = event.is_none_or(|event| self.inject(event));
    }

    /// Waits until the guest may be entered.
    fn wait_until_allowed(&mut self) {
        let mut since = Timer::start();
        loop {
            self.take_nmis();
            if stop::holds(self.shared.number) {
                stop::wait(&mut since);
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
    fn enter(&mut self, wanted: Entry) -> Exited {
        let Some(entry) = self.backend.prepare(wanted) else {
            return Exited::Reason(ExitReason::InvalidState);
        };
        let me = self.shared;
        let view = entry.view();
        self.backend.close();
        me.in_view.of(view).store(true, Ordering::SeqCst);
        let enters = !me.nmis.are_waiting() && !self.is_held();
        if enters {
            self.entered |= view == View::Main;
            if entry == Entry::Brief {
                // What is delivered first is delivered, and then this takes the guest out again.
                nmi::kick(me);
            }
            // What a stop changed is seen here: a stop that is not over was seen above, and one that
            // begins now kicks.
            let flush = self.translations_are_old(view) || view == View::Confined;
            self.backend.switch(entry, flush, machine::intercepts_invalid_opcode());
            if !self.on_detour {
                *me.snapshot.lock() = Some(self.backend.registers());
            }
        }
        me.in_view.of(view).store(false, Ordering::SeqCst);
        self.backend.open();
        if enters { self.backend.look_at_exit(entry) } else { Exited::Again }
    }

    /// A stop of another processor, or a start, comes first.
    fn is_held(&self) -> bool {
        !self.started || stop::holds(self.shared.number) || self.shared.start.lock().is_some()
    }

    /// Takes note of the present generation of a view; true when translations are older.
    fn translations_are_old(&self, view: View) -> bool {
        let (_, generation) = guest_space::root(view);
        self.shared.generation.of(view).swap(generation, Ordering::SeqCst) != generation
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
    let count = |processor: &PerProcessor, counter| {
        processor.counts.0.get(counter).map_or(0, |count: &AtomicU64| count.load(Ordering::Relaxed))
    };
    array::from_fn(|counter| processor::all().iter().map(|each| count(each, counter)).sum())
}

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
