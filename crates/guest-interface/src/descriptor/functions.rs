//! The functions of a descriptor.

use super::data::Range;
use super::records::FunctionRecord;
use super::tables::Table;
use super::{
    EXPECTED_SIZE, FUNCTION_FENTRY_SLOT, FUNCTION_FLAGS, FUNCTION_NO_JUMP, FUNCTION_SITE_IS_SLOT,
    JUMP_SIZE, MAX_FUNCTIONS, kernel_range_end,
};
use crate::error::{ErrorCode, Fault};
use crate::name;
use crate::status::WindowReason;

/// A function to replace, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    record: FunctionRecord,
    reason: WindowReason,
}

impl Function {
    /// The record as the guest gave it.
    #[must_use]
    pub const fn record(&self) -> &FunctionRecord {
        &self.record
    }

    /// Name of the old function.
    #[must_use]
    pub fn name(&self) -> &str {
        // The field was checked when the record was parsed.
        name::parse(&self.record.name).unwrap_or_default()
    }

    /// Address of the old function.
    #[must_use]
    pub const fn old_start(&self) -> u64 {
        self.record.old_start
    }

    /// Address behind the old function.
    #[must_use]
    pub const fn old_end(&self) -> u64 {
        self.record.old_start + self.record.old_size as u64
    }

    /// Address of the site.
    #[must_use]
    pub const fn site(&self) -> u64 {
        self.record.old_start + self.record.site_offset as u64
    }

    /// Address of the new function.
    #[must_use]
    pub const fn new_entry(&self) -> u64 {
        self.record.new_entry
    }

    /// Address behind the new function.
    #[must_use]
    pub const fn new_end(&self) -> u64 {
        self.record.new_entry + self.record.new_size as u64
    }

    /// Whether an ftrace slot ends where the site starts, or is the site.
    #[must_use]
    pub const fn has_fentry_slot(&self) -> bool {
        self.record.flags & FUNCTION_FENTRY_SLOT != 0
    }

    /// Whether the site is the ftrace slot itself.
    #[must_use]
    pub const fn site_is_slot(&self) -> bool {
        self.record.flags & FUNCTION_SITE_IS_SLOT != 0
    }

    /// Why the window must keep its trap; [`WindowReason::None`] when the guest knows no reason.
    #[must_use]
    pub const fn reason(&self) -> WindowReason {
        self.reason
    }

    /// The bytes expected at the site, each with the mask of the bits that count.
    pub fn expected(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        let length = self.record.expected_length as usize;
        let bytes = self.record.expected.iter().copied();
        bytes.zip(self.record.expected_mask.iter().copied()).take(length)
    }

    /// Checks one record.
    fn parse(record: FunctionRecord) -> Result<Self, (ErrorCode, u64)> {
        name::parse(&record.name).map_err(|code| (code, 0))?;
        let reason = check_flags(&record)?;
        if record.reserved != 0 {
            return Err((ErrorCode::Reserved, record.reserved));
        }
        if record.old_size == 0 {
            return Err((ErrorCode::FunctionSize, record.old_start));
        }
        if kernel_range_end(record.old_start, record.old_size.into()).is_none() {
            return Err((ErrorCode::FunctionRange, record.old_start));
        }
        if record.site_offset >= record.old_size {
            return Err((ErrorCode::SiteOffset, record.site_offset.into()));
        }
        // The window of a very short function may end behind it, but not behind the last address.
        let site = record.old_start.checked_add(record.site_offset.into());
        if site.and_then(|site| site.checked_add(JUMP_SIZE)).is_none() {
            return Err((ErrorCode::FunctionRange, record.old_start));
        }
        if record.new_size == 0 {
            return Err((ErrorCode::NewSize, record.new_entry));
        }
        if kernel_range_end(record.new_entry, record.new_size.into()).is_none() {
            return Err((ErrorCode::NewRange, record.new_entry));
        }
        check_expected(&record)?;
        Ok(Self { record, reason })
    }
}

fn check_flags(record: &FunctionRecord) -> Result<WindowReason, (ErrorCode, u64)> {
    let flags = record.flags;
    if flags & !FUNCTION_FLAGS != 0 {
        return Err((ErrorCode::UnknownFlag, flags.into()));
    }
    if flags & FUNCTION_SITE_IS_SLOT != 0 && flags & FUNCTION_FENTRY_SLOT == 0 {
        return Err((ErrorCode::FlagCombination, flags.into()));
    }
    let reason = WindowReason::from_number(record.reason)
        .ok_or((ErrorCode::Reason, record.reason.into()))?;
    if (flags & FUNCTION_NO_JUMP != 0) != (reason != WindowReason::None) {
        return Err((ErrorCode::Reason, record.reason.into()));
    }
    Ok(reason)
}

fn check_expected(record: &FunctionRecord) -> Result<(), (ErrorCode, u64)> {
    let length = record.expected_length as usize;
    // `site_offset` is below `old_size`.
    let available = (record.old_size - record.site_offset) as usize;
    if length > EXPECTED_SIZE || length > available {
        return Err((ErrorCode::ExpectedLength, record.expected_length.into()));
    }
    let pairs = record.expected.iter().zip(&record.expected_mask);
    for (index, (byte, mask)) in pairs.enumerate() {
        let unused_mask = index >= length && *mask != 0;
        if byte & !mask != 0 || unused_mask {
            return Err((ErrorCode::ExpectedMask, index as u64));
        }
    }
    Ok(())
}

/// The function with this index; `None` behind the last one.
pub(super) fn get(table: &Table<'_>, index: usize) -> Option<Result<Function, Fault>> {
    let record = FunctionRecord::read(table.get(index)?)?;
    // There are at most `MAX_FUNCTIONS`.
    let item = u32::try_from(index).unwrap_or(u32::MAX);
    Some(Function::parse(record).map_err(|(code, detail)| Fault::at(code, item, detail)))
}

/// Checks every function, and then each against all others. Each record is read once: there are
/// thousands of pairs.
pub(super) fn check(table: &Table<'_>) -> Result<(), Fault> {
    let mut all = heapless::Vec::<Places, { MAX_FUNCTIONS as usize }>::new();
    for function in (0..).map_while(|index| get(table, index)) {
        // The table has no more than that.
        let _ = all.push(Places::of(&function?));
    }
    for (index, places) in all.iter().enumerate() {
        for (other_index, other) in all.iter().enumerate() {
            let later = other_index > index;
            check_pair(places, other, later)
                .map_err(|code| Fault::at(code, other_index as u32, places.old.0))?;
        }
    }
    Ok(())
}

/// What is compared with other functions, as ranges of addresses.
struct Places {
    old: Range,
    window: Range,
    new: Range,
}

impl Places {
    const fn of(function: &Function) -> Self {
        Self {
            old: (function.old_start(), function.old_end()),
            window: (function.site(), function.site() + JUMP_SIZE),
            new: (function.new_entry(), function.new_end()),
        }
    }
}

/// Checks two functions against each other. What is symmetric is checked once, when `other`
/// comes later in the table; the function itself counts as not later.
fn check_pair(function: &Places, other: &Places, later: bool) -> Result<(), ErrorCode> {
    let overlap = |a: Range, b: Range| a.0 < b.1 && b.0 < a.1;
    if later && overlap(function.old, other.old) {
        return Err(ErrorCode::FunctionOverlap);
    }
    if later && overlap(function.window, other.window) {
        return Err(ErrorCode::SiteOverlap);
    }
    if overlap(function.old, other.new) {
        return Err(ErrorCode::NewIsOld);
    }
    Ok(())
}
