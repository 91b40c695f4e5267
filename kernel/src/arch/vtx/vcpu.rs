//! The VT-x vCPU of a processor.

use super::world_switch::{self, CurrentVmcs, Ran};
use super::{host, msr_map, offer, region};
use crate::arch::backend::{Backend, Entry, Exited};
use crate::arch::descriptors::{Descriptors, limit_again};
use crate::arch::extension::io_map;
use crate::arch::processor::PerProcessor;
use crate::arch::{control, msr};
use crate::fatal::Fatal;
use crate::memory::PAGE;
use crate::memory::nested;
use alloc::vec::Vec;
use lucos_abi::object::{Counter, Event, ExitReason, FlatStart, View};
use lucos_abi::registers::Registers;
use lucos_vcpu::Stepped;
use lucos_vcpu::event::{INTERRUPT, NMI, combined, exception, kind, nmi};
use lucos_vtx::{Basic, GUEST_FIELDS, Mode, Offer, Vmcs};
use x86::bits64::vmx;
use x86::msr::{
    IA32_CSTAR, IA32_FMASK, IA32_KERNEL_GSBASE, IA32_LSTAR, IA32_MISC_ENABLE, IA32_STAR,
};
use x86::vmx::vmcs::{control as fields, guest, ro};

/// The tag of translations; both views have the same, since EPT tells them apart.
const VPID: u64 = 1;
/// The microcode's address is written there.
const MICROCODE: u32 = 0x79;
/// Of IA32_MISC_ENABLE: page tables have no no-execute bit, and what has it is a fault.
const NO_NO_EXECUTE: u64 = 1 << 34;
/// System-call registers, which no exit switches.
const SYSTEM_CALL: [u32; 5] = [IA32_STAR, IA32_LSTAR, IA32_CSTAR, IA32_FMASK, IA32_KERNEL_GSBASE];

/// A vCPU.
pub struct VtxVcpu {
    shared: &'static PerProcessor,
    offer: Offer,
    vmcs: CurrentVmcs,
    /// Base of the descriptor table, of which an exit keeps the place alone.
    gdt: u64,
    /// The general registers, CR2 and DR6; the rest of the block is not used.
    general: Registers,
    /// How the VMCS says that the guest runs.
    mode: Option<Mode>,
    launched: bool,
    /// What became of the last entry.
    ran: Ran,
    /// What the last confined step became.
    stepped: Stepped,
    /// An encoded event for the next entry, or 0.
    event: u64,
    /// An NMI of the guest has come and was not delivered.
    nmi: bool,
    /// An interrupt that the guest could not take after all, as an encoded event, or 0.
    interrupt: u64,
    /// The guest's state while a detour has its place.
    kept: Option<(Registers, Vec<u64>)>,
}

/// What EPTP says of a view: write-back memory, four levels.
fn eptp(view: View) -> u64 {
    let (root, _) = nested::root(view);
    root | 3 << 3 | 6
}

/// The fields of the guest's state.
fn guest_fields() -> impl Iterator<Item = u32> {
    GUEST_FIELDS.iter().flat_map(|(first, count)| (0..*count).map(move |place| first + 2 * place))
}

impl VtxVcpu {
    /// Switches the extension on and prepares a VMCS.
    ///
    /// # Errors
    /// The region is full, or this processor is not like the one that booted.
    pub fn new(shared: &'static PerProcessor, descriptors: &Descriptors) -> Result<Self, Fatal> {
        super::unlock()?;
        let offer = offer()?;
        let (on, vmcs) = (region(offer.revision)?, region(offer.revision)?);
        control::enable_vtx();
        // SAFETY: the regions are pages of LUCOS that nobody else uses, with the processor's number;
        // control registers are as VMXON wants them (`control`).
        let entered = unsafe {
            vmx::vmxon(on).and_then(|()| vmx::vmclear(vmcs)).and_then(|()| vmx::vmptrld(vmcs))
        };
        entered.map_err(|_| Fatal::ExtensionLocked)?;
        let mut vmcs = CurrentVmcs;
        host::write(&mut vmcs, descriptors);
        let (_, io_map) = io_map()?;
        let controls = &offer.controls;
        for (field, value) in [
            (guest::LINK_PTR_FULL, u64::MAX),
            (fields::SECONDARY_PROCBASED_EXEC_CONTROLS, controls.secondary.into()),
            (fields::VMEXIT_CONTROLS, controls.exit.into()),
            (fields::IO_BITMAP_A_ADDR_FULL, io_map),
            (fields::IO_BITMAP_B_ADDR_FULL, io_map + PAGE),
            (fields::MSR_BITMAPS_ADDR_FULL, msr_map()?),
        ] {
            vmcs.write(field, value);
        }
        if controls.has_vpid() {
            vmcs.write(fields::VPID, VPID);
        }
        let [gdt, ..] = descriptors.places();
        Ok(Self {
            shared,
            offer,
            vmcs,
            gdt,
            general: Registers::default(),
            mode: None,
            launched: false,
            ran: Ran::Not,
            stepped: Stepped::Not,
            event: 0,
            nmi: false,
            interrupt: 0,
            kept: None,
        })
    }

