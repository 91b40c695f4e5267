//! What a task may ask the processor itself. CPUID is not among it: a processor can be set to fault
//! it outside ring 0 (AMD: HWCR.CpuidUserDis, which is kept from the guest; Intel:
//! MISC_FEATURES_ENABLES). The system info has what tasks need to know.

use core::arch::x86_64::_rdtsc;

/// The time-stamp counter of this processor, in ticks.
pub fn time_stamp() -> u64 {
    // SAFETY: every processor with 64-bit mode has RDTSC, and the kernel leaves it to ring 3.
    unsafe { _rdtsc() }
}
