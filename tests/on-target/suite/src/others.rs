//! A task is restarted while other processors are in it.
//!
//! The other processors call the first assist all the time. Whatever happens to it, each of their
//! calls ends with an answer or with the status `Restarted`, and they go on.

use crate::suite::{ASSIST, Suite};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lucos_abi::call::CallStatus;
use lucos_runtime::CallError;
use lucos_test_protocol::{Counted, Crime, Request};

/// The other processors may begin: the tests before want the assists for themselves.
static BEGIN: AtomicBool = AtomicBool::new(false);
static ANSWERED: AtomicU64 = AtomicU64::new(0);
static RESTARTED: AtomicU64 = AtomicU64::new(0);
static OTHERWISE: AtomicU64 = AtomicU64::new(0);

/// Rounds of a call's loop: long enough that a restart often meets a processor inside.
const ROUNDS: u32 = 200_000;
/// Rounds with the assist's lock held: so few that a restart often meets a processor on its way in,
/// which then waits for a lock that nobody will release.
const LOCKED_ROUNDS: u32 = 100;
/// Calls with the lock between two without.
const LOCKED_CALLS: u32 = 50;
/// Every second one happens with the lock held.
const RESTARTS: u32 = 300;

/// What every processor but the first does, for ever.
pub fn work(suite: &mut Suite) -> ! {
    while !BEGIN.load(Ordering::SeqCst) {
        core::hint::spin_loop();
    }
    let mut call = 0_u32;
    loop {
        call = call.wrapping_add(1);
        let request = match call % LOCKED_CALLS {
            0 => Request::Work(ROUNDS),
            _ => Request::LockedWork(LOCKED_ROUNDS),
        };
        let result: Result<Counted, CallError> = suite.thread.call(ASSIST, &request);
        let counter = match result {
            Ok(_) => &ANSWERED,
            Err(CallError::Status(CallStatus::Restarted)) => &RESTARTED,
            Err(_) => &OTHERWISE,
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// Restarts the assist again and again.
pub fn run(suite: &mut Suite) {
    if lucos_runtime::system_info().apic_ids.len() < 2 {
        return;
    }
    BEGIN.store(true, Ordering::SeqCst);
    let mut own = 0;
    for restart in 0..RESTARTS {
        let crime = if restart % 2 == 0 { Crime::Panic } else { Crime::LockedPanic };
        let result: Result<Counted, CallError> = suite.thread.call(ASSIST, &Request::Commit(crime));
        // The call of another processor may have started the task anew in between; it is ended
        // for the same reason all the same.
        own += u32::from(result == Err(CallError::Status(CallStatus::Restarted)));
    }
    suite.check("restart_among_others", own, RESTARTS);
    let before = ANSWERED.load(Ordering::SeqCst);
    while ANSWERED.load(Ordering::SeqCst) < before + 10 {
        core::hint::spin_loop();
    }
    let met = RESTARTED.load(Ordering::SeqCst) > 0;
    suite.check("restart_meets_others", met, true);
    let otherwise = OTHERWISE.load(Ordering::SeqCst);
    suite.check("restart_no_other_status", otherwise, 0);
}