    /// Delivers what can be delivered.
    fn choose_event(&mut self) {
        if self.event != 0 {
            return;
        }
        if self.nmi && !lucos_vtx::nmi_is_held(&self.vmcs) {
            self.nmi = false;
            self.event = nmi();
        } else if self.interrupt != 0 && !lucos_vtx::interrupt_is_held(&self.vmcs) {
            self.event = core::mem::take(&mut self.interrupt);
        }
    }

    /// Has the VMCS say how the guest runs.
    fn set_mode(&mut self, mode: Mode) {
        let old = self.mode.replace(mode);
        if old == Some(mode) {
            return;
        }
        let vmcs = &mut self.vmcs;
        vmcs.write(fields::PINBASED_EXEC_CONTROLS, mode.pin.into());
        vmcs.write(fields::PRIMARY_PROCBASED_EXEC_CONTROLS, mode.primary.into());
        vmcs.write(fields::EXCEPTION_BITMAP, mode.exceptions.into());
        if old.is_none_or(|old| old.confined != mode.confined) {
            let view = if mode.confined { View::Confined } else { View::Main };
            vmcs.write(fields::EPTP_FULL, eptp(view));
            lucos_vtx::set_masks(vmcs, mode.confined);
        }
    }

    /// Lets the guest run confined.
    fn switch_confined(&mut self, step: bool) {
        self.set_mode(Mode::confined(&self.offer.controls, step));
        let begun = lucos_vtx::begin_step(&mut self.vmcs, &mut self.general, step);
        self.vmcs.write(fields::VMENTRY_INTERRUPTION_INFO_FIELD, 0);
        self.run();
        let how = [step, self.ran == Ran::Left];
        self.stepped = lucos_vtx::end_step(&mut self.vmcs, &mut self.general, begun, how);
        if self.stepped == Stepped::Trapped && self.kept.is_none() {
            self.inject(Event::SINGLE_STEP);
        }
    }

    /// Lets the guest run on its own.
    fn switch_ordinary(&mut self, invalid_opcode: bool) {
        self.stepped = Stepped::Not;
        let exceptions = OWN_EXCEPTIONS | u32::from(invalid_opcode) << INVALID_OPCODE;
        let windows = lucos_vtx::window(self.nmi, self.interrupt != 0);
        self.set_mode(Mode::ordinary(&self.offer.controls, exceptions, windows));
        let length = lucos_vtx::instruction_length(&self.vmcs);
        lucos_vtx::deliver(&mut self.vmcs, self.event, length);
        self.run();
        if self.ran == Ran::Left {
            self.event = lucos_vtx::interrupted_event(&mut self.vmcs).unwrap_or_default();
            if let Some(told) = lucos_vtx::debug_status(&self.vmcs) {
                lucos_vtx::set_debug_status(&mut self.general, told);
            }
        }
    }

    fn run(&mut self) {
        // SAFETY: `new` has filled the VMCS, which is this processor's alone; the nested tables are the
        // guest space's.
        self.ran =
            unsafe { world_switch::run(&mut self.general, &self.shared.nmis, self.launched) };
        self.launched |= self.ran == Ran::Left && !lucos_vtx::has_failed(&self.vmcs);
    }

    fn look_at_ordinary_exit(&mut self, basic: Basic) -> Exited {
        match basic {
            Basic::CPUID => Exited::Cpuid,
            Basic::NMI_WINDOW | Basic::INTERRUPT_WINDOW => Exited::Again,
            Basic::CONTROL_REGISTER if lucos_vtx::is_of_cr0(&self.vmcs) => {
                lucos_vtx::hide_error_reporting(&mut self.vmcs);
                Exited::Again
            }
            // CR4.VMXE, which the guest's processor does not have.
            Basic::CONTROL_REGISTER => Exited::Reason(GENERAL_PROTECTION),
            Basic::XSETBV => {
                let Registers { rax, rcx, rdx, .. } = self.general;
                let value = rdx << 32 | rax & 0xffff_ffff;
                match msr::write_extended_control(rcx as u32, value) {
                    Some(()) => Exited::CarriedOut,
                    None => Exited::Reason(GENERAL_PROTECTION),
                }
            }
            _ => Exited::Reason(lucos_vtx::exit_reason(&mut self.vmcs)),
        }
    }
}

impl Backend for VtxVcpu {
    fn prepare(&mut self, wanted: Entry) -> Option<Entry> {
        if wanted == Entry::Ordinary {
            self.choose_event();
        }
        Some(wanted)
    }

