//! Why the guest stopped (SDM appendix C and 29.2).

use lucos_abi::object::{Access, Event, ExitReason, PortAccess};
use lucos_vcpu::event::{HAS_ERROR_CODE, NMI, VALID, kind};
use x86::vmx::vmcs::{guest, ro};

use crate::Vmcs;
use crate::event::{DEBUG, mind_iret};

/// The number of an exit, without what else the field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basic(pub u16);

impl Basic {
    /// An exception or an NMI.
    pub const EXCEPTION: Self = Self(0);
    /// An interrupt that waits.
    pub const INTERRUPT: Self = Self(1);
    /// A triple fault.
    pub const SHUTDOWN: Self = Self(2);
    /// INIT.
    pub const INIT: Self = Self(3);
    /// The guest can take an interrupt.
    pub const INTERRUPT_WINDOW: Self = Self(7);
    /// The guest can take an NMI.
    pub const NMI_WINDOW: Self = Self(8);
    /// CPUID.
    pub const CPUID: Self = Self(10);
    /// INVD.
    pub const INVD: Self = Self(13);
    /// VMCALL.
    pub const VMCALL: Self = Self(18);
    /// A control register.
    pub const CONTROL_REGISTER: Self = Self(28);
    /// IN or OUT.
    pub const IO: Self = Self(30);
    /// RDMSR.
    pub const READ_MSR: Self = Self(31);
    /// WRMSR.
    pub const WRITE_MSR: Self = Self(32);
    /// The entry refused the guest's state.
    pub const INVALID_STATE: Self = Self(33);
    /// EPT does not allow the access.
    pub const EPT_VIOLATION: Self = Self(48);
    /// XSETBV.
    pub const XSETBV: Self = Self(55);

    /// That of the last exit.
    pub fn of(vmcs: &impl Vmcs) -> Self {
        Self(vmcs.read(ro::EXIT_REASON) as u16)
    }

    /// GETSEC, VMCLEAR to VMXON, INVEPT, INVVPID, VMFUNC, SEAMCALL, TDCALL.
    const fn is_of_extension(self) -> bool {
        matches!(self.0, 11 | 19..=27 | 50 | 53 | 59 | 76 | 77)
    }
}

/// The last entry was not made, for the guest's state.
pub fn has_failed(vmcs: &impl Vmcs) -> bool {
    vmcs.read(ro::EXIT_REASON) & 1 << 31 != 0
}

/// The last exit is that of an NMI.
pub fn is_nmi(vmcs: &impl Vmcs) -> bool {
    Basic::of(vmcs) == Basic::EXCEPTION && kind(vmcs.read(ro::VMEXIT_INTERRUPTION_INFO)) == NMI
}

/// What a debug exception at the last exit said, as bits of DR6; `None` when it was none. That of INT1,
/// which comes behind its instruction, is no step.
pub fn debug_status(vmcs: &impl Vmcs) -> Option<u64> {
    const HARDWARE: u64 = VALID | 3 << 8 | DEBUG as u64;
    let info = vmcs.read(ro::VMEXIT_INTERRUPTION_INFO) & (VALID | 0x7ff);
    let is_debug = Basic::of(vmcs) == Basic::EXCEPTION && info == HARDWARE;
    is_debug.then(|| vmcs.read(ro::EXIT_QUALIFICATION) & DEBUG_BITS)
}

/// The address of a page fault that left the guest.
pub fn fault_address(vmcs: &impl Vmcs) -> Option<u64> {
    const PAGE_FAULT: u8 = 14;
    let vector = vmcs.read(ro::VMEXIT_INTERRUPTION_INFO) as u8;
    let is_fault = Basic::of(vmcs) == Basic::EXCEPTION && vector == PAGE_FAULT;
    is_fault.then(|| vmcs.read(ro::EXIT_QUALIFICATION))
}

/// B0 to B3, BD and BS.
pub(crate) const DEBUG_BITS: u64 = 0x600f;
/// Type of INT1.
const PRIVILEGED_SOFTWARE: u64 = 5;

