//! The guarded pages, and the versions whose objects and twins lie on them.

use alloc::vec::Vec;

use lucos_guest_interface::{ErrorCode, Fault};

use crate::{PAGE, VersionId};

/// Most pages that can be guarded.
pub const PAGES_MAX: usize = 1024;
/// Most regions of [`REGION`] bytes in which they lie: each needs tables of its own.
pub const REGIONS_MAX: usize = 256;
/// Bytes of such a region.
pub const REGION: u64 = 2 << 20;

/// A page as one version has it. One page can have objects of several versions, and several
/// addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The page's guest-physical address.
    pub gpa: u64,
    /// Whose object or twin lies on it.
    pub version: VersionId,
    /// The guest-virtual address by which that version has it.
    pub address: u64,
}

/// More pages, or pages in more regions, than can be guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPages;

impl TooManyPages {
    /// What the guest is told: how many pages can be guarded.
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::new(ErrorCode::TooManyPages, PAGES_MAX as u64)
    }
}

/// The index of guarded pages: at most `N` mappings, sorted. They lie on the heap.
#[derive(Clone, Debug, Default)]
pub struct Pages<const N: usize> {
    mappings: Vec<Mapping>,
}

impl<const N: usize> Pages<N> {
    /// No page.
    #[must_use]
    pub const fn new() -> Self {
        Self { mappings: Vec::new() }
    }

    /// Adds a mapping; nothing changes when it is there.
    ///
    /// # Errors
    /// [`TooManyPages`], also without memory for more; nothing is added.
    pub fn insert(&mut self, mapping: Mapping) -> Result<(), TooManyPages> {
        let Err(place) = self.mappings.binary_search(&mapping) else {
            return Ok(());
        };
        if self.at(mapping.gpa).is_empty() {
            self.room_for(mapping.gpa)?;
        }
        if self.mappings.len() == N || self.mappings.try_reserve(1).is_err() {
            return Err(TooManyPages);
        }
        self.mappings.insert(place, mapping);
        Ok(())
    }

    /// Whether one more page can be guarded.
    fn room_for(&self, gpa: u64) -> Result<(), TooManyPages> {
        let region = |gpa: u64| gpa / REGION;
        let new_region = self.guarded().all(|other| region(other) != region(gpa));
        let mut last = None;
        let mut regions = usize::from(new_region);
        for page in self.guarded() {
            regions += usize::from(last != Some(region(page)));
            last = Some(region(page));
        }
        match self.guarded().count() < PAGES_MAX && regions <= REGIONS_MAX {
            true => Ok(()),
            false => Err(TooManyPages),
        }
    }

    /// How many mappings there are, of `N`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.mappings.len()
    }

    /// Whether this mapping is there.
    #[must_use]
    pub fn contains(&self, mapping: &Mapping) -> bool {
        self.mappings.binary_search(mapping).is_ok()
    }

    /// The page that a version has by this address.
    #[must_use]
    pub fn mapping(&self, version: VersionId, address: u64) -> Option<Mapping> {
        let is_it = |mapping: &&Mapping| mapping.version == version && mapping.address == address;
        self.mappings.iter().find(is_it).copied()
    }

    /// Takes one mapping out, if it is there.
    pub fn take(&mut self, mapping: &Mapping) {
        self.mappings.retain(|other| other != mapping);
    }

    /// Takes all mappings of a version out.
    pub fn remove(&mut self, version: VersionId) {
        self.mappings.retain(|mapping| mapping.version != version);
    }

    /// The versions that have the page at `gpa`, each with its addresses.
    #[must_use]
    pub fn at(&self, gpa: u64) -> &[Mapping] {
        let start = self.mappings.partition_point(|mapping| mapping.gpa < gpa);
        let behind = self.mappings.get(start..).unwrap_or_default();
        let count = behind.partition_point(|mapping| mapping.gpa == gpa);
        behind.get(..count).unwrap_or_default()
    }

    /// Whether the page in which `gpa` lies is guarded.
    #[must_use]
    pub fn is_guarded(&self, gpa: u64) -> bool {
        !self.at(gpa & !(PAGE as u64 - 1)).is_empty()
    }

    /// Every guarded page, once, ascending.
    pub fn guarded(&self) -> impl Iterator<Item = u64> {
        let mut last = None;
        self.mappings.iter().map(|mapping| mapping.gpa).filter(move |&gpa| {
            let is_new = last != Some(gpa);
            last = Some(gpa);
            is_new
        })
    }

    /// The first version, behind `after`, that has one of the pages at `gpas`.
    #[must_use]
    pub fn next_version(&self, gpas: &[u64], after: Option<VersionId>) -> Option<VersionId> {
        let mappings = gpas.iter().flat_map(|&gpa| self.at(gpa));
        let versions = mappings.map(|mapping| mapping.version);
        versions.filter(|&version| Some(version) > after).min()
    }

    /// The pages of a version, ascending; one that it has by several addresses comes as often.
    pub fn of(&self, version: VersionId) -> impl Iterator<Item = u64> {
        let of_version = move |mapping: &&Mapping| mapping.version == version;
        self.mappings.iter().filter(of_version).map(|mapping| mapping.gpa)
    }

    /// The pages of one version alone: what the guard has to be set on, or taken from, when all other
    /// versions stay as they are.
    pub fn only_of(&self, version: VersionId) -> impl Iterator<Item = u64> {
        self.guarded()
            .filter(move |&gpa| self.at(gpa).iter().all(|mapping| mapping.version == version))
    }
}
