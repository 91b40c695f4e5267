//! The AMD-V vCPU of a processor.

use super::nmi::GuestNmi;
use super::{assists, enable, msr_map, world_switch};
use crate::arch::backend::{Backend, Entry, Exited, Extension};
use crate::arch::cpuid;
use crate::arch::extension::io_map;
use crate::arch::processor::PerProcessor;
use crate::fatal::Fatal;
use crate::memory::direct::Pages;
use crate::memory::nested;
use lucos_abi::object::{Counter, Event, ExitReason, FlatStart, View};
use lucos_abi::registers::{EFER_LMA, Registers};
use lucos_svm::{
    Assists, Confinement, EFER_SVME, ExitCode, Setup, Vmcb, exit_reason, instruction_length,
    is_refused, registers, start_flat, write_back,
};
use lucos_vcpu::Stepped;
use lucos_vcpu::event::{combined, exception};
use x86::msr::IA32_EFER;

/// The address space id of a view. Every vCPU has its processor to itself, so the same serve all.
const fn asid(view: View) -> u32 {
    view as u32 + 1
}

/// How often to look for an NMI that an exit announced, before going on without.
const NMI_PATIENCE: u32 = 100_000;

/// What VMRUN runs.
struct State {
    vmcb: &'static mut Vmcb,
    phys: u64,
    /// The general registers that VMRUN leaves alone; the rest of the block is not used.
    general: Registers,
}

/// A vCPU.
pub struct SvmVcpu {
    shared: &'static PerProcessor,
    guest: State,
    /// In which the guest runs confined.
    copy: State,
    /// The copy is on a detour, and does not follow the guest.
    detour: bool,
    /// What the last confined step became.
    stepped: Stepped,
    /// Physical address of the page with LUCOS's own VMLOAD state.
    own_state: u64,
    assists: Assists,
    nmi: GuestNmi,
    /// Where the last exit said that the guest's state is invalid.
    refused_at: Option<u64>,
}

impl SvmVcpu {
    /// Switches the extension on and prepares a VMCB.
    ///
    /// # Errors
    /// The region is full.
    pub fn new(extension: &Extension, shared: &'static PerProcessor) -> Result<Self, Fatal> {
        let own_state = enable()?;
        let assists = assists();
        let (_, io_map) = io_map()?;
        let (nested_root, _) = nested::root(View::Main);
        let setup = Setup {
            asid: asid(View::Main),
            nested_root,
            msr_map: msr_map()?,
            io_map,
            cpuid: extension.hides_cpuid,
            invlpgb: cpuid::has(cpuid::INVLPGB),
        };
        let (guest, copy) = (State::new()?, State::new()?);
        guest.vmcb.configure(assists, &setup);
        let (nmi, stepped) = (GuestNmi::default(), Stepped::Not);
        let (detour, refused_at) = (false, None);
        Ok(Self { shared, guest, copy, detour, stepped, own_state, assists, nmi, refused_at })
    }

    /// Lets the guest run in the copy.
    fn switch_confined(&mut self, entry: Entry, flush: bool) {
        if !self.detour {
            self.copy.follow(&self.guest);
        }
        let (step, view) = (entry != Entry::Confined { step: false }, entry.view());
        let (nested_root, _) = nested::root(view);
        let how = Confinement { asid: asid(view), nested_root, flush, step };
        let before = self.copy.vmcb.confine(&self.guest.vmcb.control, how);
        if !step {
            world_switch::let_interrupts_in();
        }
        self.copy.switch(self.own_state);
        self.stepped = self.copy.vmcb.end_step(before, entry == Entry::OverIret);
        if self.detour {
            return;
        }
        self.guest.follow(&self.copy);
        if self.stepped == Stepped::Trapped {
            self.inject(Event::SINGLE_STEP);
        }
    }

    /// What was run last, and will be.
    fn current(&self) -> &State {
        if self.detour { &self.copy } else { &self.guest }
    }

