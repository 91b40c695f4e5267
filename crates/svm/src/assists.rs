//! What the processor offers beyond the basic extension, and how the VMCB uses it.

use bitflags::bitflags;

use crate::vmcb::{Intercepts, Vmcb};

bitflags! {
    /// Assists that LUCOS knows how to use (CPUID leaf 0x8000_000a, EDX).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Assists: u32 {
        /// Nested paging. The only one that LUCOS cannot do without.
        const NESTED_PAGING = 1;
        /// Last-branch records of the guest are kept apart.
        const LAST_BRANCH = 1 << 1;
        /// The address of the next instruction is saved at exits.
        const NEXT_RIP = 1 << 3;
    }
}

/// Nested paging, in [`crate::Control::nested_control`] (APM appendix B, offset 0x90).
pub const NESTED_PAGING: u64 = 1;
/// INVLPGB and TLBSYNC, there too.
const INVLPGB: u64 = 1 << 7;

/// TLB_CONTROL: flush everything (APM 15.16.1).
pub(crate) const FLUSH_ALL: u32 = 1;

/// What a VMCB needs beside the guest's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Address space id, not 0.
    pub asid: u32,
    /// Physical address of the root of the nested page table.
    pub nested_root: u64,
    /// Physical address of the [`crate::MsrMap`].
    pub msr_map: u64,
    /// Physical address of the [`lucos_vcpu::IoMap`].
    pub io_map: u64,
    /// CPUID leaves the guest.
    pub cpuid: bool,
    /// The processor has INVLPGB and TLBSYNC: the guest may use them. They flush what belongs to
    /// its own address space id only (APM vol. 3, INVLPGB).
    pub invlpgb: bool,
}

impl Vmcb {
    /// Prepares the control area for a guest that owns the machine: interrupts and most I/O are its
    /// own; the instructions of the extension, INVD, NMI, shutdown, the marked MSRs and ports, and
    /// CPUID where that is asked for stop it.
    pub fn configure(&mut self, assists: Assists, setup: &Setup) {
        let control = &mut self.control;
        control.asid = setup.asid;
        control.nested_root = setup.nested_root;
        control.nested_control = NESTED_PAGING | if setup.invlpgb { INVLPGB } else { 0 };
        control.msr_map = setup.msr_map;
        control.io_map = setup.io_map;
        control.last_branch_control = assists.contains(Assists::LAST_BRANCH).into();
        let machine = Intercepts::EXTENSION | Intercepts::NMI | Intercepts::SHUTDOWN;
        // INVD would throw away what LUCOS has written.
        let values = Intercepts::MSR | Intercepts::IO | Intercepts::INVD;
        self.set_intercepts(machine | values, true);
        self.set_intercepts(Intercepts::CPUID, setup.cpuid);
        self.request_flush();
    }

    /// Makes the next run forget the guest's translations.
    pub fn request_flush(&mut self) {
        self.control.tlb_control = FLUSH_ALL;
    }

    /// To be called after each exit, before anything is changed: what was asked of the last run is
    /// done.
    pub fn exited(&mut self) {
        self.control.tlb_control = 0;
        self.control.event_injection = 0;
    }
}
