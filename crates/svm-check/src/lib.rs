//! What an AMD-V processor refuses, checked before it does (AMD64 Architecture Programmer's Manual,
//! volume 2, 15.5.1, 15.20, 15.21.10, 15.25.4).
//!
//! The processor only says that something is wrong, and emulators check less than hardware. The
//! kernel links this in debug images only.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use core::arch::x86_64::__cpuid_count;
use lucos_abi::registers::{EFER_LMA, EFER_LME, EFER_NXE};
use lucos_svm::{Assists, CR0_CD, CR0_NW, EFER_SVME, Intercepts, NESTED_PAGING, Save, Vmcb};
use lucos_vcpu::event::{EXCEPTION, INTERRUPT, NMI, SOFTWARE, VALID, kind};
use lucos_vcpu::reset::{CR0_PE, CR0_PG, CR4_PAE, DEFAULT_32, LONG};

use VmcbProblem as P;

/// What the processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Its assists.
    pub assists: Assists,
    /// Number of address space ids (CPUID leaf 0x8000_000a, EBX).
    pub asids: u32,
    /// Bits of a physical address (CPUID leaf 0x8000_0008, EAX).
    pub physical_bits: u8,
}

impl HostFacts {
    /// Those of the processor on which this runs, which has AMD-V.
    #[must_use]
    pub fn of_this_processor() -> Self {
        let features = __cpuid_count(0x8000_000a, 0);
        Self {
            assists: Assists::from_bits_truncate(features.edx),
            asids: features.ebx,
            physical_bits: __cpuid_count(0x8000_0008, 0).eax as u8,
        }
    }
}

/// The VMCB can run on this processor.
///
/// # Panics
/// When it cannot, with the reason.
pub fn assert_valid(vmcb: &Vmcb) {
    assert_eq!(check_vmcb(vmcb, &HostFacts::of_this_processor()), Ok(()), "the VMCB");
}

/// Why a VMCB cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmcbProblem {
    /// EFER.SVME is 0.
    SvmeClear,
    /// A reserved bit of EFER is set.
    EferReserved,
    /// CR0.NW is set without CR0.CD.
    WriteThroughWithoutDisable,
    /// CR0 has bits above 31.
    Cr0High,
    /// CR3 has bits above the physical address.
    Cr3Reserved,
    /// A reserved bit of CR4 is set.
    Cr4Reserved,
    /// DR6 has bits above 31.
    Dr6High,
    /// DR7 has bits above 31.
    Dr7High,
    /// Long mode paging without CR4.PAE.
    LongModeWithoutPae,
    /// Long mode paging without CR0.PE.
    LongModeWithoutProtection,
    /// The code segment has both L and D.
    LongAndDefault,
    /// VMRUN is not intercepted.
    VmrunNotIntercepted,
    /// The I/O map reaches beyond physical memory.
    IoMapOutside,
    /// The MSR map reaches beyond physical memory.
    MsrMapOutside,
    /// The ASID is 0 or too large.
    BadAsid,
    /// The type or vector of the injected event does not exist.
    BadEvent,
    /// Nested paging is off, or the processor has none.
    NoNestedPaging,
    /// The nested root is not a page below the end of physical memory.
    NestedRoot,
    /// A type in the guest's PAT does not exist.
    BadPat,
    /// The VMCB uses an assist that the processor does not have.
    MissingAssist,
}

const HIGH: u64 = !0 << 32;
/// VME to OSXMMEXCPT, UMIP, LA57, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP, PKE, CET (APM 3.1.3).
const CR4_USED: u64 = 0x7ff | 1 << 11 | 1 << 12 | 0x7 << 16 | 0xf << 20;
/// SCE, LME, LMA, NXE, SVME, LMSLE, FFXSR, TCE, MCOMMIT, INTWB, UAIE, AIBRSE (APM 3.1.7).
const EFER_USED: u64 = 1 | EFER_LME | EFER_LMA | EFER_NXE | 0xf << 12 | 3 << 17 | 3 << 20;
/// Bytes of the maps.
const IO_MAP_SIZE: u64 = 3 * 4096;
const MSR_MAP_SIZE: u64 = 2 * 4096;

/// Checks everything that makes the processor refuse a VMCB.
///
/// # Errors
/// The first problem, in the order of the manual.
pub fn check_vmcb(vmcb: &Vmcb, host: &HostFacts) -> Result<(), VmcbProblem> {
    let registers = register_problems(&vmcb.save, host.physical_bits);
    let control = control_problems(vmcb, host);
    let mut found = registers.into_iter().chain(control);
    match found.find(|(is_so, _)| *is_so) {
        Some((_, problem)) => Err(problem),
        None => Ok(()),
    }
}

fn register_problems(save: &Save, physical_bits: u8) -> [(bool, P); 12] {
    let paging = save.efer & EFER_LME != 0 && save.cr0 & CR0_PG != 0;
    let pae = save.cr4 & CR4_PAE != 0;
    let long_and_default = save.cs.attributes & (LONG | DEFAULT_32) == LONG | DEFAULT_32;
    let is_type = |kind| matches!(kind, 0 | 1 | 4..=7);
    [
        (save.efer & EFER_SVME == 0, P::SvmeClear),
        (save.cr0 & (CR0_CD | CR0_NW) == CR0_NW, P::WriteThroughWithoutDisable),
        (save.cr0 & HIGH != 0, P::Cr0High),
        (save.cr3 >> physical_bits.min(63) != 0, P::Cr3Reserved),
        (save.cr4 & !CR4_USED != 0, P::Cr4Reserved),
        (save.dr6 & HIGH != 0, P::Dr6High),
        (save.dr7 & HIGH != 0, P::Dr7High),
        (save.efer & !EFER_USED != 0, P::EferReserved),
        (paging && !pae, P::LongModeWithoutPae),
        (paging && save.cr0 & CR0_PE == 0, P::LongModeWithoutProtection),
        (paging && pae && long_and_default, P::LongAndDefault),
        (!save.pat.to_le_bytes().into_iter().all(is_type), P::BadPat),
    ]
}

fn control_problems(vmcb: &Vmcb, host: &HostFacts) -> [(bool, P); 8] {
    let control = &vmcb.control;
    let end = 1 << host.physical_bits.min(63);
    let has = |assist| host.assists.contains(assist);
    let root = control.nested_root;
    let nested = control.nested_control & NESTED_PAGING != 0 && has(Assists::NESTED_PAGING);
    let missing = control.last_branch_control & 1 != 0 && !has(Assists::LAST_BRANCH);
    let lets_through = |intercept| !vmcb.intercepts().contains(intercept);
    [
        (lets_through(Intercepts::VMRUN), P::VmrunNotIntercepted),
        (control.io_map > end - IO_MAP_SIZE, P::IoMapOutside),
        (control.msr_map > end - MSR_MAP_SIZE, P::MsrMapOutside),
        (control.asid == 0 || control.asid >= host.asids, P::BadAsid),
        (is_bad_event(control.event_injection), P::BadEvent),
        (!nested, P::NoNestedPaging),
        (!root.is_multiple_of(4096) || root >= end, P::NestedRoot),
        (missing, P::MissingAssist),
    ]
}

fn is_bad_event(event: u64) -> bool {
    let sound = match kind(event) {
        INTERRUPT | NMI | SOFTWARE => true,
        EXCEPTION => matches!(event & 0xff, 0 | 1 | 3..=31),
        _ => false,
    };
    event & VALID != 0 && !sound
}

#[cfg(test)]
mod tests;
