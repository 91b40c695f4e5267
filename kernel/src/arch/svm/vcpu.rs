//! The AMD-V vCPU of a processor.

use super::nmi::GuestNmi;
use super::{assists, enable, maps, world_switch};
use crate::arch::processor::PerProcessor;
use crate::arch::vcpu::{Entered, must_not_enter, translations_are_old};
use crate::arch::{cpuid, ticks};
use crate::fatal::{Fatal, die};
use crate::memory::direct::Pages;
use crate::{guest_space, machine};
use core::sync::atomic::Ordering;
use lucos_abi::object::{Counter, Event, ExitReason, FlatStart};
use lucos_abi::registers::Registers;
use lucos_svm::{
    Assists, Clean, ExitCode, HostFacts, Setup, Vmcb, check_vmcb, combined, exception, exit_reason,
    instruction_length, is_refused, registers, start_flat, write_back,
};
use x86::msr::IA32_EFER;

/// Every vCPU has its processor to itself, so one address space id serves all.
const ASID: u32 = 1;

const EFER_LMA: u64 = 1 << 10;
const EFER_SVME: u64 = 1 << 12;

/// How often to look for an NMI that an exit announced, before going on without.
const NMI_PATIENCE: u32 = 100_000;

/// A vCPU.
pub struct SvmVcpu {
    shared: &'static PerProcessor,
    vmcb: &'static mut Vmcb,
    vmcb_phys: u64,
    /// Physical address of the page with LUCOS's own VMLOAD state.
    own_state: u64,
    /// The general registers that VMRUN leaves alone; the rest of the block is not used.
    general: Registers,
    facts: HostFacts,
    nmi: GuestNmi,
    /// Where the last exit said that the guest's state is invalid.
    refused_at: Option<u64>,
}

impl SvmVcpu {
    /// Switches the extension on and prepares a VMCB.
    ///
    /// # Errors
    /// The region is full.
    pub fn new(shared: &'static PerProcessor) -> Result<Self, Fatal> {
        let own_state = enable()?;
        let page = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
        let vmcb_phys = page.phys();
        // SAFETY: a VMCB is integers, and the page is its size.
        let vmcb = unsafe { page.leak_as::<Vmcb>() };
        let facts = HostFacts {
            assists: assists(),
            asids: cpuid::svm_features().ebx,
            physical_bits: cpuid::physical_bits(),
        };
        let maps = maps()?;
        let setup = Setup {
            asid: ASID,
            nested_root: guest_space::root(),
            msr_map: maps.msr_phys,
            io_map: maps.io_phys,
            cpuid: cpuid::has_hypervisor_interface(),
            invlpgb: cpuid::has_invlpgb(),
        };
        vmcb.configure(facts.assists, &setup);
        Ok(Self {
            shared,
            vmcb,
            vmcb_phys,
            own_state,
            general: Registers::default(),
            facts,
            nmi: GuestNmi::default(),
            refused_at: None,
        })
    }

    /// Enters the guest, unless something came up.
    pub fn enter(&mut self) -> Entered {
        if is_refused(self.vmcb) {
            return Entered::Exit(ExitReason::InvalidState);
        }
        self.nmi.before_entry(self.vmcb, self.facts.assists);
        self.update_intercepts();
        world_switch::close();
        self.shared.in_guest.store(true, Ordering::SeqCst);
        if must_not_enter(self.shared) {
            self.shared.in_guest.store(false, Ordering::SeqCst);
            world_switch::open();
            return Entered::Again;
        }
        if self.shared.entered.load(Ordering::Relaxed) == 0 {
            self.shared.entered.store(ticks(), Ordering::Relaxed);
        }
        if translations_are_old(self.shared) {
            self.vmcb.request_flush(self.facts.assists);
        }
        self.check();
        // SAFETY: global interrupts are off; the VMCB is this vCPU's, its nested tables are the
        // guest space's, and in the end LUCOS's own state comes back.
        unsafe {
            world_switch::load(self.vmcb_phys);
            world_switch::run(&mut self.general, self.vmcb_phys);
            world_switch::save(self.vmcb_phys);
            world_switch::load(self.own_state);
        }
        self.vmcb.exited(self.facts.assists);
        if let Some(event) = self.vmcb.interrupted_event() {
            self.vmcb.inject(event);
        }
        *self.shared.snapshot.lock() = Some(self.registers());
        self.shared.in_guest.store(false, Ordering::SeqCst);
        world_switch::open();
        self.look_at_exit()
    }

    /// With debug assertions: everything that the manual asks of a VMCB.
    fn check(&self) {
        if cfg!(debug_assertions)
            && let Err(problem) = check_vmcb(self.vmcb, &self.facts)
        {
            log::error!("VMCB: {problem:?}");
            die(Fatal::BadVmcb);
        }
    }

    /// The processor saves the address of the next instruction.
    fn has_next_rip(&self) -> bool {
        self.facts.assists.contains(Assists::NEXT_RIP)
    }

