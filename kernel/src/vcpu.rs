//! The vCPU of a processor, and the protocol of entering the guest.
//!
//! The vendor's part, a [`Backend`], switches to the guest and back, and names the exit. What is the
//! same for all vendors is here: when the guest may be entered, what is said to other processors on
//! the way, which exits the kernel handles itself, and what is counted.

use crate::arch::backend::{Backend, Entry, Exited};
use crate::arch::descriptors::Descriptors;
use crate::arch::extension::extension;
use crate::arch::kick::kick;
use crate::arch::processor::PerProcessor;
use crate::arch::time::Timer;
use crate::arch::{apic, idle};
use crate::fatal::Fatal;
use crate::memory::nested;
use crate::{cpuid_table, stop};
use alloc::boxed::Box;
use core::mem::take;
use core::sync::atomic::{AtomicBool, Ordering};
use lucos_abi::object::{Counter, Event, ExitReason, View};
use lucos_abi::registers::Registers;
use x86::msr::IA32_APIC_BASE;

static INTERCEPTS_INVALID_OPCODE: AtomicBool = AtomicBool::new(false);

/// Invalid opcodes leave the guest from its next entry on, or do not.
pub fn intercept_invalid_opcode(on: bool) {
    INTERCEPTS_INVALID_OPCODE.store(on, Ordering::SeqCst);
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
    pub fn new(shared: &'static PerProcessor, descriptors: &Descriptors) -> Result<Self, Fatal> {
        let extension = extension()?;
        let backend = (extension.make)(extension, shared, descriptors)?;
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
                Exited::CarriedOut => self.go_on_behind(self.registers()),
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

    /// Counts an exit.
    pub fn count(&self, counter: Counter) {
        self.shared.counts.add(counter);
    }

    /// Length of the instruction of the last exit; 0 when the processor does not tell.
    pub fn instruction_length(&self) -> u8 {
        self.backend.instruction_length()
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
        self.go_on_behind(block);
    }

    /// Goes on behind an instruction that was carried out, with these registers.
    fn go_on_behind(&mut self, mut block: Registers) {
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
                kick(me);
            }
            // What a stop changed is seen here: a stop that is not over was seen above, and one that
            // begins now kicks.
            let flush = self.translations_are_old(view) || view == View::Confined;
            self.backend.switch(entry, flush, INTERCEPTS_INVALID_OPCODE.load(Ordering::SeqCst));
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
        let (_, generation) = nested::root(view);
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
