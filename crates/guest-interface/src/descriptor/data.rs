//! The data versions of a descriptor.

use super::records::{DataVersionRecord, SharedFieldRecord};
use super::tables::Table;
use super::{
    DATA_CLEAR_ONLY, DATA_FLAGS, MAX_DATA_VERSIONS, MAX_GUARDED_PAGES, MAX_INSTANCE_SIZE,
    PAGE_SIZE, PAIR_SIZE, is_kernel_address, kernel_range_end,
};
use crate::call::DATA_ITEMS;
use crate::error::{ErrorCode, Fault};
use crate::name;

/// A kind of object of which the patch has a new version, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataVersion {
    record: DataVersionRecord,
}

/// A field that both versions share, checked.
pub type SharedField = SharedFieldRecord;

/// Bytes from a start up to, not including, an end.
pub(crate) type Range = (u64, u64);

/// The memory that the manager lends LUCOS for one update of a data version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) pairs_by_object: u64,
    pub(crate) pair_count: u32,
    pub(crate) flags: u32,
    pub(crate) pairs_by_twin: u64,
    pub(crate) pages: u64,
    pub(crate) page_count: u32,
    pub(crate) stage_step: u32,
    pub(crate) stage: u64,
}

impl Lists {
    /// Checks the lists and the stage, whose places hold a target of `target_size` bytes twice.
    pub(crate) fn check(&self, target_size: u32) -> Result<(), (ErrorCode, u64)> {
        if self.flags & !DATA_FLAGS != 0 {
            return Err((ErrorCode::UnknownFlag, self.flags.into()));
        }
        if self.pair_count == 0 {
            let rest = [self.pairs_by_object, self.pairs_by_twin, self.pages, self.stage];
            let counts = [self.page_count, self.stage_step];
            return match rest.iter().all(|&at| at == 0) && counts == [0, 0] {
                true => Ok(()),
                false => Err((ErrorCode::DataCount, 0)),
            };
        }
        if self.page_count == 0 {
            return Err((ErrorCode::DataCount, self.pair_count.into()));
        }
        if self.flags & DATA_CLEAR_ONLY == 0 && self.page_count > MAX_GUARDED_PAGES {
            return Err((ErrorCode::TooManyPages, self.page_count.into()));
        }
        let half = self.stage_step / 2;
        if !self.stage_step.is_multiple_of(16) || half < target_size {
            return Err((ErrorCode::DataStage, self.stage_step.into()));
        }
        if !self.stage.is_multiple_of(PAGE_SIZE) {
            return Err((ErrorCode::DataRange, self.stage));
        }
        for (start, size) in self.sizes() {
            if !start.is_multiple_of(8) || kernel_range_end(start, size).is_none() {
                return Err((ErrorCode::DataRange, start));
            }
        }
        Ok(())
    }

    /// The stage first: it is the only memory among them that is written.
    const fn sizes(&self) -> [(u64, u64); 4] {
        let pairs = self.pair_count as u64 * PAIR_SIZE;
        [
            (self.stage, self.pair_count as u64 * self.stage_step as u64),
            (self.pairs_by_object, pairs),
            (self.pairs_by_twin, pairs),
            (self.pages, self.page_count as u64 * 8),
        ]
    }

    fn ranges(&self) -> [Range; 4] {
        self.sizes().map(|(start, size)| (start, start.saturating_add(size)))
    }

    /// Whether a stage is in the way of a list or of the other stage.
    pub(crate) fn are_in_the_way_of(&self, other: &Self) -> bool {
        let overlap = |a: Range, b: Range| a.0 < b.1 && b.0 < a.1;
        let ([stage, ..], [other_stage, ..]) = (self.ranges(), other.ranges());
        other.ranges().into_iter().any(|range| overlap(stage, range))
            || self.ranges().into_iter().any(|range| overlap(other_stage, range))
    }

    /// The same within one data version.
    pub(crate) fn are_in_their_own_way(&self) -> bool {
        let [stage, lists @ ..] = self.ranges();
        lists.into_iter().any(|(start, end)| stage.0 < end && start < stage.1)
    }
}

impl DataVersion {
    /// The record as the guest gave it.
    #[must_use]
    pub const fn record(&self) -> &DataVersionRecord {
        &self.record
    }

    /// Name of the object or of its type.
    #[must_use]
    pub fn name(&self) -> &str {
        // The field was checked when the record was parsed.
        name::parse(&self.record.name).unwrap_or_default()
    }

