//! Halting without missing the NMI that ends it.
//!
//! Interrupts are always off in LUCOS, so only an NMI ends a halt. An NMI between the last look at
//! the counter and HLT would be lost; so the NMI entry (see `trap`) moves a processor that stands
//! anywhere from `idle_begin` to `idle_end` on to `idle_end`.

use super::processor::PerProcessor;
use core::arch::global_asm;

global_asm!(
    ".global idle_wait, idle_begin, idle_end",
    "idle_wait:",
    "idle_begin:",
    "cmp dword ptr [rdi], 0",
    "jne idle_end",
    "hlt",
    "idle_end:",
    "ret",
);

unsafe extern "C" {
    fn idle_wait(nmis: *const u32);
}

/// Halts until the processor has taken an NMI that nobody looked at yet.
pub fn wait_for_nmi(shared: &'static PerProcessor) {
    // SAFETY: `idle_wait` only reads the counter, which lives for ever, and follows the C calling
    // convention; the NMI that ends the halt returns to it.
    unsafe { idle_wait(shared.nmis.as_ptr()) }
}

/// Halts once.
pub fn halt() {
    // SAFETY: halting has no effect on memory.
    unsafe { x86::halt() }
}