/// Whether the access to a control register at the last exit was one to CR0.
pub fn is_of_cr0(vmcs: &impl Vmcs) -> bool {
    vmcs.read(ro::EXIT_QUALIFICATION) & 0xf == 0
}

/// The reason of the last exit, in words that hold for every vendor. What the exit says of NMIs and of
/// the place of the exception is taken note of in the guest's state.
pub fn exit_reason(vmcs: &mut impl Vmcs) -> ExitReason {
    let qualification = vmcs.read(ro::EXIT_QUALIFICATION);
    match Basic::of(vmcs) {
        Basic::EXCEPTION => ExitReason::Exception(exception(vmcs)),
        Basic::INTERRUPT => ExitReason::Interrupted,
        Basic::SHUTDOWN => ExitReason::Shutdown,
        Basic::INIT => ExitReason::Init,
        Basic::INVD => ExitReason::InvalidateCaches,
        Basic::VMCALL => ExitReason::Hypercall,
        Basic::IO => ExitReason::Port(port_access(qualification)),
        Basic::READ_MSR => ExitReason::ReadMsr,
        Basic::WRITE_MSR => ExitReason::WriteMsr,
        Basic::INVALID_STATE => ExitReason::InvalidState,
        Basic::EPT_VIOLATION => {
            mind_iret(vmcs, qualification);
            let gpa = vmcs.read(ro::GUEST_PHYSICAL_ADDR_FULL);
            let delivery = vmcs.read(ro::IDT_VECTORING_INFO) & VALID != 0;
            ExitReason::NestedFault { gpa, access: access(qualification, delivery) }
        }
        basic if basic.is_of_extension() => ExitReason::Virtualization,
        Basic(code) => {
            let info2 = vmcs.read(ro::VMEXIT_INSTRUCTION_INFO);
            ExitReason::Other { code: code.into(), info1: qualification, info2 }
        }
    }
}

fn exception(vmcs: &mut impl Vmcs) -> Event {
    let info = vmcs.read(ro::VMEXIT_INTERRUPTION_INFO);
    mind_iret(vmcs, info);
    if kind(info) == PRIVILEGED_SOFTWARE {
        let rip = vmcs.read(guest::RIP).wrapping_add(vmcs.read(ro::VMEXIT_INSTRUCTION_LEN));
        vmcs.write(guest::RIP, rip);
    }
    let has_code = info & HAS_ERROR_CODE != 0;
    let error_code = has_code.then(|| vmcs.read(ro::VMEXIT_INTERRUPTION_ERR_CODE) as u32);
    Event { vector: info as u8, error_code }
}

/// An access that EPT does not allow (SDM table 29-7).
const fn access(qualification: u64, delivery: bool) -> Access {
    const ADDRESS_IS_KNOWN: u64 = 1 << 7;
    const NOT_OF_TABLE: u64 = 1 << 8;
    Access {
        write: qualification & 1 << 1 != 0,
        execute: qualification & 1 << 2 != 0,
        present: qualification & 7 << 3 != 0,
        table_walk: qualification & (ADDRESS_IS_KNOWN | NOT_OF_TABLE) == ADDRESS_IS_KNOWN,
        delivery,
    }
}

/// IN or OUT (SDM table 29-5).
const fn port_access(qualification: u64) -> PortAccess {
    PortAccess {
        port: (qualification >> 16) as u16,
        size: (qualification & 7) as u8 + 1,
        input: qualification & 1 << 3 != 0,
        string: qualification & 1 << 4 != 0,
    }
}

/// Length in bytes of the instruction that caused the last exit; 0 when no instruction did.
pub fn instruction_length(vmcs: &impl Vmcs) -> u8 {
    let basic = Basic::of(vmcs);
    match basic.0 {
        9..=28 | 30..=32 | 39 | 40 | 46 | 47 | 50..=51 | 53..=55 | 57..=61 | 67 | 68 => {
            vmcs.read(ro::VMEXIT_INSTRUCTION_LEN) as u8
        }
        _ => 0,
    }
}
