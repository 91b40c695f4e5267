//! Halting until an NMI comes.

use super::nmi::Nmis;
use core::arch::global_asm;

global_asm!(
    // A restartable range, see `nmi`.
    "idle_wait:",
    "idle_begin:",
    "cmp dword ptr [rdi], 0",
    "jne idle_end",
    "hlt",
    "idle_end:",
    "idle_interrupted:",
    "ret",
);

unsafe extern "C" {
    fn idle_wait(nmis: *const Nmis);
}

/// Halts until the processor has taken an NMI that nobody looked at yet.
pub fn wait_for_nmi(nmis: &'static Nmis) {
    // SAFETY: `idle_wait` only reads the counter at the begin of `Nmis`, which lives for ever, and
    // follows the C calling convention; the NMI that ends the halt returns to it.
    unsafe { idle_wait(nmis) }
}
