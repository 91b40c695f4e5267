//! The end of the task `memory` at every point of an update with data, several times one after the other.

use super::data::{NOTHING, OBJECTS, apply, assert_coherent, guarded, system, trapped};
use super::guest::System;
use lucos_guest_interface::descriptor::FLAG_CLEAR_ONLY;

/// Behind so many requests an update is done.
const REQUESTS: u32 = 200;

/// What the guest's kernel runs and reads: its text, and the objects. The rest is lent.
fn memory(system: &System) -> [Vec<u8>; 2] {
    [system.guest.text(), system.guest.peek(OBJECTS, 40)]
}

/// The guest uses the pages of lists and stage for something else as soon as it has an answer that its
/// update failed: then none of them may be taken for LUCOS's any more.
#[test]
fn an_update_that_fails_keeps_no_page() {
    let mut refused = 0;
    for flags in [0, FLAG_CLEAR_ONLY] {
        for before in 0..REQUESTS {
            for times in 1..4 {
                let mut system = system();
                let was = memory(&system);
                system.guest.endings = (before, times);
                let answer = apply(&mut system, flags);
                let place = format!("{flags:#x}: {times} behind {before}: {answer:?}");
                system.guest.endings = (0, 0);
                if answer.is_ok() {
                    assert!(trapped(&system), "{place}");
                    assert_coherent(&system);
                    continue;
                }
                refused += 1;
                assert_eq!(guarded(&system), NOTHING, "{place}");
                assert!(memory(&system) == was, "{place}");
                // And it can be asked for again.
                apply(&mut system, flags).unwrap();
                assert_coherent(&system);
            }
        }
    }
    assert!(refused > 0);
}
