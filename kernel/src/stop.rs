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

use crate::arch::kick::{kick, kick_while};
use crate::arch::processor::{self, PerProcessor};
use crate::arch::time::{A_SECOND, Timer};
use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::call::CallStatus;

const NOBODY: u32 = u32::MAX;

/// Number of the processor that holds the stop.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);

/// The processor must not enter the guest now.
pub fn holds(number: u32) -> bool {
    let owner = OWNER.load(Ordering::SeqCst);
    owner != NOBODY && owner != number
}

/// Waits a little for the end of a stop. An owner that is in the guest, on a detour that perhaps never
/// ends, is taken out of it once a second.
pub fn wait(since: &mut Timer) {
    if since.passed() > A_SECOND {
        *since = Timer::start();
        let owner = processor::get(OWNER.load(Ordering::SeqCst));
        owner.filter(|owner| owner.is_in_guest()).into_iter().for_each(kick);
    }
    core::hint::spin_loop();
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
pub fn stop(me: u32, deadline: u64) -> Result<(), CallStatus> {
    if is_held_by(me) {
        return Ok(());
    }
    OWNER
        .compare_exchange(NOBODY, me, Ordering::SeqCst, Ordering::SeqCst)
        .map_err(|_| CallStatus::Busy)?;
    let all = kick_while(me, deadline, PerProcessor::is_in_guest);
    all.ok_or_else(|| {
        OWNER.store(NOBODY, Ordering::SeqCst);
        CallStatus::Late
    })
}

/// Lets everybody go on.
///
/// # Errors
/// `WrongState` when the caller holds no stop.
pub fn resume(me: u32) -> Result<(), CallStatus> {
    if !is_held_by(me) {
        return Err(CallStatus::WrongState);
    }
    OWNER.store(NOBODY, Ordering::SeqCst);
    Ok(())
}