    /// After the processor is LUCOS's again: what remains of the exit.
    fn look_at_exit(&mut self) -> Entered {
        let refused_at = self.refused_at.take();
        let code = self.vmcb.exit_code();
        if code != ExitCode::CPUID {
            self.shared.counts.add(Counter::Exits);
        }
        if code != DEBUG_EXCEPTION {
            self.nmi.at_other_exit(self.vmcb);
        }
        match code {
            ExitCode::NMI => {
                self.wait_for_nmi();
                return Entered::Again;
            }
            ExitCode::IRET => {
                self.shared.counts.add(Counter::Iret);
                self.nmi.at_iret(self.vmcb);
                return Entered::Again;
            }
            DEBUG_EXCEPTION if self.nmi.at_debug_exception(self.vmcb) => {
                self.shared.counts.add(Counter::Debug);
                return Entered::Again;
            }
            ExitCode::CPUID => return Entered::Cpuid,
            // QEMU's TCG says so when the guest writes a bit of CR3 or CR4 that must be 0. When the
            // guest comes no further with the exception, it is something else.
            ExitCode::INVALID if refused_at != Some(self.vmcb.save().rip) => {
                self.refused_at = Some(self.vmcb.save().rip);
                return Entered::Exit(GENERAL_PROTECTION);
            }
            _ => {}
        }
        let reason = exit_reason(self.vmcb);
        self.shared.counts.add(counter(reason));
        Entered::Exit(reason)
    }

    /// The exit says that an NMI waits. It is taken soon after global interrupts are on, though not
    /// always at the next instruction.
    fn wait_for_nmi(&self) {
        for _ in 0..NMI_PATIENCE {
            if self.shared.nmis.load(Ordering::SeqCst) != 0 {
                return;
            }
            core::hint::spin_loop();
        }
    }

    fn update_intercepts(&mut self) {
        let wanted = machine::intercepted_exceptions() | ENDLESS;
        if self.vmcb.control().intercept_exceptions != wanted {
            self.vmcb.control_mut(Clean::INTERCEPTS).intercept_exceptions = wanted;
        }
    }

    /// An NMI of the guest has come.
    pub fn pend_nmi(&mut self) {
        self.nmi.pend();
    }

    /// Sets the state in which the guest starts.
    pub fn start(&mut self, state: &FlatStart) {
        self.nmi.reset(self.vmcb);
        start_flat(self.vmcb, &mut self.general, state);
    }

    /// Length of the instruction of the last exit; 0 when the processor does not tell.
    pub fn instruction_length(&self) -> u8 {
        instruction_length(self.vmcb, self.has_next_rip())
    }

    /// The registers.
    pub fn registers(&self) -> Registers {
        registers(self.vmcb, &self.general)
    }

    /// Changes the registers that a task may change.
    pub fn set_registers(&mut self, block: &Registers) {
        write_back(self.vmcb, &mut self.general, block);
    }

    /// Delivers an exception at the next entry; false when that is a shutdown.
    pub fn inject(&mut self, event: Event) -> bool {
        let event = combined(self.vmcb.control().event_injection, event);
        if let Some(event) = event {
            self.vmcb.inject(exception(event));
        }
        event.is_some()
    }

    /// Writes a register for the guest; `None` when it may not write it, or not this value.
    pub fn write_register(&mut self, number: u32, value: u64) -> Option<()> {
        match number {
            IA32_EFER => self.write_efer(value),
            _ => super::write_register(number, value),
        }
    }

    fn write_efer(&mut self, value: u64) -> Option<()> {
        if value & !cpuid::efer_bits() != 0 {
            return None;
        }
        let save = self.vmcb.save_mut(Clean::CONTROL_REGISTERS);
        save.efer = value & !EFER_LMA | save.efer & EFER_LMA | EFER_SVME;
        Some(())
    }
}

/// #DB and #AC are intercepted always: a guest could keep its processor delivering them for ever,
/// which takes no NMI (CVE-2015-5307, CVE-2015-8104).
const ENDLESS: u32 = 1 << 1 | 1 << 17;

/// What a processor raises where an emulator gives up.
const GENERAL_PROTECTION: ExitReason = ExitReason::Exception { vector: 13, error_code: 0 };

/// Debug exceptions leave with this code.
const DEBUG_EXCEPTION: ExitCode = ExitCode(ExitCode::EXCEPTION.0 + 1);

const fn counter(reason: ExitReason) -> Counter {
    match reason {
        ExitReason::Hypercall => Counter::Hypercall,
        ExitReason::ReadMsr => Counter::ReadMsr,
        ExitReason::WriteMsr => Counter::WriteMsr,
        ExitReason::Virtualization => Counter::Virtualization,
        ExitReason::Exception { vector: 6, .. } => Counter::InvalidOpcode,
        ExitReason::Exception { vector: 1, .. } => Counter::Debug,
        ExitReason::NestedFault { .. } => Counter::NestedFault,
        ExitReason::Shutdown => Counter::Shutdown,
        ExitReason::Init => Counter::Init,
        ExitReason::Exception { .. }
        | ExitReason::InvalidateCaches
        | ExitReason::Port(_)
        | ExitReason::InvalidState
        | ExitReason::Other { .. } => Counter::Other,
    }
}