    /// The exit says that an NMI waits. It is taken soon after global interrupts are on, though not
    /// always at the next instruction.
    fn wait_for_nmi(&self) {
        for _ in 0..NMI_PATIENCE {
            if self.shared.nmis.are_waiting() {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

impl State {
    fn new() -> Result<Self, Fatal> {
        let page = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
        let phys = page.phys();
        // SAFETY: a VMCB is integers, and the page is its size.
        let vmcb = unsafe { page.leak_as::<Vmcb>() };
        Ok(Self { vmcb, phys, general: Registers::default() })
    }

    /// Into the guest and back. Global interrupts are off.
    fn switch(&mut self, own_state: u64) {
        #[cfg(feature = "vmcb-check")]
        lucos_svm_check::assert_valid(self.vmcb);
        // SAFETY: global interrupts are off; the VMCB is this vCPU's, its nested tables are the
        // guest space's, and in the end LUCOS's own state comes back.
        unsafe {
            world_switch::load(self.phys);
            world_switch::run(&mut self.general, self.phys);
            world_switch::save(self.phys);
            world_switch::load(own_state);
        }
        self.vmcb.exited();
    }

    /// Goes on where the other is.
    fn follow(&mut self, other: &Self) {
        self.general = other.general;
        self.vmcb.follow(other.vmcb);
    }
}

impl Backend for SvmVcpu {
    fn prepare(&mut self, wanted: Entry) -> Option<Entry> {
        let vmcb = &mut *self.guest.vmcb;
        (!is_refused(vmcb)).then(|| self.nmi.before_entry(vmcb, wanted))
    }

    fn close(&mut self) {
        world_switch::close();
    }

    fn switch(&mut self, entry: Entry, flush: bool, invalid_opcode: bool) {
        if !matches!(entry, Entry::Ordinary | Entry::Brief) {
            return self.switch_confined(entry, flush);
        }
        self.stepped = Stepped::Not;
        let vmcb = &mut *self.guest.vmcb;
        vmcb.control.intercept_exceptions =
            OWN_EXCEPTIONS | u32::from(invalid_opcode) << INVALID_OPCODE;
        if flush {
            vmcb.request_flush();
        }
        self.guest.switch(self.own_state);
        if let Some(event) = self.guest.vmcb.interrupted_event() {
            self.guest.vmcb.inject(event);
        }
    }

    fn open(&mut self) {
        world_switch::open();
    }

    fn look_at_exit(&mut self, entry: Entry) -> Exited {
        let refused_at = self.refused_at.take();
        let vmcb = &*self.current().vmcb;
        let (code, rip) = (vmcb.exit_code(), vmcb.save.rip);
        if code != ExitCode::CPUID {
            self.shared.counts.add(Counter::Exits);
        }
        match code {
            ExitCode::NMI => self.wait_for_nmi(),
            ExitCode::IRET => {
                self.shared.counts.add(Counter::Iret);
                self.nmi.at_iret(self.guest.vmcb);
            }
            ExitCode::CPUID if entry.view() == View::Main => return Exited::Cpuid,
            // QEMU's TCG says so when the guest writes a bit of CR3 or CR4 that must be 0. When the
            // guest comes no further with the exception, it is something else.
            ExitCode::INVALID if refused_at != Some(rip) => {
                self.refused_at = Some(rip);
                return Exited::Reason(GENERAL_PROTECTION);
            }
            _ if self.stepped == Stepped::Not => return Exited::Reason(exit_reason(vmcb)),
            _ if entry == Entry::OverIret => {}
            _ => return Exited::Reason(ExitReason::Stepped),
        }
        Exited::Again
    }

    fn detour(&mut self, registers: Option<&Registers>) {
        self.detour = registers.is_some();
        if let Some(block) = registers {
            self.copy.follow(&self.guest);
            self.copy.vmcb.begin_detour(&mut self.copy.general, block);
        }
    }

    fn pend_nmi(&mut self) {
        self.nmi.pend();
    }

    fn start(&mut self, state: &FlatStart) {
        self.refused_at = None;
        let State { vmcb, general, .. } = &mut self.guest;
        self.nmi.reset(vmcb);
        start_flat(vmcb, general, state);
        // VMRUN forgets no translations by itself when control registers change (APM vol. 2, 15.16).
        vmcb.request_flush();
    }

    fn registers(&self) -> Registers {
        let State { vmcb, general, .. } = self.current();
        registers(vmcb, general)
    }

    fn set_registers(&mut self, block: &Registers) {
        write_back(self.guest.vmcb, &mut self.guest.general, block);
    }

    fn inject(&mut self, event: Event) -> bool {
        let vmcb = &mut *self.guest.vmcb;
        let Some(event) = combined(vmcb.control.event_injection, event) else {
            return false;
        };
        if vmcb.put_off() {
            self.nmi.put_off(vmcb);
        }
        vmcb.inject(exception(event));
        true
    }

    fn instruction_length(&self) -> u8 {
        instruction_length(self.current().vmcb, self.assists.contains(Assists::NEXT_RIP))
    }

    fn read_register(&self, number: u32) -> Option<u64> {
        super::read_register(number)
    }

    fn write_register(&mut self, number: u32, value: u64) -> Option<()> {
        if number != IA32_EFER {
            return super::write_register(number, value);
        }
        if value & !cpuid::efer_bits() != 0 {
            return None;
        }
        let save = &mut self.guest.vmcb.save;
        save.efer = value & !EFER_LMA | save.efer & EFER_LMA | EFER_SVME;
        Some(())
    }
}

/// What a processor raises where an emulator gives up.
const GENERAL_PROTECTION: ExitReason =
    ExitReason::Exception(Event { vector: 13, error_code: Some(0) });

/// The vector of #UD.
const INVALID_OPCODE: u32 = 6;

/// Exceptions that always leave: #DB and #AC, which a guest can have delivered to itself for ever
/// while no NMI gets through (CVE-2015-8104 and CVE-2015-5307), and #SX, which INIT becomes (see
/// `enable`).
const OWN_EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 30;
