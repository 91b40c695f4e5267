//! What the processor says of itself.

use core::arch::x86_64::{__cpuid_count, CpuidResult};
use lucos_abi::registers::{EFER_LMA, EFER_LME, EFER_NXE};

/// CPUID of `leaf` and `subleaf`; zeros for a leaf beyond the processor's range.
pub fn read(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}

fn highest(base: u32) -> u32 {
    read(base, 0).eax
}

fn checked(leaf: u32) -> CpuidResult {
    if leaf <= highest(leaf & 0x8000_0000) {
        read(leaf, 0)
    } else {
        CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 }
    }
}

/// Pages can forbid execution.
pub fn has_no_execute() -> bool {
    checked(0x8000_0001).edx & (1 << 20) != 0
}

/// Page tables can map 1 GiB at once.
pub fn has_huge_pages() -> bool {
    checked(0x8000_0001).edx & (1 << 26) != 0
}

/// The features of leaf 7.
pub fn structured_features() -> CpuidResult {
    checked(7)
}

/// The x2APIC interface.
pub fn has_x2apic() -> bool {
    read(1, 0).ecx & (1 << 21) != 0
}

/// AMD-V.
pub fn has_svm() -> bool {
    checked(0x8000_0001).ecx & (1 << 2) != 0
}

/// The SVM feature leaf: the number of address space ids in EBX, features in EDX (APM vol. 3, CPUID
/// Fn8000_000A).
pub fn svm_features() -> CpuidResult {
    checked(0x8000_000a)
}

/// Bits of EFER that this processor has, without those of virtualization (APM vol. 2, 3.1.7; the
/// features of CPUID that name them: APM vol. 3, appendix E).
pub fn efer_bits() -> u64 {
    let [features, sizes, more] = [0x8000_0001, 0x8000_0008, 0x8000_0021].map(checked);
    let bits = [
        // SCE, LME and LMA, NXE, FFXSR, TCE
        (features.edx, 11, 1),
        (features.edx, 29, EFER_LME | EFER_LMA),
        (features.edx, 20, EFER_NXE),
        (features.edx, 25, 1 << 14),
        (features.ecx, 17, 1 << 15),
        // MCOMMIT, INTWB
        (sizes.ebx, 8, 1 << 17),
        (sizes.ebx, 13, 1 << 18),
        // UAIE, AIBRSE
        (more.eax, 7, 1 << 20),
        (more.eax, 8, 1 << 21),
    ];
    bits.into_iter()
        .filter(|(register, bit, _)| register >> bit & 1 != 0)
        .fold(0, |sum, (_, _, efer)| sum | efer)
}

/// INVLPGB, which invalidates translations on all processors.
pub fn has_invlpgb() -> bool {
    checked(0x8000_0008).ebx & (1 << 3) != 0
}

/// This processor's local APIC id, the 32-bit one where there is one.
pub fn apic_id() -> u32 {
    let extended = checked(0xb);
    if extended.ebx != 0 { extended.edx } else { read(1, 0).ebx >> 24 }
}
