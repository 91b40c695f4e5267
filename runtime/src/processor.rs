//! What a task may ask the processor itself.

use core::arch::x86_64::{__cpuid_count, _rdtsc};

/// The four registers that CPUID answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidAnswer {
    /// EAX
    pub eax: u32,
    /// EBX
    pub ebx: u32,
    /// ECX
    pub ecx: u32,
    /// EDX
    pub edx: u32,
}

/// CPUID of this processor. Tasks do not run in the guest, so this is the machine's own answer.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidAnswer {
    #[allow(unused_unsafe)] // Newer compilers know that it is safe.
    // SAFETY: every processor with 64-bit mode has CPUID, and it only writes these registers.
    let answer = unsafe { __cpuid_count(leaf, subleaf) };
    CpuidAnswer { eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx }
}

/// The time-stamp counter of this processor, in ticks.
pub fn time_stamp() -> u64 {
    // SAFETY: every processor with 64-bit mode has RDTSC, and the kernel leaves it to ring 3.
    unsafe { _rdtsc() }
}
