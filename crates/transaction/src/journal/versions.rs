//! The versions of updates in the journal.
//!
//! A version is its state byte, a record of what never changes, and two copies of its lists, of which
//! the valid one with the higher number counts: a rollback brings new lists for a patch that is in force,
//! which must not be without while they are written.

use lucos_data_versions::StateByte;
use lucos_guest_interface::Fault;
use serde::{Deserialize, Serialize};

use super::record::{read_record, write_record};
use super::{Journal, Store, internal};
use crate::version::{Kind, Lists, Version, VersionPlan};

/// Bytes of a version.
pub(super) const VERSION_SIZE: usize = 384;
/// Most versions.
pub(super) const VERSIONS_MAX: usize = 64;

const KIND: usize = 1;
const KIND_SIZE: usize = 223;
const LISTS: [usize; 2] = [224, 304];
const LISTS_SIZE: usize = 80;

#[derive(Serialize, Deserialize)]
struct ListsRecord {
    /// Grows with every write.
    number: u32,
    lists: Lists,
}

impl<S: Store> Journal<S> {
    fn version_offset(&self, slot: usize) -> usize {
        self.versions_start() + slot * VERSION_SIZE
    }

    pub(super) fn read_version(&self, slot: usize) -> Option<Version> {
        let offset = self.version_offset(slot);
        let byte = StateByte::from_byte(self.byte(offset)?)?;
        let kind: Kind = read_record(&self.store, offset + KIND, KIND_SIZE)?;
        let lists = self.newest_lists(offset)?.1.lists;
        let plan = VersionPlan { kind, lists };
        plan.is_sound().then_some(Version { slot, plan, byte })
    }

    /// The lists that count, and their copy.
    fn newest_lists(&self, offset: usize) -> Option<(usize, ListsRecord)> {
        let copies = LISTS.map(|lists| read_record(&self.store, offset + lists, LISTS_SIZE));
        let copies = copies.into_iter().enumerate();
        let valid = copies.filter_map(|(copy, lists)| Some((copy, lists?)));
        valid.max_by_key(|(_, lists): &(usize, ListsRecord)| lists.number)
    }

    /// Writes a version of a patch that is not in use.
    pub(super) fn write_version(&mut self, version: &Version) -> Result<(), Fault> {
        let offset = self.version_offset(version.slot);
        self.set_byte(offset, StateByte::Old as u8)?;
        write_record(&mut self.store, offset + KIND, KIND_SIZE, &version.plan.kind)
            .map_err(internal)?;
        for place in LISTS {
            let record = ListsRecord { number: 0, lists: version.plan.lists };
            write_record(&mut self.store, offset + place, LISTS_SIZE, &record).map_err(internal)?;
        }
        Ok(())
    }

    /// Replaces the lists of a version. Those that count until now stay as they are.
    pub(crate) fn write_lists(&mut self, slot: usize, lists: Lists) -> Result<(), Fault> {
        let offset = self.version_offset(slot);
        let (copy, newest) = self.newest_lists(offset).ok_or(internal(super::StoreError))?;
        let record = ListsRecord { number: newest.number.wrapping_add(1), lists };
        let [first, second] = LISTS;
        let place = if copy == 0 { second } else { first };
        write_record(&mut self.store, offset + place, LISTS_SIZE, &record).map_err(internal)
    }

    /// Changes the state byte of a version, in one step.
    pub(crate) fn set_version(&mut self, slot: usize, byte: StateByte) -> Result<(), Fault> {
        self.set_byte(self.version_offset(slot), byte as u8)
    }
}
