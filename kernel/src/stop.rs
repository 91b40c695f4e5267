//! Stopping the guest on all other processors.
//!
//! A processor whose vCPU is not in the guest counts as stopped: it cannot enter while the stop
//! lasts. The order that makes this safe: a processor first says that it is in the guest, then
//! looks whether a stop is on; the stopper first says that a stop is on, then looks who is in the
//! guest. Whatever the interleaving, one of them sees the other.
//!
//! A stop belongs to a processor, not to the thread that asked for it: when that thread is ended in
//! the middle of its work, the others stand still until a new one has put things in order and
//! resumes. Nobody else can, so the stop also ends when its processor goes on with the guest.

use crate::arch::nmi::kick_while;
use crate::arch::processor;
use crate::arch::time::{Timer, ticks};
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

/// Stops all others, within `deadline` ticks. A processor that holds the stop already keeps it.
///
/// # Errors
/// `Busy` when another holds a stop, `Late` when a processor did not leave the guest in time; then
/// everything runs on.
pub fn stop(me: u32, deadline: u64) -> Result<Stopped, CallStatus> {
    if is_held_by(me) {
        return Ok(Stopped { kicked: 0, ticks: 0 });
    }
    OWNER
        .compare_exchange(NOBODY, me, Ordering::SeqCst, Ordering::SeqCst)
        .map_err(|_| CallStatus::Busy)?;
    let timer = Timer::start();
    BEGIN.store(ticks(), Ordering::Relaxed);
    match kick_while(me, deadline, |other| other.in_guest.load(Ordering::SeqCst)) {
        Some(kicked) => Ok(Stopped { kicked, ticks: timer.passed() }),
        None => {
            OWNER.store(NOBODY, Ordering::SeqCst);
            Err(CallStatus::Late)
        }
    }
}

/// Lets everybody go on.
///
/// # Errors
/// `WrongState` when the caller holds no stop.
pub fn resume(me: u32) -> Result<(), CallStatus> {
    if !is_held_by(me) {
        return Err(CallStatus::WrongState);
    }
    processor::all().iter().for_each(|processor| processor.entered.store(0, Ordering::Relaxed));
    OWNER.store(NOBODY, Ordering::SeqCst);
    Ok(())
}

/// Ticks from the begin of the last stop until the last processor entered the guest again; 0 when
/// there was none.
pub fn last_ticks() -> u64 {
    let begin = BEGIN.load(Ordering::Relaxed);
    if begin == 0 {
        return 0;
    }
    let entered =
        processor::all().iter().map(|processor| processor.entered.load(Ordering::Relaxed));
    entered.max().unwrap_or(0).saturating_sub(begin)
}
