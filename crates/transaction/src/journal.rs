//! What LUCOS remembers of updates, in pages that survive a restart of the task.
//!
//! | part | bytes | holds |
//! |---|---|---|
//! | [`Head`] | 2 × 256 | two copies; the valid one with the higher version counts |
//! | patches | up to 64 × 256 | state byte, record, times |
//! | versions | up to 64 × 384 | state byte, record, two copies of the lists |
//! | values | up to 128 × 160 | state byte, record |
//! | functions | the rest, 160 each | state byte, record |
//!
//! A record is its length, a checksum and postcard. The state of a patch, a version, a value or a
//! function is one byte beside its record, so that it changes in one step: a task that ends in the
//! middle of anything else leaves a record whose checksum is wrong, and its state byte still says that
//! it is not in use. All zero bytes are an empty journal.
//!
//! Several updates in one step are committed by one write of the head, which names them.

mod record;
mod versions;

use alloc::vec::Vec;

use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{Fault, Part};
use serde::{Deserialize, Serialize};

use crate::patch::value::{VALUES_MAX, Value, ValuePlan, ValueState};
use crate::patch::{
    DEPENDENCIES_MAX, FUNCTIONS_MAX, Function, FunctionPlan, Name, Patch, PatchState, SiteState,
    Times,
};
use record::{read_record, write_record};
use versions::{VERSION_SIZE, VERSIONS_MAX};

/// The retained pages.
pub trait Store {
    /// Their length in bytes.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes from `offset` on.
    ///
    /// # Errors
    /// [`StoreError`], and `bytes` holds anything.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError>;

    /// Writes bytes from `offset` on. They are retained when this returns; when the task ends in
    /// the middle, some of the first are.
    ///
    /// # Errors
    /// [`StoreError`], and nothing is written.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError>;
}

/// The range is not inside the retained pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreError;

/// Why there is no journal in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The store is smaller than [`STORE_MIN`].
    TooSmall,
    /// The store cannot be read.
    Unreadable,
    /// A patch that may be in force cannot be read: it is not what this version writes.
    Damaged {
        /// Its place.
        slot: usize,
    },
}

/// Least bytes of a store.
pub const STORE_MIN: usize = 32 * 1024;

/// Most updates of one step.
pub const GROUP_MAX: usize = lucos_guest_interface::group::MAX_GROUP;

const HEAD_SIZE: usize = 256;
const PATCH_SIZE: usize = 256;
const PATCH_TIMES: usize = 200;
const PATCHES_MAX: usize = 64;
const VALUE_SIZE: usize = 160;
const ALL_VALUES_MAX: usize = 128;
const FUNCTION_SIZE: usize = 160;
const RECORD: usize = 1;

/// A kernel that registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Registration {
    /// What the manager proves itself with.
    pub nonce: u64,
    /// The page-table root of the processor that registered.
    pub root: u64,
    /// Five levels of page tables.
    pub five_levels: bool,
    /// Same during one boot of the guest kernel, different for two.
    pub boot_identity: [u8; 16],
    /// The kernel's build id, empty when it has none.
    pub build_id: heapless::Vec<u8, 20>,
    /// Start and end of the kernel's text.
    pub text: (u64, u64),
    /// Start and end of the area of modules.
    pub modules: (u64, u64),
    /// How LUCOS calls the manager; `None` when it takes no upcalls.
    pub upcalls: Option<Upcalls>,
}

/// Where LUCOS calls the manager: guest-virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Upcalls {
    /// Where they begin.
    pub entry: u64,
    /// Their pages, [`UPCALL_PAGES`](lucos_guest_interface::registration::UPCALL_PAGES) for each
    /// processor.
    pub pages: u64,
    /// Number of processors that have some.
    pub processors: u32,
}

/// How much of a registration is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Presence {
    /// Nobody ever registered.
    #[default]
    Nobody,
    /// A manager is there.
    Manager,
    /// The manager was unloaded; the kernel runs on.
    Kernel,
    /// The kernel said that it goes down. What it patched is not shown any more, but redirected
    /// until another kernel registers: it still runs some of its code.
    GoingDown,
}

