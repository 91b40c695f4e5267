//! The data of an update: what it consists of, and what is true of it.

use lucos_data_versions::{Shape, SharedField, StateByte, VersionState};
use serde::{Deserialize, Serialize};

use crate::patch::{Name, PatchState};

/// Most versions of an update.
pub const VERSIONS_MAX: usize = 32;
/// Most shared fields of a version.
pub const SHARED_MAX: usize = 8;
/// Most bytes of an object or a twin.
pub const INSTANCE_MAX: u32 = 4096;

/// A version of an update that is to be applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionPlan {
    /// What does not change while the patch is known.
    pub kind: Kind,
    /// Its pairs, and where they are transferred.
    pub lists: Lists,
}

/// What all pairs of a version have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// Its name.
    pub name: Name,
    /// Bytes of an object, 1 to [`INSTANCE_MAX`].
    pub object_size: u32,
    /// Bytes of a twin, the same.
    pub twin_size: u32,
    /// Address of the function that makes the twin of the object.
    pub to_new: u64,
    /// Address of the function that makes the object of the twin.
    pub to_old: u64,
    /// The descriptor's flags of the version.
    pub flags: u32,
    /// Fields that are not carried.
    pub shared: heapless::Vec<SharedField, SHARED_MAX>,
}

/// Memory of the update manager, sealed while it is in use: guest-virtual addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lists {
    /// The pairs sorted by object.
    pub by_object: u64,
    /// The same sorted by twin.
    pub by_twin: u64,
    /// How many.
    pub pairs: u32,
    /// The pages of all objects and twins.
    pub pages: u64,
    /// How many.
    pub page_count: u32,
    /// The stage: a place for each pair, in the order of the objects. A place holds a target twice:
    /// what it was, and what it becomes.
    pub stage: u64,
    /// Bytes from one place of the stage to the next.
    pub stage_step: u32,
}

/// Half of a place of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// What the target was.
    Before,
    /// What it becomes.
    After,
}

/// A version of an update that the journal knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Its place in the journal.
    pub slot: usize,
    /// What was planned. The lists are those of the last transaction that moved data.
    pub plan: VersionPlan,
    /// Its byte in the journal.
    pub byte: StateByte,
}

impl Version {
    /// In which version the data is, of a patch in this state.
    #[must_use]
    pub fn state(&self, patch: PatchState) -> VersionState {
        patch.phase().map_or(VersionState::Old, |phase| self.byte.state(phase))
    }
}

impl VersionPlan {
    /// Whether the plan can be carried out at all.
    pub(crate) const fn is_sound(&self) -> bool {
        let Kind { object_size, twin_size, .. } = self.kind;
        is_size(object_size) && is_size(twin_size)
    }

    /// The bytes of a pair, those of both sides.
    #[must_use]
    pub const fn pair_size(&self) -> u32 {
        self.kind.object_size.saturating_add(self.kind.twin_size)
    }

    /// The shape of its pairs.
    #[must_use]
    pub fn shape(&self) -> Shape<'_> {
        let Kind { object_size, twin_size, shared, .. } = &self.kind;
        Shape { object: *object_size, twin: *twin_size, shared }
    }
}

const fn is_size(size: u32) -> bool {
    size > 0 && size <= INSTANCE_MAX
}
