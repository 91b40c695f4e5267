//! States and who may change them.

use crate::pairs::Side;
use crate::state::{Code, Phase, Refusal, Request, StateByte, VersionState, pair, transition};

const REQUESTS: [Request; 7] = [
    Request::Apply { clear: false },
    Request::Apply { clear: true },
    Request::Rollback { clear: false },
    Request::Rollback { clear: true },
    Request::Drained(Code::Old),
    Request::Drained(Code::New),
    Request::Withdraw,
];
const STATES: [VersionState; 3] = [VersionState::Old, VersionState::Both, VersionState::New];
const PHASES: [Phase; 4] = [Phase::Applying, Phase::Applied, Phase::RollingBack, Phase::RolledBack];

/// What the patch's phase is before a request, and behind it.
fn phases(request: Request) -> (Phase, Phase) {
    match request {
        Request::Apply { .. } => (Phase::Applying, Phase::Applied),
        Request::Rollback { .. } | Request::Withdraw => (Phase::Applied, Phase::RolledBack),
        Request::Drained(Code::Old) => (Phase::Applied, Phase::Applied),
        Request::Drained(Code::New) => (Phase::RolledBack, Phase::RolledBack),
    }
}

#[test]
fn the_patchs_byte_changes_all_its_versions_at_once() {
    for request in REQUESTS {
        for state in STATES {
            let (before, after) = phases(request);
            let Ok(Some(step)) = transition(request, before, state) else { continue };
            assert_eq!(step.byte.state(after), step.state, "{request:?} {state:?}");
            if before != after {
                // Until then nothing has changed.
                assert_eq!(step.byte.state(before), state, "{request:?} {state:?}");
            }
            if before == Phase::Applied && after != before {
                assert_eq!(step.byte.state(Phase::RollingBack), step.state);
                assert_eq!(step.byte.copies_back(), step.transfer == Some(Side::Twin));
            }
            assert_eq!(step.guarded, step.state == VersionState::Both);
            let settled = StateByte::settled(step.state);
            assert!(PHASES.iter().all(|&phase| settled.state(phase) == step.state));
        }
    }
}

/// The table of docs/live-update.md, line by line.
#[test]
fn only_these_transitions_are_made() {
    use VersionState::{Both, New, Old};
    let made = |request, phase, state| {
        let step = transition(request, phase, state).unwrap()?;
        Some((step.transfer, step.state))
    };
    let [apply, apply_clear, rollback, rollback_clear, old_drained, new_drained, withdraw] =
        REQUESTS;
    let from_object = Some(Side::Object);
    let from_twin = Some(Side::Twin);
    assert_eq!(made(apply, Phase::Applying, Old), Some((from_object, Both)));
    assert_eq!(made(apply_clear, Phase::Applying, Old), Some((from_object, New)));
    assert_eq!(made(rollback, Phase::Applied, New), Some((from_twin, Both)));
    assert_eq!(made(rollback_clear, Phase::Applied, New), Some((from_twin, Old)));
    assert_eq!(made(rollback, Phase::Applied, Both), None);
    assert_eq!(made(rollback_clear, Phase::Applied, Both), Some((None, Old)));
    assert_eq!(made(old_drained, Phase::Applied, Both), Some((None, New)));
    assert_eq!(made(old_drained, Phase::Applied, New), None);
    assert_eq!(made(new_drained, Phase::RolledBack, Both), Some((None, Old)));
    assert_eq!(made(new_drained, Phase::RolledBack, Old), None);
    assert_eq!(made(withdraw, Phase::Applied, Both), Some((None, Old)));
    assert_eq!(made(withdraw, Phase::Applied, New), Some((from_twin, Both)));
    let all = REQUESTS.iter().flat_map(|&request| {
        PHASES
            .iter()
            .flat_map(move |&phase| STATES.iter().map(move |&state| (request, phase, state)))
    });
    let allowed = all.filter(|&(request, phase, state)| transition(request, phase, state).is_ok());
    assert_eq!(allowed.count(), 12);
    assert_eq!(transition(rollback, Phase::RolledBack, Both), Err(Refusal::NotApplied));
    assert_eq!(transition(old_drained, Phase::RolledBack, Both), Err(Refusal::NotApplied));
    assert_eq!(transition(new_drained, Phase::Applied, Both), Err(Refusal::Applied));
    assert_eq!(transition(apply, Phase::Applied, New), Err(Refusal::Applied));
}

#[test]
fn state_bytes_come_back() {
    for (number, byte) in StateByte::ALL.into_iter().enumerate() {
        assert_eq!(byte as usize, number);
        assert_eq!(StateByte::from_byte(number as u8), Some(byte));
    }
    assert_eq!(StateByte::from_byte(8), None);
}

#[test]
fn a_pair_is_carried_only_while_both_sides_live() {
    assert_eq!(pair(VersionState::Both), Ok(()));
    assert_eq!(pair(VersionState::New), Err(Refusal::Settled));
    assert_eq!(pair(VersionState::Old), Err(Refusal::NotApplied));
}