/// What there is once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Grows with every write.
    pub(crate) version: u64,
    /// Who is there.
    pub presence: Presence,
    /// Who registered last.
    pub registration: Registration,
    /// Number of the last patch.
    pub last_number: u32,
    /// The last sequence number.
    pub last_sequence: u64,
    /// Numbers of the first and the last update of the last step that put several in force at once.
    /// They are in force, whatever their own state bytes say of being applied.
    pub committed: (u32, u32),
    /// The updates of a step that takes several out of force. They are, once it has begun.
    pub leaving: heapless::Vec<u32, GROUP_MAX>,
}

impl Head {
    /// What is true of a patch of the journal: its own byte, or what one write said of several.
    fn state_of(&self, patch: &Patch) -> PatchState {
        let (first, last) = self.committed;
        let is_committed = (first..=last).contains(&patch.number);
        match patch.state {
            PatchState::Applying if is_committed => PatchState::Applied,
            PatchState::Applied if self.leaving.contains(&patch.number) => PatchState::RollingBack,
            state => state,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct PatchRecord {
    number: u32,
    name: Name,
    first_function: u32,
    functions: u32,
    first_value: u32,
    values: u32,
    dependencies: heapless::Vec<u32, DEPENDENCIES_MAX>,
    first_version: u32,
    versions: u32,
}

/// The journal in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Journal<S> {
    store: S,
    patches: usize,
    versions: usize,
    values: usize,
    functions: usize,
}

impl<S: Store> Journal<S> {
    /// The journal in `store`, with everything that it holds.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open(store: S) -> Result<(Self, Head, Vec<Patch>), JournalError> {
        let length = store.len();
        if length < STORE_MIN {
            return Err(JournalError::TooSmall);
        }
        let patches = (length / 2 / PATCH_SIZE).min(PATCHES_MAX);
        let versions = (length / 8 / VERSION_SIZE).min(VERSIONS_MAX);
        let values = (length / 8 / VALUE_SIZE).min(ALL_VALUES_MAX);
        let data = versions * VERSION_SIZE + values * VALUE_SIZE;
        let functions = (length - 2 * HEAD_SIZE - patches * PATCH_SIZE - data) / FUNCTION_SIZE;
        let journal = Self { store, patches, versions, values, functions };
        let head = journal.read_head();
        let mut found = Vec::new();
        for slot in 0..journal.patches {
            found.extend(journal.read_patch(slot)?);
        }
        found.sort_by_key(|patch| patch.number);
        for patch in &mut found {
            patch.state = head.state_of(patch);
        }
        Ok((journal, head, found))
    }

    /// The store.
    pub(crate) fn into_store(self) -> S {
        self.store
    }

    /// Number of patches that fit.
    pub const fn capacity(&self) -> usize {
        self.patches
    }

    /// Number of functions that fit.
    pub const fn function_capacity(&self) -> usize {
        self.functions
    }

    fn read_head(&self) -> Head {
        let copies = [0, HEAD_SIZE].map(|offset| read_record(&self.store, offset, HEAD_SIZE));
        let newest = copies.into_iter().flatten().max_by_key(|head: &Head| head.version);
        newest.unwrap_or_default()
    }

    /// Replaces the head. The copy that counts until now stays as it is.
    pub(crate) fn write_head(&mut self, head: &mut Head) -> Result<(), Fault> {
        head.version += 1;
        let offset = if head.version.is_multiple_of(2) { 0 } else { HEAD_SIZE };
        write_record(&mut self.store, offset, HEAD_SIZE, head).map_err(internal)
    }

    fn patch_offset(&self, slot: usize) -> usize {
        2 * HEAD_SIZE + slot * PATCH_SIZE
    }

    const fn versions_start(&self) -> usize {
        2 * HEAD_SIZE + self.patches * PATCH_SIZE
    }

    fn value_offset(&self, slot: usize) -> usize {
        self.versions_start() + self.versions * VERSION_SIZE + slot * VALUE_SIZE
    }

    fn function_offset(&self, slot: usize) -> usize {
        self.value_offset(self.values) + slot * FUNCTION_SIZE
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        let mut byte = [0];
        self.store.read(offset, &mut byte).ok()?;
        let [byte] = byte;
        Some(byte)
    }

    fn read_patch(&self, slot: usize) -> Result<Option<Patch>, JournalError> {
        let offset = self.patch_offset(slot);
        let byte = self.byte(offset).ok_or(JournalError::Unreadable)?;
        let damaged = JournalError::Damaged { slot };
        let state = PatchState::from_byte(byte).ok_or(damaged)?;
        if state == PatchState::Free {
            return Ok(None);
        }
        let record: PatchRecord =
            read_record(&self.store, offset + RECORD, PATCH_TIMES - RECORD).ok_or(damaged)?;
        let places = |first: u32, count: u32, most: usize, room: usize| {
            let (first, count) = (first as usize, count as usize);
            let end = first.checked_add(count).filter(|&end| end <= room && count <= most);
            end.map(|end| first..end).ok_or(damaged)
        };
        let mut functions = Vec::new();
        let first = record.first_function;
        for function in places(first, record.functions, FUNCTIONS_MAX, self.functions)? {
            functions.push(self.read_function(function, state).ok_or(damaged)?);
        }
        let first = record.first_version as usize;
        let end = first.checked_add(record.versions as usize).ok_or(damaged)?;
        if end > self.versions {
            return Err(damaged);
        }
        let versions = (first..end).map(|version| self.read_version(version));
        let versions = versions.collect::<Option<Vec<_>>>().ok_or(damaged)?;
        let mut values = Vec::new();
        for value in places(record.first_value, record.values, VALUES_MAX, self.values)? {
            values.push(self.read_value(value).ok_or(damaged)?);
        }
        let times = read_record(&self.store, offset + PATCH_TIMES, PATCH_SIZE - PATCH_TIMES);
        Ok(Some(Patch {
            slot,
            number: record.number,
            name: record.name,
            dependencies: record.dependencies,
            state,
            functions,
            versions,
            values,
            // Only figures: lost when the task ended while it wrote them.
            times: times.unwrap_or_default(),
        }))
    }

    fn read_function(&self, slot: usize, patch: PatchState) -> Option<Function> {
        let offset = self.function_offset(slot);
        let plan: FunctionPlan = read_record(&self.store, offset + RECORD, FUNCTION_SIZE - RECORD)?;
        let state = SiteState::from_byte(self.byte(offset)?)?;
        let state = match patch {
            PatchState::RolledBack => SiteState::Original,
            _ => state,
        };
        plan.is_sound().then_some(Function { slot, plan, state })
    }

    fn read_value(&self, slot: usize) -> Option<Value> {
        let offset = self.value_offset(slot);
        let plan: ValuePlan = read_record(&self.store, offset + RECORD, VALUE_SIZE - RECORD)?;
        let state = ValueState::from_byte(self.byte(offset)?)?;
        plan.is_sound().then_some(Value { slot, plan, state })
    }

    /// The first of `count` places for functions that none of `patches` uses.
    pub(crate) fn room_for_functions<'a>(
        &self,
        patches: impl Iterator<Item = &'a Patch>,
        count: usize,
    ) -> Option<usize> {
        let used = |patch: &Patch| Some((patch.functions.first()?.slot, patch.functions.len()));
        first_free(patches.filter_map(used).collect(), count, self.functions)
    }

