//! The values of a descriptor.

use super::data::Range;
use super::records::ValueRecord;
use super::tables::Table;
use super::{MAX_VALUES, VALUE_FLAGS, VALUE_IF_DEFAULT, VALUE_SIZE, kernel_range_end};
use crate::call::VALUE_ITEMS;
use crate::error::{ErrorCode, Fault};
use crate::name;

/// Some bytes of an object that the patch changes, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    record: ValueRecord,
}

impl Value {
    /// The record as the guest gave it.
    #[must_use]
    pub const fn record(&self) -> &ValueRecord {
        &self.record
    }

    /// What the bytes are called.
    #[must_use]
    pub fn name(&self) -> &str {
        // The field was checked when the record was parsed.
        name::parse(&self.record.name).unwrap_or_default()
    }

    /// Address of the first byte.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.record.address
    }

    /// Address behind the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.record.address + self.record.length as u64
    }

    /// The bytes before the update; where the mask has no bit they are zero.
    #[must_use]
    pub fn old(&self) -> &[u8] {
        self.used(&self.record.old)
    }

    /// The bytes after the update; where the mask has no bit they are zero.
    #[must_use]
    pub fn new_bytes(&self) -> &[u8] {
        self.used(&self.record.new)
    }

    /// Which bits are compared and changed.
    #[must_use]
    pub fn mask(&self) -> &[u8] {
        self.used(&self.record.mask)
    }

    /// Whether the bytes are left alone when they are not the old ones.
    #[must_use]
    pub const fn is_if_default(&self) -> bool {
        self.record.flags & VALUE_IF_DEFAULT != 0
    }

    fn used<'a>(&self, field: &'a [u8; VALUE_SIZE]) -> &'a [u8] {
        field.get(..self.record.length as usize).unwrap_or_default()
    }

    /// Checks one record.
    fn parse(record: ValueRecord) -> Result<Self, (ErrorCode, u64)> {
        name::parse(&record.name).map_err(|code| (code, 0))?;
        if record.flags & !VALUE_FLAGS != 0 {
            return Err((ErrorCode::UnknownFlag, record.flags.into()));
        }
        if record.reserved != 0 {
            return Err((ErrorCode::Reserved, record.reserved));
        }
        let length = record.length as usize;
        if length == 0 || length > VALUE_SIZE {
            return Err((ErrorCode::ValueSize, record.length.into()));
        }
        for field in [&record.old, &record.new, &record.mask] {
            if field.iter().skip(length).any(|&byte| byte != 0) {
                return Err((ErrorCode::ValueSize, record.length.into()));
            }
        }
        if kernel_range_end(record.address, record.length.into()).is_none() {
            return Err((ErrorCode::ValueRange, record.address));
        }
        let value = Self { record };
        value.check_mask().map_err(|place| (ErrorCode::ValueMask, place as u64))?;
        Ok(value)
    }

    /// The first byte that is wrong. A mask with nothing at an end would make bytes the business of
    /// the patch that it does not change.
    fn check_mask(&self) -> Result<(), usize> {
        let mask = self.mask();
        let last = mask.len().saturating_sub(1);
        for end in [0, last] {
            if mask.get(end).is_none_or(|&byte| byte == 0) {
                return Err(end);
            }
        }
        let bytes = self.old().iter().zip(self.new_bytes()).zip(mask);
        let outside = |((old, new), mask): ((&u8, &u8), &u8)| (old | new) & !mask != 0;
        bytes.map(outside).position(|is_outside| is_outside).map_or(Ok(()), Err)
    }
}

/// The value with this index; `None` behind the last one.
pub(super) fn get(table: &Table<'_>, index: usize) -> Option<Result<Value, Fault>> {
    let record = ValueRecord::read(table.get(index)?)?;
    // There are at most `MAX_VALUES`.
    let item = VALUE_ITEMS + u32::try_from(index).ok()?;
    Some(Value::parse(record).map_err(|(code, detail)| Fault::at(code, item, detail)))
}

/// Checks every value, and then each against all others. Each record is read once.
pub(super) fn check(table: &Table<'_>) -> Result<(), Fault> {
    let mut all = heapless::Vec::<Range, { MAX_VALUES as usize }>::new();
    for value in (0..).map_while(|index| get(table, index)) {
        let value = value?;
        // The table has no more than that.
        let _ = all.push((value.address(), value.end()));
    }
    for (index, value) in all.iter().enumerate() {
        for (other_index, other) in all.iter().enumerate().skip(index + 1) {
            if value.0 < other.1 && other.0 < value.1 {
                return Err(Fault::at(
                    ErrorCode::ValueOverlap,
                    VALUE_ITEMS + other_index as u32,
                    value.0,
                ));
            }
        }
    }
    Ok(())
}
