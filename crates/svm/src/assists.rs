//! What the processor offers beyond the basic extension, and how the VMCB uses it.

use bitflags::bitflags;

use crate::vmcb::{Clean, Intercepts, Vmcb};

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
        /// The processor may keep fields of the VMCB between runs.
        const CLEAN_BITS = 1 << 5;
        /// One guest can be flushed from the TLB without the host.
        const FLUSH_BY_ASID = 1 << 6;
        /// CLGI and STGI can be the guest's own; LUCOS does not offer them.
        const VIRTUAL_GIF = 1 << 16;
        /// The processor tracks whether the guest takes NMIs.
        const VIRTUAL_NMI = 1 << 25;
    }
}

/// Bits of [`crate::Control::virtual_interrupts`] (APM 15.21.10).
pub(crate) const V_NMI: u64 = 1 << 11;
const V_NMI_MASK: u64 = 1 << 12;
pub(crate) const V_NMI_ENABLE: u64 = 1 << 26;

/// Bits of [`crate::Control::nested_control`] (APM appendix B, offset 0x90).
pub(crate) const NESTED_PAGING: u64 = 1;
const INVLPGB: u64 = 1 << 7;

/// TLB_CONTROL: flush everything, or this guest's entries (APM 15.16.1).
const FLUSH_ALL: u32 = 1;
const FLUSH_GUEST: u32 = 3;

/// What a VMCB needs beside the guest's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Address space id, not 0.
    pub asid: u32,
    /// Physical address of the root of the nested page table.
    pub nested_root: u64,
    /// Physical address of the [`crate::MsrMap`].
    pub msr_map: u64,
    /// Physical address of the [`crate::IoMap`].
    pub io_map: u64,
    /// CPUID leaves the guest.
    pub cpuid: bool,
    /// The processor has INVLPGB and TLBSYNC: the guest may use them. They flush what belongs to
    /// its own address space id only (APM vol. 3, INVLPGB).
    pub invlpgb: bool,
}

impl Assists {
    /// The known assists among those that the processor reports.
    pub const fn from_cpuid(edx: u32) -> Self {
        Self::from_bits_truncate(edx)
    }
}

impl Vmcb {
    /// Prepares the control area for a guest that owns the machine: interrupts and most I/O are its
    /// own; the instructions of the extension, INVD, NMI, shutdown, the marked MSRs and ports, and
    /// CPUID where that is asked for stop it.
    pub fn configure(&mut self, assists: Assists, setup: &Setup) {
        let control = self.control_mut(Clean::all());
        control.asid = setup.asid;
        control.nested_root = setup.nested_root;
        control.nested_control = NESTED_PAGING | if setup.invlpgb { INVLPGB } else { 0 };
        control.msr_map = setup.msr_map;
        control.io_map = setup.io_map;
        control.last_branch_control = assists.contains(Assists::LAST_BRANCH).into();
        let virtual_nmi = assists.contains(Assists::VIRTUAL_NMI);
        control.virtual_interrupts = if virtual_nmi { V_NMI_ENABLE } else { 0 };
        let extension = Intercepts::VMRUN
            | Intercepts::VMMCALL
            | Intercepts::VMLOAD
            | Intercepts::VMSAVE
            | Intercepts::STGI
            | Intercepts::CLGI
            | Intercepts::SKINIT
            | Intercepts::INVLPGA;
        let machine = Intercepts::NMI | Intercepts::SHUTDOWN;
        // INVD would throw away what LUCOS has written.
        let values = Intercepts::MSR | Intercepts::IO | Intercepts::INVD;
        self.set_intercepts(extension | machine | values, true);
        self.set_intercepts(Intercepts::CPUID, setup.cpuid);
        self.request_flush(assists);
    }

    /// Makes the next run forget the guest's translations.
    pub fn request_flush(&mut self, assists: Assists) {
        let by_asid = assists.contains(Assists::FLUSH_BY_ASID);
        let control = self.control_mut(Clean::empty());
        control.tlb_control = if by_asid { FLUSH_GUEST } else { FLUSH_ALL };
    }

    /// To be called after each exit, before anything is changed: what was asked of the last run
    /// is done, and the processor may keep all fields where it can.
    pub fn exited(&mut self, assists: Assists) {
        let keeps = assists.contains(Assists::CLEAN_BITS);
        let clean = if keeps { Clean::all() } else { Clean::empty() };
        self.set_clean(clean);
        let control = self.control_mut(Clean::empty());
        control.tlb_control = 0;
        control.event_injection = 0;
    }

    /// Delivers an NMI to the guest: at once, or with virtual NMIs as soon as it takes one.
    /// Without them the caller tracks by an IRET intercept whether the guest takes NMIs.
    pub fn deliver_nmi(&mut self, assists: Assists) {
        if assists.contains(Assists::VIRTUAL_NMI) {
            self.control_mut(Clean::INTERRUPTS).virtual_interrupts |= V_NMI;
        } else {
            self.inject(crate::event::nmi());
        }
    }

    /// Whether the processor itself holds an NMI back: one waits, or the guest handles one. Always
    /// `false` without virtual NMIs.
    pub const fn nmi_in_progress(&self) -> bool {
        self.control().virtual_interrupts & (V_NMI | V_NMI_MASK) != 0
    }
}