    /// The same for versions.
    pub(crate) fn room_for_versions<'a>(
        &self,
        patches: impl Iterator<Item = &'a Patch>,
        count: usize,
    ) -> Option<usize> {
        let used = |patch: &Patch| Some((patch.versions.first()?.slot, patch.versions.len()));
        first_free(patches.filter_map(used).collect(), count, self.versions)
    }

    /// The same for values.
    pub(crate) fn room_for_values<'a>(
        &self,
        patches: impl Iterator<Item = &'a Patch>,
        count: usize,
    ) -> Option<usize> {
        let used = |patch: &Patch| Some((patch.values.first()?.slot, patch.values.len()));
        first_free(patches.filter_map(used).collect(), count, self.values)
    }

    /// A place for a patch that none of `patches` uses.
    pub(crate) fn free_slot<'a>(
        &self,
        patches: impl Iterator<Item = &'a Patch> + Clone,
    ) -> Option<usize> {
        (0..self.patches).find(|slot| patches.clone().all(|patch| patch.slot != *slot))
    }

    /// Writes a patch with all its functions, versions and values as one that is not in use. Its places
    /// are free.
    pub(crate) fn write_patch(&mut self, patch: &Patch) -> Result<(), Fault> {
        let offset = self.patch_offset(patch.slot);
        self.set_byte(offset, PatchState::Free as u8)?;
        for function in &patch.functions {
            let offset = self.function_offset(function.slot);
            self.set_byte(offset, SiteState::Original as u8)?;
            write_record(&mut self.store, offset + RECORD, FUNCTION_SIZE - RECORD, &function.plan)
                .map_err(internal)?;
        }
        for version in &patch.versions {
            self.write_version(version)?;
        }
        for value in &patch.values {
            let offset = self.value_offset(value.slot);
            self.set_byte(offset, ValueState::Untouched as u8)?;
            write_record(&mut self.store, offset + RECORD, VALUE_SIZE - RECORD, &value.plan)
                .map_err(internal)?;
        }
        let record = PatchRecord {
            number: patch.number,
            name: patch.name.clone(),
            first_function: patch.functions.first().map_or(0, |first| first.slot as u32),
            functions: patch.functions.len() as u32,
            first_value: patch.values.first().map_or(0, |first| first.slot as u32),
            values: patch.values.len() as u32,
            dependencies: patch.dependencies.clone(),
            first_version: patch.versions.first().map_or(0, |first| first.slot as u32),
            versions: patch.versions.len() as u32,
        };
        write_record(&mut self.store, offset + RECORD, PATCH_TIMES - RECORD, &record)
            .map_err(internal)?;
        self.write_times(patch.slot, &patch.times)
    }

    /// Notes when and how long; the patch need not be in use.
    pub(crate) fn write_times(&mut self, slot: usize, times: &Times) -> Result<(), Fault> {
        let offset = self.patch_offset(slot) + PATCH_TIMES;
        write_record(&mut self.store, offset, PATCH_SIZE - PATCH_TIMES, times).map_err(internal)
    }

    /// Changes the state of a patch, in one step.
    pub(crate) fn set_patch(&mut self, slot: usize, state: PatchState) -> Result<(), Fault> {
        self.set_byte(self.patch_offset(slot), state as u8)
    }

    /// Changes the state of a function, in one step.
    pub(crate) fn set_function(&mut self, slot: usize, state: SiteState) -> Result<(), Fault> {
        self.set_byte(self.function_offset(slot), state as u8)
    }

    /// Changes the state of a value, in one step.
    pub(crate) fn set_value(&mut self, slot: usize, state: ValueState) -> Result<(), Fault> {
        self.set_byte(self.value_offset(slot), state as u8)
    }

    fn set_byte(&mut self, offset: usize, byte: u8) -> Result<(), Fault> {
        self.store.write(offset, &[byte]).map_err(internal)
    }
}

/// The first of `count` places, of `places`, that none of the ranges in `used` has: their first
/// place and their length.
fn first_free(mut used: Vec<(usize, usize)>, count: usize, places: usize) -> Option<usize> {
    used.sort_unstable();
    let mut free_from = 0;
    for (first, length) in used {
        if first.saturating_sub(free_from) >= count {
            return Some(free_from);
        }
        free_from = first + length;
    }
    (free_from + count <= places).then_some(free_from)
}

fn internal(_: StoreError) -> Fault {
    Part::Journal.fault(NO_ITEM)
}
