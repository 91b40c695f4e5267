//! What an update consists of.

pub mod value;

use alloc::vec::Vec;

use lucos_data_versions::VersionState;
use lucos_data_versions::state::Phase;
use lucos_guest_interface::status::WindowReason;
use serde::{Deserialize, Serialize};

use crate::version::{Version, VersionPlan};
use value::{Value, ValuePlan};

/// Most bytes that a redirection displaces.
pub const CODE_MAX: usize = 19;
/// Most functions of an update.
pub const FUNCTIONS_MAX: usize = 64;
/// Most updates that another one can depend on.
pub const DEPENDENCIES_MAX: usize = 16;

/// A few bytes of code.
pub type Code = heapless::Vec<u8, CODE_MAX>;
/// The name of an update or a function.
pub type Name = heapless::String<63>;

/// An update that is to be applied. Everything that can be checked without stopping the guest was
/// checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan<'a> {
    /// Name of the patch.
    pub name: &'a str,
    /// Names of the patches that must be applied before.
    pub dependencies: &'a [&'a str],
    /// The functions, at most [`FUNCTIONS_MAX`].
    pub functions: &'a [FunctionPlan],
    /// The versions of its data, at most [`VERSIONS_MAX`](crate::version::VERSIONS_MAX).
    pub versions: &'a [VersionPlan],
    /// The update is only put in force when nobody is inside old code; nothing is guarded then.
    pub clear_only: bool,
    /// The values, at most [`value::VALUES_MAX`].
    pub values: &'a [ValuePlan],
}

/// A function that is to be redirected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionPlan {
    /// Its name.
    pub name: Name,
    /// Address of the old function.
    pub old_start: u64,
    /// Its size in bytes.
    pub old_size: u32,
    /// Address of the first byte that is replaced.
    pub site: u64,
    /// Address of the new function.
    pub new_entry: u64,
    /// The bytes at the site when it was checked: as many as the jump displaces (5 to
    /// [`CODE_MAX`]), fewer when there is no room for one, at least one.
    pub found: Code,
    /// The jump to the new function, as long as `found`; empty when the function keeps its trap.
    pub jump: Code,
    /// Why it keeps its trap, a [`WindowReason`] number.
    pub reason: u32,
    /// Number of the patch whose redirection is replaced, 0 for none. Filled in when the update is
    /// applied.
    pub below: u32,
}

impl FunctionPlan {
    /// Why the function keeps its trap.
    pub fn reason(&self) -> WindowReason {
        WindowReason::from_number(self.reason).unwrap_or(WindowReason::Unknown)
    }

    /// Whether the plan can be carried out at all.
    pub(crate) fn is_sound(&self) -> bool {
        !self.found.is_empty() && (self.jump.is_empty() || self.jump.len() == self.found.len())
    }

    /// The bytes at the site while the trap stands there.
    pub(crate) fn trapped(&self, trap: u8) -> Code {
        let mut code = self.found.clone();
        if let Some(first) = code.first_mut() {
            *first = trap;
        }
        code
    }

    /// Address behind the old function and behind what a jump displaces, which may be more.
    pub(crate) fn code_end(&self) -> u64 {
        self.old_end().max(self.site.saturating_add(self.found.len() as u64))
    }

    pub(crate) const fn old_end(&self) -> u64 {
        self.old_start.saturating_add(self.old_size as u64)
    }
}

/// What is true of an update in the journal. The number is what the journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PatchState {
    /// The place holds no update.
    Free = 0,
    /// Values and traps are being written: after a crash they are taken back.
    Applying = 1,
    /// In force.
    Applied = 2,
    /// Values and redirections are being taken back: after a crash that is completed.
    RollingBack = 3,
    /// The old functions are in force again.
    RolledBack = 4,
}

impl PatchState {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Free, Self::Applying, Self::Applied, Self::RollingBack, Self::RolledBack]
            .into_iter()
            .find(|state| *state as u8 == byte)
    }

    /// What it says of the patch's data; `None` when there is no patch.
    pub(crate) const fn phase(self) -> Option<Phase> {
        match self {
            Self::Free => None,
            Self::Applying => Some(Phase::Applying),
            Self::Applied => Some(Phase::Applied),
            Self::RollingBack => Some(Phase::RollingBack),
            Self::RolledBack => Some(Phase::RolledBack),
        }
    }
}

/// What stands at a site, as far as this update is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SiteState {
    /// Nothing of this update.
    Original = 0,
    /// The trap.
    Trap = 1,
    /// The jump is being written: after a crash the trap is put back, or the jump is complete.
    Jumping = 2,
    /// The jump.
    Jump = 3,
}

impl SiteState {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Original, Self::Trap, Self::Jumping, Self::Jump]
            .into_iter()
            .find(|state| *state as u8 == byte)
    }
}

/// A function of an update that the journal knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its place in the journal.
    pub slot: usize,
    /// What was planned.
    pub plan: FunctionPlan,
    /// What stands at its site.
    pub state: SiteState,
}

/// Lengths of stops, in time-stamp ticks, and the order of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Times {
    /// The stop in which the update was applied.
    pub apply: u64,
    /// The longest stop in which jumps were written.
    pub jump: u64,
    /// The stop in which the update was rolled back.
    pub rollback: u64,
    /// Grows with every update that is applied or rolled back.
    pub sequence: u64,
}

/// An update that the journal knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Patch {
    /// Its place in the journal.
    pub slot: usize,
    /// Its number, from 1, never used twice during one boot of the guest.
    pub number: u32,
    /// Its name.
    pub name: Name,
    /// Numbers of the updates that it depends on.
    pub dependencies: heapless::Vec<u32, DEPENDENCIES_MAX>,
    /// What is true of it.
    pub state: PatchState,
    /// Its functions.
    pub functions: Vec<Function>,
    /// The versions of its data.
    pub versions: Vec<Version>,
    /// Its values.
    pub values: Vec<Value>,
    /// When it happened and how long it took.
    pub times: Times,
}

impl Patch {
    /// Whether its redirections and values are in the guest's memory, or may be.
    pub fn is_in_memory(&self) -> bool {
        !matches!(self.state, PatchState::Free | PatchState::RolledBack)
    }

    /// Whether both sides of some of its data live: it cannot be forgotten, and nothing else may
    /// touch that data.
    pub fn is_settling(&self) -> bool {
        self.versions.iter().any(|version| version.state(self.state) == VersionState::Both)
    }
}
