//! In which version the data of a patch is, and who may change that.
//!
//! Data first becomes coherent, then code switches, then data becomes one-sided; back in the same way.
//! So code of a patch changes only while all its versions are [`VersionState::Both`], and no code ever
//! meets data that is not its own.

use crate::pairs::Side;

/// What is true of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionState {
    /// Only the objects live. Twins may be freed.
    Old,
    /// Each write to one side is carried to the other.
    Both,
    /// Only the twins live.
    New,
}

/// What is true of the code of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It is being applied: after a crash, taken back.
    Applying,
    /// In force.
    Applied,
    /// It is being taken back: after a crash, to the end.
    RollingBack,
    /// Not in force.
    RolledBack,
}

/// A version's byte in the journal. The patch's own byte decides what it means: so one byte changes
/// code and all data of a patch at once. The number is what the journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StateByte {
    /// [`VersionState::Old`].
    Old = 0,
    /// [`VersionState::Both`].
    Both = 1,
    /// [`VersionState::New`].
    New = 2,
    /// `Old` until the patch is applied, then `Both`.
    ArrivingBoth = 3,
    /// `Old` until the patch is applied, then `New`.
    ArrivingNew = 4,
    /// `New` until it is being rolled back, then `Both`.
    LeavingBoth = 5,
    /// `New` until it is being rolled back, then `Old`.
    LeavingOld = 6,
    /// `Both` until it is being rolled back, then `Old`.
    SettledOld = 7,
}

impl StateByte {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Old,
        Self::Both,
        Self::New,
        Self::ArrivingBoth,
        Self::ArrivingNew,
        Self::LeavingBoth,
        Self::LeavingOld,
        Self::SettledOld,
    ];

    /// What the journal's byte says.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == byte)
    }

    /// What it stands for while the patch is in `phase`.
    #[must_use]
    pub const fn state(self, phase: Phase) -> VersionState {
        let on_its_way = matches!(phase, Phase::RollingBack | Phase::RolledBack);
        match self {
            Self::Old => VersionState::Old,
            Self::Both => VersionState::Both,
            Self::New => VersionState::New,
            Self::ArrivingBoth | Self::ArrivingNew if matches!(phase, Phase::Applying) => {
                VersionState::Old
            }
            Self::ArrivingBoth => VersionState::Both,
            Self::ArrivingNew => VersionState::New,
            Self::LeavingBoth if on_its_way => VersionState::Both,
            Self::LeavingOld | Self::SettledOld if on_its_way => VersionState::Old,
            Self::LeavingBoth | Self::LeavingOld => VersionState::New,
            Self::SettledOld => VersionState::Both,
        }
    }

    /// The byte that stands for a state in every phase.
    #[must_use]
    pub const fn settled(state: VersionState) -> Self {
        match state {
            VersionState::Old => Self::Old,
            VersionState::Both => Self::Both,
            VersionState::New => Self::New,
        }
    }

    /// Whether a rollback that is under way writes the objects, so that it has to be repeated after a
    /// crash.
    #[must_use]
    pub const fn copies_back(self) -> bool {
        matches!(self, Self::LeavingBoth | Self::LeavingOld)
    }
}

/// Code of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// What the patch replaces.
    Old,
    /// The patch's own.
    New,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// APPLY.
    Apply {
        /// Nobody is inside old code.
        clear: bool,
    },
    /// ROLLBACK.
    Rollback {
        /// Nobody is inside new code.
        clear: bool,
    },
    /// WITHDRAW, or a pair was torn: whoever is inside, at once, without waiting for anybody.
    Withdraw,
    /// DRAINED: nobody is inside this code any more.
    Drained(Code),
}

/// What a request does to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The side from which the other is made, with what is written then kept apart until all of it is
    /// there; `None` when both are there.
    pub transfer: Option<Side>,
    /// Whether its pages are guarded when the guest runs on.
    pub guarded: bool,
    /// The byte that is written before the patch's own.
    pub byte: StateByte,
    /// What is true in the end.
    pub state: VersionState,
}

/// Why a request is not for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its patch is in force.
    Applied,
    /// Its patch is not in force.
    NotApplied,
    /// Its data is one-sided already.
    Settled,
}

/// What `request` does to a version in `state`, of a patch in `phase`; `None` when there is nothing to
/// be done, since it was done before.
///
/// # Errors
/// [`Refusal`]
pub fn transition(
    request: Request,
    phase: Phase,
    state: VersionState,
) -> Result<Option<Transition>, Refusal> {
    let to = |transfer, byte, state| {
        let guarded = state == VersionState::Both;
        Ok(Some(Transition { transfer, guarded, byte, state }))
    };
    match (request, phase, state) {
        (Request::Apply { clear: false }, Phase::Applying, VersionState::Old) => {
            to(Some(Side::Object), StateByte::ArrivingBoth, VersionState::Both)
        }
        (Request::Apply { clear: true }, Phase::Applying, VersionState::Old) => {
            to(Some(Side::Object), StateByte::ArrivingNew, VersionState::New)
        }
        (
            Request::Rollback { clear: false } | Request::Withdraw,
            Phase::Applied,
            VersionState::New,
        ) => to(Some(Side::Twin), StateByte::LeavingBoth, VersionState::Both),
        (Request::Rollback { clear: true }, Phase::Applied, VersionState::New) => {
            to(Some(Side::Twin), StateByte::LeavingOld, VersionState::Old)
        }
        (Request::Rollback { clear: false }, Phase::Applied, VersionState::Both) => Ok(None),
        // Of a version that is withdrawn while both sides live nobody knows whether they are alike: the
        // objects are what counts, and who is still inside new code goes on with twins of his own.
        (
            Request::Rollback { clear: true } | Request::Withdraw,
            Phase::Applied,
            VersionState::Both,
        ) => to(None, StateByte::SettledOld, VersionState::Old),
        (Request::Drained(Code::Old), Phase::Applied, VersionState::Both) => {
            to(None, StateByte::New, VersionState::New)
        }
        (Request::Drained(Code::New), Phase::RolledBack, VersionState::Both) => {
            to(None, StateByte::Old, VersionState::Old)
        }
        (Request::Drained(Code::Old), Phase::Applied, VersionState::New)
        | (Request::Drained(Code::New), Phase::RolledBack, VersionState::Old) => Ok(None),
        (Request::Apply { .. } | Request::Drained(Code::New), ..) => Err(Refusal::Applied),
        (Request::Rollback { .. } | Request::Withdraw | Request::Drained(Code::Old), ..) => {
            Err(Refusal::NotApplied)
        }
    }
}

/// Whether a pair that is made or freed now is LUCOS's business: that of a version of which both sides
/// live.
///
/// # Errors
/// [`Refusal::Settled`]: only the twins live, so whoever makes one fills it.
/// [`Refusal::NotApplied`]: only the objects do.
pub const fn pair(state: VersionState) -> Result<(), Refusal> {
    match state {
        VersionState::Both => Ok(()),
        VersionState::New => Err(Refusal::Settled),
        VersionState::Old => Err(Refusal::NotApplied),
    }
}
