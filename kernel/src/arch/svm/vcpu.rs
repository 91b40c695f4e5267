//! The AMD-V vCPU of a processor.

use super::nmi::GuestNmi;
use super::{assists, enable, maps, world_switch};
use crate::arch::cpuid;
use crate::arch::processor::PerProcessor;
use crate::arch::vcpu::{Backend, ExitCounts, Exited, extension};
use crate::fatal::Fatal;
use crate::memory::direct::Pages;
use crate::object::guest_space;
use lucos_abi::object::{Counter, Event, ExitReason, FlatStart};
use lucos_abi::registers::{EFER_LMA, Registers};
use lucos_svm::event::{combined, exception};
use lucos_svm::{
    Assists, EFER_SVME, ExitCode, Setup, Vmcb, exit_reason, instruction_length, is_refused,
    registers, start_flat, write_back,
};
use x86::msr::IA32_EFER;

/// Every vCPU has its processor to itself, so one address space id serves all.
const ASID: u32 = 1;

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
    pub fn new(shared: &'static PerProcessor) -> Result<Self, Fatal> {
        let own_state = enable()?;
        let page = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
        let vmcb_phys = page.phys();
        // SAFETY: a VMCB is integers, and the page is its size.
        let vmcb = unsafe { page.leak_as::<Vmcb>() };
        let assists = assists();
        let maps = maps()?;
        let setup = Setup {
            asid: ASID,
            nested_root: guest_space::root(),
            msr_map: maps.msr_phys,
            io_map: maps.io_phys,
            cpuid: extension()?.hides_cpuid,
            invlpgb: cpuid::has_invlpgb(),
        };
        vmcb.configure(assists, &setup);
        Ok(Self {
            shared,
            vmcb,
            vmcb_phys,
            own_state,
            general: Registers::default(),
            assists,
            nmi: GuestNmi::default(),
            refused_at: None,
        })
    }

    /// Everything that the manual asks of a VMCB.
    #[cfg(feature = "vmcb-check")]
    fn check(&self) {
        use lucos_svm_check::{HostFacts, check_vmcb};
        let host = HostFacts {
            assists: self.assists,
            asids: cpuid::svm_features().ebx,
            physical_bits: cpuid::read(0x8000_0008, 0).eax as u8,
        };
        assert_eq!(check_vmcb(self.vmcb, &host), Ok(()), "the VMCB");
    }

    /// The processor saves the address of the next instruction.
    fn has_next_rip(&self) -> bool {
        self.assists.contains(Assists::NEXT_RIP)
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

impl Backend for SvmVcpu {
    fn is_refused(&self) -> bool {
        is_refused(self.vmcb)
    }

    fn prepare(&mut self) -> bool {
        self.nmi.before_entry(self.vmcb)
    }

    fn close(&mut self) {
        world_switch::close();
    }

    fn switch(&mut self, flush: bool, invalid_opcode: bool) {
        self.vmcb.control.intercept_exceptions =
            OWN_EXCEPTIONS | u32::from(invalid_opcode) << INVALID_OPCODE;
        if flush {
            self.vmcb.request_flush();
        }
        #[cfg(feature = "vmcb-check")]
        self.check();
        // SAFETY: global interrupts are off; the VMCB is this vCPU's, its nested tables are the
        // guest space's, and in the end LUCOS's own state comes back.
        unsafe {
            world_switch::load(self.vmcb_phys);
            world_switch::run(&mut self.general, self.vmcb_phys);
            world_switch::save(self.vmcb_phys);
            world_switch::load(self.own_state);
        }
        self.vmcb.exited();
        if let Some(event) = self.vmcb.interrupted_event() {
            self.vmcb.inject(event);
        }
    }

    fn open(&mut self) {
        world_switch::open();
    }

    fn look_at_exit(&mut self, counts: &ExitCounts) -> Exited {
        let refused_at = self.refused_at.take();
        let (code, rip) = (self.vmcb.exit_code(), self.vmcb.save.rip);
        if code != ExitCode::CPUID {
            counts.add(Counter::Exits);
        }
        if self.nmi.at_exit(self.vmcb, code == DEBUG_EXCEPTION) {
            counts.add(Counter::Debug);
            return Exited::Again;
        }
        match code {
            ExitCode::NMI => self.wait_for_nmi(),
            ExitCode::IRET => {
                counts.add(Counter::Iret);
                self.nmi.at_iret(self.vmcb);
            }
            ExitCode::CPUID => return Exited::Cpuid,
            // QEMU's TCG says so when the guest writes a bit of CR3 or CR4 that must be 0. When the
            // guest comes no further with the exception, it is something else.
            ExitCode::INVALID if refused_at != Some(rip) => {
                self.refused_at = Some(rip);
                return Exited::Reason(GENERAL_PROTECTION);
            }
            _ => return Exited::Reason(exit_reason(self.vmcb)),
        }
        Exited::Again
    }

    fn pend_nmi(&mut self) {
        self.nmi.pend();
    }

    fn start(&mut self, state: &FlatStart) {
        self.nmi.reset(self.vmcb);
        self.refused_at = None;
        start_flat(self.vmcb, &mut self.general, state);
        // VMRUN forgets no translations by itself when control registers change (APM vol. 2, 15.16).
        self.vmcb.request_flush();
    }

    fn registers(&self) -> Registers {
        registers(self.vmcb, &self.general)
    }

    fn set_registers(&mut self, block: &Registers) {
        write_back(self.vmcb, &mut self.general, block);
    }

    fn inject(&mut self, event: Event) -> bool {
        let event = combined(self.vmcb.control.event_injection, event);
        if let Some(event) = event {
            self.vmcb.inject(exception(event));
        }
        event.is_some()
    }

    fn instruction_length(&self) -> u8 {
        instruction_length(self.vmcb, self.has_next_rip())
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
        let save = &mut self.vmcb.save;
        save.efer = value & !EFER_LMA | save.efer & EFER_LMA | EFER_SVME;
        Some(())
    }
}

/// What a processor raises where an emulator gives up.
const GENERAL_PROTECTION: ExitReason =
    ExitReason::Exception(Event { vector: 13, error_code: Some(0) });

/// The vector of #UD.
const INVALID_OPCODE: u32 = 6;

/// Debug exceptions leave with this code.
const DEBUG_EXCEPTION: ExitCode = ExitCode(ExitCode::EXCEPTION.0 + 1);

/// Exceptions that always leave: #DB and #AC, which a guest can have delivered to itself for ever
/// while no NMI gets through (CVE-2015-8104 and CVE-2015-5307), and #SX, which INIT becomes (see
/// `enable`).
const OWN_EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 30;
