//! The data versions of a descriptor.

use super::records::{DataVersionRecord, SharedFieldRecord};
use super::tables::Table;
use super::{is_kernel_address, kernel_range_end};
use crate::error::{ErrorCode, Fault};
use crate::name;

/// A data object with an old and a new version, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataVersion {
    record: DataVersionRecord,
}

/// A field that both versions share, checked.
pub type SharedField = SharedFieldRecord;

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

    /// Whether an iterator gives the objects.
    #[must_use]
    pub const fn has_instances(&self) -> bool {
        self.record.instances != 0
    }

    /// Checks one record.
    fn parse(record: DataVersionRecord) -> Result<Self, (ErrorCode, u64)> {
        name::parse(&record.name).map_err(|code| (code, 0))?;
        if record.flags != 0 {
            return Err((ErrorCode::UnknownFlag, record.flags.into()));
        }
        if record.reserved != 0 || record.reserved2 != [0; 2] {
            return Err((ErrorCode::Reserved, 0));
        }
        if record.old_size == 0 || record.new_size == 0 {
            return Err((ErrorCode::DataSize, record.old_object));
        }
        check_objects(&record)?;
        for function in [record.to_new, record.to_old] {
            if !is_kernel_address(function) {
                return Err((ErrorCode::DataTransfer, function));
            }
        }
        Ok(Self { record })
    }

    fn objects(&self) -> [(u64, u64); 2] {
        let record = &self.record;
        [
            (record.old_object, record.old_object.saturating_add(record.old_size)),
            (record.new_object, record.new_object.saturating_add(record.new_size)),
        ]
    }
}

/// A single instance has two addresses, several instances have an iterator and no address.
fn check_objects(record: &DataVersionRecord) -> Result<(), (ErrorCode, u64)> {
    if record.instances != 0 {
        if !is_kernel_address(record.instances) {
            return Err((ErrorCode::DataTransfer, record.instances));
        }
        if record.old_object != 0 || record.new_object != 0 {
            return Err((ErrorCode::DataRange, record.old_object | record.new_object));
        }
        return Ok(());
    }
    for (object, size) in
        [(record.old_object, record.old_size), (record.new_object, record.new_size)]
    {
        if kernel_range_end(object, size).is_none() {
            return Err((ErrorCode::DataRange, object));
        }
    }
    Ok(())
}

/// The data version with this index; `None` behind the last one.
pub(super) fn get(table: &Table<'_>, index: usize) -> Option<Result<DataVersion, Fault>> {
    let record = DataVersionRecord::read(table.get(index)?)?;
    // There are at most `MAX_DATA_VERSIONS`.
    let item = u32::try_from(index).unwrap_or(u32::MAX);
    Some(DataVersion::parse(record).map_err(|(code, detail)| Fault::at(code, item, detail)))
}

/// Checks every data version, each against all others, and the shared fields.
pub(super) fn check(table: &Table<'_>, shared: &Table<'_>) -> Result<(), Fault> {
    let versions = || (0..).map_while(|index| get(table, index));
    // Shared fields are owned in the order of their table, so none is left out or used twice.
    let mut next_shared = 0_u32;
    for (index, version) in versions().enumerate() {
        let version = version?;
        let item = index as u32;
        check_own_overlap(&version).map_err(|code| Fault::at(code, item, 0))?;
        for (other_index, other) in versions().enumerate().skip(index + 1) {
            if objects_overlap(&version, &other?) {
                let detail = version.record.old_object;
                return Err(Fault::at(ErrorCode::DataOverlap, other_index as u32, detail));
            }
        }
        next_shared = check_shared(&version, shared, next_shared)
            .map_err(|(code, detail)| Fault::at(code, item, detail))?;
    }
    if next_shared as usize != shared.len() {
        return Err(Fault::new(ErrorCode::SharedOwner, next_shared.into()));
    }
    Ok(())
}

fn overlap(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

fn check_own_overlap(version: &DataVersion) -> Result<(), ErrorCode> {
    let [old, new] = version.objects();
    if !version.has_instances() && overlap(old, new) {
        return Err(ErrorCode::DataOverlap);
    }
    Ok(())
}

fn objects_overlap(version: &DataVersion, other: &DataVersion) -> bool {
    if version.has_instances() || other.has_instances() {
        return false;
    }
    let others = other.objects();
    version.objects().iter().any(|&object| others.iter().any(|&one| overlap(object, one)))
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
    let size = u64::from(field.size);
    let fits = |offset: u32, object: u64| u64::from(offset) + size <= object;
    if size == 0
        || !fits(field.old_offset, owner.old_size)
        || !fits(field.new_offset, owner.new_size)
    {
        return Err(ErrorCode::SharedField);
    }
    Ok(())
}
