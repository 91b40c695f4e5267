//! Layout of the VMCB (APM appendix B).

use bitflags::bitflags;
use core::mem::offset_of;

bitflags! {
    /// Intercepts at offsets 0x0c (lower half) and 0x10 (upper half).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Intercepts: u64 {
        /// Interrupts, when they are let in.
        const INTR = 1;
        /// Non-maskable interrupts.
        const NMI = 1 << 1;
        /// CPUID.
        const CPUID = 1 << 18;
        /// IRET.
        const IRET = 1 << 20;
        /// INVD.
        const INVD = 1 << 22;
        /// HLT.
        const HLT = 1 << 24;
        /// IN and OUT, as the I/O map says.
        const IO = 1 << 27;
        /// RDMSR and WRMSR, as the MSR map says.
        const MSR = 1 << 28;
        /// Shutdown (triple fault).
        const SHUTDOWN = 1 << 31;
        /// VMRUN; always needed.
        const VMRUN = 1 << 32;
        /// The instructions of the extension: VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT
        /// and INVLPGA.
        const EXTENSION = 0x7f << 32 | 1 << 26;
        /// MWAIT.
        const MWAIT = 1 << 43;
    }
}

/// Bytes that LUCOS leaves zero: reserved, or of a feature that it does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Reserved<const N: usize>([u8; N]);

impl<const N: usize> Default for Reserved<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// Control area.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// Reads (bits 0 to 15) and writes (16 to 31) of control registers.
    pub intercept_cr: u32,
    /// Reads and writes of debug registers.
    pub intercept_dr: u32,
    /// Exceptions, by vector.
    pub intercept_exceptions: u32,
    intercepts: [u32; 2],
    pub(crate) reserved_14: Reserved<44>,
    /// Physical address of the [`lucos_vcpu::IoMap`].
    pub io_map: u64,
    /// Physical address of the [`crate::MsrMap`].
    pub msr_map: u64,
    /// Added to the time-stamp counter.
    pub tsc_offset: u64,
    /// Address space id, not 0.
    pub asid: u32,
    /// What to flush at the next run, see [`Vmcb::request_flush`].
    pub tlb_control: u32,
    /// Virtual interrupt and NMI bits (offset 0x60).
    pub virtual_interrupts: u64,
    /// Bit 0: interrupts are held off for one instruction.
    pub interrupt_shadow: u64,
    /// Why the guest stopped; only the low 32 bits tell.
    pub exit_code: u64,
    /// First detail.
    pub exit_info1: u64,
    /// Second detail.
    pub exit_info2: u64,
    /// The event whose delivery the exit interrupted (APM 15.7.2).
    pub exit_interrupt_info: u64,
    /// Bit 0: nested paging; bit 7: INVLPGB and TLBSYNC.
    pub nested_control: u64,
    pub(crate) reserved_98: Reserved<16>,
    /// The event to deliver at the next run (APM 15.20).
    pub event_injection: u64,
    /// Root of the nested page table.
    pub nested_root: u64,
    /// Bit 0: last-branch records are the guest's own.
    pub last_branch_control: u64,
    /// Which fields the processor may keep from the last run (APM 15.15.3): none.
    clean: u32,
    pub(crate) reserved_c4: Reserved<4>,
    /// Address of the next instruction, where the processor tells.
    pub next_rip: u64,
    pub(crate) reserved_d0: Reserved<816>,
}

/// A segment register, or the register of a descriptor table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Descriptor bits 40 to 47 and 52 to 55, put together.
    pub attributes: u16,
    /// Limit in bytes, minus one.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// State save area, offset 0x400.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Save {
    /// ES
    pub es: Segment,
    /// CS
    pub cs: Segment,
    /// SS
    pub ss: Segment,
    /// DS
    pub ds: Segment,
    /// FS
    pub fs: Segment,
    /// GS
    pub gs: Segment,
    /// GDTR
    pub gdtr: Segment,
    /// LDTR
    pub ldtr: Segment,
    /// IDTR
    pub idtr: Segment,
    /// TR
    pub tr: Segment,
    pub(crate) reserved_4a0: Reserved<43>,
    /// Current privilege level.
    pub cpl: u8,
    pub(crate) reserved_4cc: Reserved<4>,
    /// EFER; SVME must be set.
    pub efer: u64,
    pub(crate) reserved_4d8: Reserved<112>,
    /// CR4
    pub cr4: u64,
    /// CR3
    pub cr3: u64,
    /// CR0
    pub cr0: u64,
    /// DR7
    pub dr7: u64,
    /// DR6
    pub dr6: u64,
    /// RFLAGS
    pub rflags: u64,
    /// RIP
    pub rip: u64,
    pub(crate) reserved_580: Reserved<88>,
    /// RSP
    pub rsp: u64,
    /// Shadow stacks: S_CET, SSP, ISST_ADDR.
    pub shadow_stack: [u64; 3],
    /// RAX
    pub rax: u64,
    /// STAR
    pub star: u64,
    /// LSTAR
    pub lstar: u64,
    /// CSTAR
    pub cstar: u64,
    /// SFMASK
    pub sfmask: u64,
    /// KERNEL_GS_BASE
    pub kernel_gs_base: u64,
    /// SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP
    pub sysenter: [u64; 3],
    /// CR2
    pub cr2: u64,
    pub(crate) reserved_648: Reserved<32>,
    /// The guest's PAT; used with nested paging only.
    pub pat: u64,
    /// DEBUGCTL; used with last-branch virtualization only.
    pub debug_control: u64,
    pub(crate) reserved_678: Reserved<2440>,
}

/// A virtual machine control block. It lies in a page of its own; one for each processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct Vmcb {
    /// The control area.
    pub control: Control,
    /// The state save area.
    pub save: Save,
}

// Each pin is behind a gap; what lies between two follows from the types.
const _: () = {
    assert!(size_of::<Vmcb>() == 4096);
    assert!(offset_of!(Vmcb, save) == 0x400);
    assert!(offset_of!(Control, asid) == 0x58);
    assert!(offset_of!(Control, exit_code) == 0x70);
    assert!(offset_of!(Control, event_injection) == 0xa8);
    assert!(offset_of!(Control, nested_root) == 0xb0);
    assert!(offset_of!(Control, clean) == 0xc0);
    assert!(offset_of!(Control, next_rip) == 0xc8);
    assert!(offset_of!(Save, cpl) == 0xcb);
    assert!(offset_of!(Save, cr4) == 0x148);
    assert!(offset_of!(Save, rax) == 0x1f8);
    assert!(offset_of!(Save, cr2) == 0x240);
    assert!(offset_of!(Save, pat) == 0x268);
};

impl Vmcb {
    /// The instructions and events that stop the guest.
    pub fn intercepts(&self) -> Intercepts {
        let [low, high] = self.control.intercepts.map(u64::from);
        Intercepts::from_bits_retain(low | high << 32)
    }

    /// Switches intercepts on or off.
    pub fn set_intercepts(&mut self, which: Intercepts, on: bool) {
        let mut intercepts = self.intercepts();
        intercepts.set(which, on);
        let bits = intercepts.bits();
        self.control.intercepts = [bits as u32, (bits >> 32) as u32];
    }
}
