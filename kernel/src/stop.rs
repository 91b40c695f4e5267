//! Stopping the guest on all other processors.
//!
//! A processor whose vCPU is not in the guest counts as stopped: it cannot enter while the stop
//! lasts. The order that makes this safe: a processor first says that it is in the guest, then
//! looks whether a stop is on; the stopper first says that a stop is on, then looks who is in the
//! guest. Whatever the interleaving, one of them sees the other.

use crate::arch::processor::{self, PerProcessor};
use crate::arch::{apic, ticks};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use lucos_abi::call::CallStatus;

const NOBODY: u32 = u32::MAX;

/// Number of the processor that holds the stop.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);
/// When the last stop began.
static BEGIN: AtomicU64 = AtomicU64::new(0);

/// What a stop took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Processors that had to be kicked.
    pub kicked: u32,
    /// Time-stamp ticks until all stood still.
    pub ticks: u64,
}

/// The processor must not enter the guest now.
pub fn holds(number: u32) -> bool {
    let owner = OWNER.load(Ordering::SeqCst);
    owner != NOBODY && owner != number
}

/// The processor holds the stop.
pub fn is_held_by(number: u32) -> bool {
    OWNER.load(Ordering::SeqCst) == number
}

/// Stops all others, within `deadline` ticks.
///
/// # Errors
/// `Busy` when a stop is on, `Late` when a processor did not leave the guest in time; then
/// everything runs on.
pub fn stop(me: u32, deadline: u64) -> Result<Stopped, CallStatus> {
    OWNER
        .compare_exchange(NOBODY, me, Ordering::SeqCst, Ordering::SeqCst)
        .map_err(|_| CallStatus::Busy)?;
    let start = ticks();
    BEGIN.store(start, Ordering::Relaxed);
    let mut kicked = 0;
    for other in others(me) {
        if other.in_guest.load(Ordering::SeqCst) {
            kick(other);
            kicked += 1;
        }
    }
    for other in others(me) {
        if !wait_for_exit(other, start, deadline) {
            OWNER.store(NOBODY, Ordering::SeqCst);
            return Err(CallStatus::Late);
        }
    }
    Ok(Stopped { kicked, ticks: ticks().wrapping_sub(start) })
}

/// Lets everybody go on.
///
/// # Errors
/// `Refused` when the caller holds no stop.
pub fn resume(me: u32) -> Result<(), CallStatus> {
    if is_held_by(me) {
        processor::all().iter().for_each(|processor| processor.entered.store(0, Ordering::Relaxed));
    }
    OWNER
        .compare_exchange(me, NOBODY, Ordering::SeqCst, Ordering::SeqCst)
        .map(|_| ())
        .map_err(|_| CallStatus::Refused)
}

/// Ticks from the begin of the last stop until the last processor entered the guest again.
pub fn last_ticks() -> u64 {
    let entered =
        processor::all().iter().map(|processor| processor.entered.load(Ordering::Relaxed));
    entered.max().unwrap_or(0).saturating_sub(BEGIN.load(Ordering::Relaxed))
}

/// Sends a processor an NMI that takes it out of the guest, or out of a halt in LUCOS. While one
/// is on its way another is not sent: NMIs that are not taken yet merge.
pub fn kick(processor: &PerProcessor) {
    if !processor.kicked.swap(true, Ordering::SeqCst) {
        apic::send_nmi(processor.apic_id);
    }
}

/// All processors but one.
pub fn others(me: u32) -> impl Iterator<Item = &'static PerProcessor> {
    processor::all().iter().copied().filter(move |processor| processor.number != me)
}

fn wait_for_exit(other: &PerProcessor, start: u64, deadline: u64) -> bool {
    while other.in_guest.load(Ordering::SeqCst) {
        if ticks().wrapping_sub(start) > deadline {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}