    /// Nothing: what `switch` begins with is a restartable range.
    fn close(&mut self) {}

    fn switch(&mut self, entry: Entry, flush: bool, invalid_opcode: bool) {
        if flush {
            world_switch::forget(eptp(entry.view()), self.offer.single_context);
        }
        match entry {
            Entry::Confined { step } => self.switch_confined(step),
            _ => self.switch_ordinary(invalid_opcode),
        }
    }

    fn open(&mut self) {
        limit_again(self.gdt);
    }

    fn look_at_exit(&mut self, entry: Entry) -> Exited {
        match self.ran {
            Ran::Not => return Exited::Again,
            Ran::Refused(number) => {
                log::error!("VM entry: error {number}");
                return Exited::Reason(ExitReason::InvalidState);
            }
            Ran::Left => {}
        }
        let basic = Basic::of(&self.vmcs);
        if basic != Basic::CPUID {
            self.shared.counts.add(Counter::Exits);
        }
        if lucos_vtx::has_failed(&self.vmcs) {
            let check = self.vmcs.read(ro::EXIT_QUALIFICATION);
            log::error!("VM entry: exit {}, qualification {check}", basic.0);
            return Exited::Reason(ExitReason::InvalidState);
        }
        if lucos_vtx::is_nmi(&self.vmcs) {
            world_switch::take_nmi();
            return Exited::Again;
        }
        match (self.stepped, entry.view()) {
            (Stepped::Not, View::Main) => self.look_at_ordinary_exit(basic),
            (Stepped::Not, View::Confined) => {
                Exited::Reason(lucos_vtx::exit_reason(&mut self.vmcs))
            }
            _ => Exited::Reason(ExitReason::Stepped),
        }
    }

    fn detour(&mut self, registers: Option<&Registers>) {
        if let Some((general, values)) = self.kept.take() {
            self.general = general;
            guest_fields().zip(values).for_each(|(field, value)| self.vmcs.write(field, value));
        }
        if let Some(block) = registers {
            let values = guest_fields().map(|field| self.vmcs.read(field)).collect();
            self.kept = Some((self.general, values));
            lucos_vtx::begin_detour(&mut self.vmcs, &mut self.general, block);
        }
    }

    fn pend_nmi(&mut self) {
        self.nmi = true;
    }

    fn start(&mut self, state: &FlatStart) {
        (self.event, self.nmi, self.interrupt) = (0, false, 0);
        lucos_vtx::start_flat(&mut self.vmcs, &mut self.general, state);
        // An exit says there whether the guest was in long mode (SDM appendix A.6).
        self.vmcs.write(fields::VMENTRY_CONTROLS, self.offer.controls.entry.into());
        for number in SYSTEM_CALL {
            // SAFETY: LUCOS makes no system calls by them, and GS is swapped by nobody.
            let _ = unsafe { msr::write(number, 0) };
        }
        world_switch::forget(eptp(View::Main), self.offer.single_context);
    }

    fn registers(&self) -> Registers {
        lucos_vtx::registers(&self.vmcs, &self.general)
    }

    fn set_registers(&mut self, block: &Registers) {
        lucos_vtx::write_back(&mut self.vmcs, &mut self.general, block);
    }

    fn inject(&mut self, event: Event) -> bool {
        let Some(event) = combined(self.event, event) else {
            return false;
        };
        match kind(self.event) {
            NMI if self.event != 0 => self.nmi = true,
            INTERRUPT if self.event != 0 => self.interrupt = self.event,
            _ => {}
        }
        self.event = exception(event);
        true
    }

    fn instruction_length(&self) -> u8 {
        lucos_vtx::instruction_length(&self.vmcs)
    }

    fn read_register(&self, _: u32) -> Option<u64> {
        None
    }

    fn write_register(&mut self, number: u32, value: u64) -> Option<()> {
        match number {
            // The guest has no microcode to load: what it reads of the version stays the same.
            MICROCODE => Some(()),
            // SAFETY: with no-execute pages left on the register moves no memory and no code.
            IA32_MISC_ENABLE if value & NO_NO_EXECUTE == 0 => unsafe { msr::write(number, value) },
            _ => None,
        }
    }
}

/// What a processor without the extension raises.
const GENERAL_PROTECTION: ExitReason =
    ExitReason::Exception(Event { vector: 13, error_code: Some(0) });

/// The vector of #UD.
const INVALID_OPCODE: u32 = 6;

/// Exceptions that always leave: #DB and #AC, which a guest can have delivered to itself for ever
/// while no NMI gets through (CVE-2015-8104 and CVE-2015-5307).
const OWN_EXCEPTIONS: u32 = 1 << 1 | 1 << 17;
