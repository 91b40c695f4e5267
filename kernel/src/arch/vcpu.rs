//! The vCPU of a processor, whatever the vendor of its virtualization extension.
//!
//! The vendor's part (one variant of [`Backend`]) enters the guest once and names the exit. What is
//! the same for all vendors is here: when the guest may be entered, which exits the kernel handles
//! itself, and what is counted.

use super::processor::{self, PerProcessor};
use super::{apic, cpuid, idle, port, svm};
use crate::fatal::Fatal;
use crate::{cpuid_table, guest_space, machine, stop};
use core::sync::atomic::{AtomicU64, Ordering};
use lucos_abi::boot::Extension;
use lucos_abi::object::{COUNTERS, Counter, Event, ExitReason, FlatStart};
use lucos_abi::registers::Registers;
use lucos_paging::Format;
use x86::msr::IA32_APIC_BASE;

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
    if let Some(last) = sums.get_mut(Counter::LastStop as usize) {
        *last = stop::last_ticks();
    }
    sums
}

/// The nested page-table format of this machine.
pub fn nested_format() -> Format {
    Format::AmdNested
}

/// Checks that this machine has an extension that LUCOS can use. Every processor then switches it
/// on in [`Vcpu::new`].
///
/// # Errors
/// There is none, it is locked, or it lacks something.
pub fn probe() -> Result<(), Fatal> {
    if !cpuid::has_svm() {
        return Err(Fatal::NoExtension);
    }
    svm::probe()
}

/// The extension in use.
pub fn extension() -> Extension {
    Extension::Svm { features: cpuid::svm_features().edx }
}

/// Whether INIT that the guest sends comes to LUCOS, on this machine.
pub fn redirect_init() -> bool {
    svm::redirect_init()
}

/// Makes every access of the guest to a port an exit; `None` before there is a vCPU.
pub fn intercept_port(port: u16) -> Option<()> {
    svm::io_map().map(|map| map.intercept(port))
}

/// Reads a port, or writes it, for the guest; `None` unless an access of this size is an exit.
pub fn access_port(port: u16, size: u8, output: Option<u32>) -> Option<u32> {
    svm::io_map()?.stops(port, size).then(|| port::access(port, size, output))?
}

/// Why the vendor's part came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// An exit that is not the vendor's own business.
    Exit(ExitReason),
    /// CPUID, where that leaves the guest.
    Cpuid,
    /// The guest was not entered, or left without an exit to handle: look around and try again.
    Again,
}

enum Backend {
    Svm(svm::vcpu::SvmVcpu),
}

/// A vCPU.
pub struct Vcpu {
    backend: Backend,
    shared: &'static PerProcessor,
    /// It has been started, and not parked since.
    started: bool,
    /// A task has said how the guest goes on after an exit. Whoever wants to know clears it.
    pub exit_was_handled: bool,
}

impl Vcpu {
    /// Switches the extension on and makes this processor's vCPU, not started.
    ///
    /// # Errors
    /// The extension is missing or locked, or the region is full.
    pub fn new(shared: &'static PerProcessor) -> Result<Self, Fatal> {
        Ok(Self {
            backend: Backend::Svm(svm::vcpu::SvmVcpu::new(shared)?),
            shared,
            started: false,
            exit_was_handled: false,
        })
    }

    /// Runs the guest until an exit that a task must handle.
    pub fn run(&mut self) -> ExitReason {
        loop {
            self.prepare();
            let entered = match &mut self.backend {
                Backend::Svm(vcpu) => vcpu.enter(),
            };
            match entered {
                Entered::Exit(reason) => return reason,
                Entered::Cpuid => self.answer_cpuid(),
                Entered::Again => {}
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
    fn prepare(&mut self) {
        loop {
            self.take_nmis();
            if stop::holds(self.shared.number) {
                core::hint::spin_loop();
                continue;
            }
            if let Some(state) = self.shared.start.lock().take() {
                self.start(&state);
            }
            if self.started {
                return;
            }
            idle::wait_for_nmi(self.shared);
        }
    }

    /// Looks at the NMIs that the host took: one of them was a kick if somebody kicked, the others
    /// are the guest's.
    pub fn take_nmis(&mut self) {
        let mut taken = self.shared.nmis.swap(0, Ordering::SeqCst);
        if taken == 0 {
            return;
        }
        if self.shared.kicked.swap(false, Ordering::SeqCst) {
            self.shared.counts.add(Counter::Kick);
            if !machine::kicks_are_forwarded(self.registers().idt_base) {
                taken -= 1;
            }
        }
        if taken > 0 && self.started {
            self.shared.counts.add(Counter::GuestNmi);
            match &mut self.backend {
                Backend::Svm(vcpu) => vcpu.pend_nmi(),
            }
        }
    }

    fn start(&mut self, state: &FlatStart) {
        self.started = true;
        match &mut self.backend {
            Backend::Svm(vcpu) => vcpu.start(state),
        }
    }

    /// The next `run` waits until the vCPU is started again.
    pub fn park(&mut self) {
        self.started = false;
        *self.shared.snapshot.lock() = None;
    }

    /// Length of the instruction that caused the last exit; 0 when the processor does not tell.
    pub fn instruction_length(&self) -> u8 {
        match &self.backend {
            Backend::Svm(vcpu) => vcpu.instruction_length(),
        }
    }

    /// The registers.
    pub fn registers(&self) -> Registers {
        match &self.backend {
            Backend::Svm(vcpu) => vcpu.registers(),
        }
    }

    /// Changes the registers that a task may change.
    pub fn set_registers(&mut self, registers: &Registers) {
        match &mut self.backend {
            Backend::Svm(vcpu) => vcpu.set_registers(registers),
        }
    }

    /// Delivers an exception at the next entry; false when it comes while a double fault is
    /// delivered, which is a shutdown.
    pub fn inject(&mut self, event: Event) -> bool {
        match &mut self.backend {
            Backend::Svm(vcpu) => vcpu.inject(event),
        }
    }

    /// Reads a register whose reads leave the guest though it is the machine's.
    pub fn read_register(&self, number: u32) -> Option<u64> {
        match &self.backend {
            Backend::Svm(_) => svm::read_register(number),
        }
    }

    /// Writes a register for the guest; `None` when it may not write it, or not this value.
    pub fn write_register(&mut self, number: u32, value: u64) -> Option<()> {
        match &mut self.backend {
            _ if number == IA32_APIC_BASE => apic::write_base(value).then_some(()),
            Backend::Svm(vcpu) => vcpu.write_register(number, value),
        }
    }
}

/// Between saying "in the guest" and entering: whether something came up that must be looked at
/// first.
pub fn must_not_enter(shared: &PerProcessor) -> bool {
    shared.nmis.load(Ordering::SeqCst) != 0
        || stop::holds(shared.number)
        || shared.start.lock().is_some()
}

/// Takes note of the present generation of the guest space; true when translations are older.
pub fn translations_are_old(shared: &PerProcessor) -> bool {
    let generation = guest_space::generation();
    shared.space_generation.swap(generation, Ordering::SeqCst) != generation
}
