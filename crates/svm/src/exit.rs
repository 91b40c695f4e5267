//! Why the guest stopped (APM appendix C).

use lucos_abi::object::{Access, Event, ExitReason, PortAccess};

use crate::vmcb::Vmcb;
use lucos_vcpu::event::VALID;

/// An exit code, reduced to the 32 bits that every implementation stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(pub u32);

impl ExitCode {
    /// Exceptions: this plus the vector.
    pub const EXCEPTION: Self = Self(0x40);
    /// An interrupt that waits.
    pub const INTR: Self = Self(0x60);
    /// NMI.
    pub const NMI: Self = Self(0x61);
    /// The exception #SX, which INIT becomes (APM 15.28).
    pub const INIT: Self = Self(Self::EXCEPTION.0 + 30);
    /// CPUID.
    pub const CPUID: Self = Self(0x72);
    /// IRET.
    pub const IRET: Self = Self(0x74);
    /// INVD.
    pub const INVD: Self = Self(0x76);
    /// INVLPGA.
    pub const INVLPGA: Self = Self(0x7a);
    /// IN or OUT, which tell the next instruction in their second detail.
    pub const IO: Self = Self(0x7b);
    /// RDMSR or WRMSR.
    pub const MSR: Self = Self(0x7c);
    /// Shutdown.
    pub const SHUTDOWN: Self = Self(0x7f);
    /// VMMCALL.
    pub const VMMCALL: Self = Self(0x81);
    /// Nested page fault.
    pub const NESTED_FAULT: Self = Self(0x400);
    /// The VMCB was refused. The manual says -1; emulators store 32 bits of it.
    pub const INVALID: Self = Self(u32::MAX);
}

/// #DB.
pub(crate) const DEBUG_EXCEPTION: ExitCode = ExitCode(ExitCode::EXCEPTION.0 + 1);
/// #PF.
pub(crate) const PAGE_FAULT: ExitCode = ExitCode(ExitCode::EXCEPTION.0 + 14);

/// Exceptions that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX (APM 8.2).
const WITH_ERROR_CODE: u32 = 1 << 8 | 0x1f << 10 | 1 << 17 | 1 << 21 | 3 << 29;

impl Vmcb {
    /// The exit code.
    pub const fn exit_code(&self) -> ExitCode {
        ExitCode(self.control.exit_code as u32)
    }
}

/// The reason of the last exit, in words that hold for every vendor.
pub fn exit_reason(vmcb: &Vmcb) -> ExitReason {
    let control = &vmcb.control;
    let (info1, info2) = (control.exit_info1, control.exit_info2);
    match vmcb.exit_code() {
        ExitCode::VMMCALL => ExitReason::Hypercall,
        ExitCode::MSR if info1 & 1 == 0 => ExitReason::ReadMsr,
        ExitCode::MSR => ExitReason::WriteMsr,
        ExitCode::IO => ExitReason::Port(port_access(info1)),
        ExitCode::SHUTDOWN => ExitReason::Shutdown,
        ExitCode::INVD => ExitReason::InvalidateCaches,
        ExitCode::INIT => ExitReason::Init,
        ExitCode::INTR => ExitReason::Interrupted,
        ExitCode::INVALID => ExitReason::InvalidState,
        // VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT.
        ExitCode::INVLPGA | ExitCode(0x80 | 0x82..=0x86) => ExitReason::Virtualization,
        ExitCode(code @ 0x40..=0x5f) => {
            let vector = code - ExitCode::EXCEPTION.0;
            let has_code = WITH_ERROR_CODE >> vector & 1 != 0;
            let error_code = has_code.then_some(info1 as u32);
            ExitReason::Exception(Event { vector: vector as u8, error_code })
        }
        ExitCode::NESTED_FAULT => ExitReason::NestedFault {
            gpa: info2,
            access: Access {
                present: info1 & 1 != 0,
                write: info1 & 1 << 1 != 0,
                execute: info1 & 1 << 4 != 0,
                table_walk: info1 & 1 << 33 != 0,
                delivery: control.exit_interrupt_info & VALID != 0,
            },
        },
        ExitCode(code) => ExitReason::Other { code: code.into(), info1, info2 },
    }
}

/// IN or OUT (APM 15.10.2).
const fn port_access(info: u64) -> PortAccess {
    PortAccess {
        port: (info >> 16) as u16,
        size: (info >> 4 & 7) as u8,
        input: info & 1 != 0,
        string: info & 1 << 2 != 0,
    }
}

/// Length in bytes of the instruction that caused the last exit; 0 when the processor does not
/// tell, or the exit has no instruction.
///
/// `next_rip` is the assist of that name. IN and OUT tell without it (APM 15.10.2).
pub fn instruction_length(vmcb: &Vmcb, next_rip: bool) -> u8 {
    let control = &vmcb.control;
    let next = match vmcb.exit_code() {
        ExitCode::IO => control.exit_info2,
        _ if next_rip => control.next_rip,
        _ => return 0,
    };
    let length = next.wrapping_sub(vmcb.save.rip);
    if matches!(length, 1..=15) { length as u8 } else { 0 }
}