    pub(crate) const fn lists(&self) -> Lists {
        let record = &self.record;
        Lists {
            pairs_by_object: record.pairs_by_object,
            pair_count: record.pair_count,
            flags: record.flags,
            pairs_by_twin: record.pairs_by_twin,
            pages: record.pages,
            page_count: record.page_count,
            stage_step: record.stage_step,
            stage: record.stage,
        }
    }

    /// Checks one record.
    fn parse(record: DataVersionRecord) -> Result<Self, (ErrorCode, u64)> {
        name::parse(&record.name).map_err(|code| (code, 0))?;
        for size in [record.object_size, record.twin_size] {
            if size == 0 || size > MAX_INSTANCE_SIZE {
                return Err((ErrorCode::DataSize, size.into()));
            }
        }
        for function in [record.to_new, record.to_old] {
            if !is_kernel_address(function) {
                return Err((ErrorCode::DataTransfer, function));
            }
        }
        let version = Self { record };
        version.lists().check(record.twin_size)?;
        if version.lists().are_in_their_own_way() {
            return Err((ErrorCode::DataOverlap, record.stage));
        }
        Ok(version)
    }
}

/// The data version with this index; `None` behind the last one.
pub(super) fn get(table: &Table<'_>, index: usize) -> Option<Result<DataVersion, Fault>> {
    let record = DataVersionRecord::read(table.get(index)?)?;
    // There are at most `MAX_DATA_VERSIONS`.
    let item = DATA_ITEMS + u32::try_from(index).ok()?;
    Some(DataVersion::parse(record).map_err(|(code, detail)| Fault::at(code, item, detail)))
}

/// Checks every data version and its shared fields, and then each against all others. Each record is
/// read once.
pub(super) fn check(table: &Table<'_>, shared: &Table<'_>) -> Result<(), Fault> {
    let mut all = heapless::Vec::<Lists, { MAX_DATA_VERSIONS as usize }>::new();
    // Shared fields are owned in the order of their table, so none is left out or used twice.
    let mut next_shared = 0_u32;
    for (item, version) in (DATA_ITEMS..).zip((0..).map_while(|index| get(table, index))) {
        let version = version?;
        next_shared = check_shared(&version, shared, next_shared)
            .map_err(|(code, detail)| Fault::at(code, item, detail))?;
        // The table has no more than that.
        let _ = all.push(version.lists());
    }
    if next_shared as usize != shared.len() {
        return Err(Fault::new(ErrorCode::SharedOwner, next_shared.into()));
    }
    for (index, lists) in all.iter().enumerate() {
        for (other_index, other) in all.iter().enumerate().skip(index + 1) {
            if lists.are_in_the_way_of(other) {
                let item = DATA_ITEMS + other_index as u32;
                return Err(Fault::at(ErrorCode::DataOverlap, item, lists.stage));
            }
        }
    }
    Ok(())
}

/// Checks the shared fields of one data version, gives the index of the first one behind them.
fn check_shared(
    version: &DataVersion,
    shared: &Table<'_>,
    next: u32,
) -> Result<u32, (ErrorCode, u64)> {
    let record = &version.record;
    if record.shared_count == 0 {
        return match record.shared_first {
            0 => Ok(next),
            first => Err((ErrorCode::SharedOwner, first.into())),
        };
    }
    if record.shared_first != next {
        return Err((ErrorCode::SharedOwner, record.shared_first.into()));
    }
    let wrong_owner = (ErrorCode::SharedOwner, u64::from(record.shared_count));
    let end = next.checked_add(record.shared_count).ok_or(wrong_owner)?;
    for index in next..end {
        let bytes = shared.get(index as usize).ok_or(wrong_owner)?;
        let field = SharedFieldRecord::read(bytes).ok_or(wrong_owner)?;
        check_field(&field, record).map_err(|code| (code, index.into()))?;
    }
    Ok(end)
}

fn check_field(field: &SharedFieldRecord, owner: &DataVersionRecord) -> Result<(), ErrorCode> {
    if field.reserved != 0 {
        return Err(ErrorCode::Reserved);
    }
    let fits =
        |offset: u32, object: u32| u64::from(offset) + u64::from(field.size) <= u64::from(object);
    if field.size == 0
        || !fits(field.old_offset, owner.object_size)
        || !fits(field.new_offset, owner.twin_size)
    {
        return Err(ErrorCode::SharedField);
    }
    Ok(())
}
