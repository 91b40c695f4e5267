//! Kicks: NMIs by which one processor gets another's attention (see `nmi`).

use super::processor::{self, PerProcessor};
use super::time::Timer;
use super::{apic, nmi};
use core::sync::atomic::Ordering;

/// Ticks after which a kick counts as lost. Longer than any processor takes to leave the guest; an
/// emulator on a busy machine may get a second one, which merges with the first.
const RESEND: u64 = 100_000_000;

/// Sends a processor an NMI, unless a kick is under way.
pub fn kick(processor: &PerProcessor) {
    if processor.nmis.kicks.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        apic::send_nmi(processor.apic_id);
    }
}

/// Kicks every other processor of which `is_needed` is true, and waits until it is true of none.
/// `None` when that takes longer than `deadline` ticks.
pub fn kick_while(me: u32, deadline: u64, is_needed: impl Fn(&PerProcessor) -> bool) -> Option<()> {
    let timer = Timer::start();
    let mut sent = timer;
    processor::others(me).filter(|other| is_needed(other)).for_each(kick);
    while processor::others(me).any(&is_needed) {
        if timer.passed() > deadline {
            return None;
        }
        if sent.passed() > RESEND {
            sent = Timer::start();
            for other in processor::others(me).filter(|other| is_needed(other)) {
                other.nmis.kicks.fetch_add(1, Ordering::SeqCst);
                apic::send_nmi(other.apic_id);
            }
        }
        core::hint::spin_loop();
    }
    Some(())
}

/// Has every other processor stand still for good.
pub fn end_others() {
    nmi::end();
    processor::all().iter().for_each(|processor| apic::send_nmi(processor.apic_id));
}
