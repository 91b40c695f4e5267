//! What the processor that boots says of itself, for the boot record and the tasks.

use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

use lucos_system_info::Extension;
use x86::msr::{rdmsr, wrmsr};

/// The leaf by which a hypervisor names itself.
const HYPERVISOR: u32 = 0x4000_0000;
/// The features of AMD-V (APM vol. 3, CPUID Fn8000_000A).
const SVM_FEATURES: u32 = 0x8000_000a;

/// AMD-V's configuration: it is off for good; INIT becomes an exception (APM vol. 2, 15.30.1).
const VM_CR: u32 = 0xc001_0114;
const VM_CR_SVMDIS: u64 = 1 << 4;
const VM_CR_R_INIT: u64 = 1 << 1;

/// CPUID of a leaf; zeros for one beyond the processor's range.
fn leaf(number: u32) -> CpuidResult {
    if number <= __cpuid(number & 0x8000_0000).eax {
        __cpuid_count(number, 0)
    } else {
        CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 }
    }
}

/// This processor's local APIC id, the 32-bit one where there is one.
pub fn own_apic_id() -> u32 {
    let extended = leaf(0xb);
    if extended.ebx != 0 { extended.edx } else { leaf(1).ebx >> 24 }
}

/// Bits of a physical address, 36 to 52.
pub fn physical_bits() -> u8 {
    let bits = leaf(0x8000_0008).eax & 0xff;
    if (36..=52).contains(&bits) { bits as u8 } else { 36 }
}

/// A hypervisor below offers an interface of its own. QEMU's TCG names itself, and offers none.
pub fn has_hypervisor_interface() -> bool {
    let CpuidResult { eax, ebx, ecx, edx } = __cpuid(HYPERVISOR);
    let name = [ebx, ecx, edx].map(u32::to_le_bytes);
    let is_below = leaf(1).ecx & (1 << 31) != 0 && eax >= HYPERVISOR;
    is_below && name.as_flattened() != b"TCGTCGTCGTCG"
}

/// The virtualization extension. Whether LUCOS can use it is for the kernel to say.
pub fn extension() -> Extension {
    if leaf(0x8000_0001).ecx & 1 << 2 == 0 {
        return Extension::Vtx;
    }
    Extension::Svm { features: leaf(SVM_FEATURES).edx, contains_init: has_redirection_of_init() }
}

/// Whether INIT can be made an exception. Processors without that ignore the write.
fn has_redirection_of_init() -> bool {
    // SAFETY: the processor has AMD-V, so the register exists, and it is left as it was. Nobody sends
    // INIT to the processor that boots.
    unsafe {
        let before = rdmsr(VM_CR);
        if before & VM_CR_SVMDIS != 0 {
            return false;
        }
        wrmsr(VM_CR, before | VM_CR_R_INIT);
        let takes = rdmsr(VM_CR) & VM_CR_R_INIT != 0;
        wrmsr(VM_CR, before);
        takes
    }
}
