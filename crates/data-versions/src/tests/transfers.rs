//! Budgets and causes.

use lucos_guest_interface::call::{DONE_LAW_BROKEN, DONE_SUCCESS};

use crate::transfer::{BUSY_MAX, Cause, Next, Outcome, Run, Upcall};
use crate::write::Exception;

/// Runs an upcall of so many instructions, with an interrupt before each of these; the number of
/// instructions that it was given, and its end.
fn run(upcall: Upcall, instructions: u64, interrupted: impl Fn(u64) -> bool) -> (u64, Next) {
    let mut run = Run::new(upcall);
    let mut done = 0;
    loop {
        let most = match run.next() {
            Next::Free => u64::MAX,
            Next::Steps(steps) => steps.into(),
            end => return (done, end),
        };
        let mut here = 0;
        let outcome = loop {
            if done >= instructions {
                break Outcome::Done { result: DONE_SUCCESS, detail: 0 };
            }
            if here == most {
                break Outcome::Stepped;
            }
            if interrupted(done) && (here > 0 || most == u64::MAX) {
                break Outcome::Interrupted;
            }
            done += 1;
            here += 1;
        };
        run.advance(outcome);
    }
}

#[test]
fn one_pair_has_twenty_thousand_steps_and_eight_for_each_byte() {
    let one = |bytes| Upcall::One { bytes };
    assert_eq!(run(one(20), 0, |_| false), (0, Next::Finished));
    for (bytes, most) in [(0, 20_000), (20, 20_160), (8_192, 85_536)] {
        assert_eq!(run(one(bytes), most - 1, |_| false), (most - 1, Next::Finished));
        let loops = Next::Contained(Cause::Loops);
        assert_eq!(run(one(bytes), u64::MAX, |_| false), (most, loops));
    }
}

#[test]
fn many_run_freely_until_an_interrupt_and_then_by_steps() {
    let all = |pairs, asked_again| Upcall::All { pairs, bytes: 0, asked_again };
    assert_eq!(run(all(10_000, 0), 9_000_000, |_| false), (9_000_000, Next::Finished));
    // Few go on at once, many are asked to come again, but not for ever.
    let late = |at| at == 1_000;
    assert_eq!(run(all(64, 0), 60_000, late), (60_000, Next::Finished));
    assert_eq!(run(all(65, 0), 60_000, late), (1_000, Next::Busy));
    assert_eq!(run(all(65, BUSY_MAX - 1), 60_000, late), (1_000, Next::Busy));
    assert_eq!(run(all(65, BUSY_MAX), 60_000, late), (60_000, Next::Finished));
    let (done, end) = run(all(64, 0), u64::MAX, late);
    assert_eq!(end, Next::Contained(Cause::Loops));
    assert_eq!(done, 1_000 + 50_000 + 300 * 64);
    let witness = Upcall::Witness { threads: 512, asked_again: 0 };
    assert_eq!(run(witness, 60_000, late), (1_000, Next::Busy));
}

/// The largest pair there is, whose transfers and laws look at every byte.
#[test]
fn large_pairs_have_time_for_their_bytes() {
    const SIDE: u64 = 4_096;
    let work = |pairs: u64| pairs * SIDE * (3 * 16 + 4 + 2 * 4);
    for (pairs, asked_again) in [(1_u32, 0), (1_000, BUSY_MAX)] {
        let all = Upcall::All { pairs, bytes: 2 * SIDE as u32, asked_again };
        let work = work(pairs.into());
        assert!(work > 50_000 + 300 * u64::from(pairs));
        assert_eq!(run(all, work, |done| done == 10), (work, Next::Finished));
        let (done, end) = run(all, u64::MAX, |done| done == 10);
        assert_eq!(end, Next::Contained(Cause::Loops));
        assert_eq!(done, 10 + 50_000 + (300 + 32 * 8_192) * u64::from(pairs));
    }
    // There is an end however many and however large they are said to be.
    let most = Upcall::All { pairs: u32::MAX, bytes: u32::MAX, asked_again: BUSY_MAX };
    assert_eq!(Run::new(most).next(), Next::Free);
}

#[test]
fn interrupts_without_end_end_an_upcall() {
    let mut run = Run::new(Upcall::One { bytes: 0 });
    for _ in 0..20_000 {
        assert!(matches!(run.next(), Next::Steps(1..=1_000)));
        run.advance(Outcome::Interrupted);
    }
    assert_eq!(run.next(), Next::Contained(Cause::Loops));
    run.advance(Outcome::Stepped);
    assert_eq!(run.next(), Next::Contained(Cause::Loops));
}

#[test]
fn every_end_has_its_cause() {
    let fault = |vector, address| Exception { vector, error_code: None, address };
    let causes = [
        (Outcome::Exception(fault(14, 0x10)), Cause::Fault { vector: 14, address: 0x10 }),
        (Outcome::Exception(fault(6, 0)), Cause::Fault { vector: 6, address: 0 }),
        (Outcome::Write { gpa: 0x3008 }, Cause::Writes { gpa: 0x3008 }),
        (Outcome::Device { gpa: 0xfee0_0000 }, Cause::Writes { gpa: 0xfee0_0000 }),
        (Outcome::Exit, Cause::Calls),
        (
            Outcome::Done { result: u64::MAX - 11, detail: 0 },
            Cause::Refused { result: u64::MAX - 11 },
        ),
        (Outcome::Done { result: DONE_LAW_BROKEN, detail: 4 }, Cause::Law { offset: 4 }),
    ];
    let all = Upcall::All { pairs: 1, bytes: 8, asked_again: 0 };
    for upcall in [Upcall::One { bytes: 8 }, all] {
        for (outcome, cause) in causes {
            let mut run = Run::new(upcall);
            run.advance(outcome);
            assert_eq!(run.next(), Next::Contained(cause));
        }
    }
}

#[test]
fn every_cause_is_told_by_its_own_error() {
    use lucos_guest_interface::{ErrorCode, Fault};
    let told = [
        (Cause::Fault { vector: 14, address: 0x10 }, ErrorCode::TransferFault, 0x10),
        (Cause::Fault { vector: 6, address: 0x10 }, ErrorCode::TransferFault, 6),
        (Cause::Loops, ErrorCode::TransferLoops, 0),
        (Cause::Writes { gpa: 0x3008 }, ErrorCode::TransferWrites, 0x3008),
        (Cause::Calls, ErrorCode::TransferCalls, 0),
        (Cause::Refused { result: u64::MAX }, ErrorCode::TransferRefused, u64::MAX),
        (Cause::Law { offset: 4 }, ErrorCode::TransferLaw, 4),
    ];
    for (cause, code, detail) in told {
        assert_eq!(cause.fault(3), Fault::at(code, 3, detail));
    }
}
