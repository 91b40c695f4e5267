//! What the processor says of itself.

use core::arch::x86_64::{__cpuid_count, CpuidResult};
use lucos_abi::registers::{EFER_LMA, EFER_LME, EFER_NXE};

/// CPUID of `leaf` and `subleaf`; zeros for a leaf beyond the processor's range.
pub fn read(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}

fn checked(leaf: u32) -> CpuidResult {
    if leaf <= read(leaf & 0x8000_0000, 0).eax {
        read(leaf, 0)
    } else {
        CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 }
    }
}

/// The leaf, register (0 for EAX) and bit by which the processor says that it has something.
pub type Feature = (u32, usize, u32);
/// Pages can forbid execution.
pub const NO_EXECUTE: Feature = (0x8000_0001, 3, 20);
/// Page tables can map 1 GiB at once.
pub const HUGE_PAGES: Feature = (0x8000_0001, 3, 26);
/// AMD-V.
pub const SVM: Feature = (0x8000_0001, 2, 2);
/// VT-x.
pub const VMX: Feature = (1, 2, 5);
/// XSAVE, and extended control registers.
pub const XSAVE: Feature = (1, 2, 26);
/// INVLPGB, which invalidates translations on all processors.
pub const INVLPGB: Feature = (0x8000_0008, 1, 3);
/// The x2APIC interface.
pub const X2APIC: Feature = (1, 2, 21);
/// Ring 0 can be kept from executing ring 3's pages.
pub const SMEP: Feature = (7, 1, 7);
/// And from touching them.
pub const SMAP: Feature = (7, 1, 20);
/// Ring 3 can be kept from reading the places of descriptor tables.
pub const UMIP: Feature = (7, 2, 2);

/// Whether the processor has it.
pub fn has((leaf, register, bit): Feature) -> bool {
    let CpuidResult { eax, ebx, ecx, edx } = checked(leaf);
    [eax, ebx, ecx, edx].get(register).is_some_and(|bits| bits >> bit & 1 != 0)
}

/// The SVM feature leaf: the number of address space ids in EBX, features in EDX (APM vol. 3, CPUID
/// Fn8000_000A).
pub fn svm_features() -> CpuidResult {
    checked(0x8000_000a)
}

/// Bits of EFER that this processor has, without those of virtualization (APM vol. 2, 3.1.7; the
/// features of CPUID that name them: APM vol. 3, appendix E).
pub fn efer_bits() -> u64 {
    let bits = [
        // SCE, LME and LMA, NXE, FFXSR, TCE
        ((0x8000_0001, 3, 11), 1),
        ((0x8000_0001, 3, 29), EFER_LME | EFER_LMA),
        (NO_EXECUTE, EFER_NXE),
        ((0x8000_0001, 3, 25), 1 << 14),
        ((0x8000_0001, 2, 17), 1 << 15),
        // MCOMMIT, INTWB
        ((0x8000_0008, 1, 8), 1 << 17),
        ((0x8000_0008, 1, 13), 1 << 18),
        // UAIE, AIBRSE
        ((0x8000_0021, 0, 7), 1 << 20),
        ((0x8000_0021, 0, 8), 1 << 21),
    ];
    bits.into_iter().filter(|(feature, _)| has(*feature)).fold(0, |sum, (_, efer)| sum | efer)
}

/// This processor's local APIC id, the 32-bit one where there is one.
pub fn apic_id() -> u32 {
    let extended = checked(0xb);
    if extended.ebx != 0 { extended.edx } else { read(1, 0).ebx >> 24 }
}
