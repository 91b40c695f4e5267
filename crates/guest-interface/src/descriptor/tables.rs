//! The tables behind the header: where they stand, and that they fill the descriptor exactly.

use crate::error::{ErrorCode, Fault};

/// A table of records of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    record_size: usize,
    offset: usize,
}

/// What the header says about a table.
pub(super) struct Claim {
    pub(super) count: u32,
    pub(super) offset: u32,
    pub(super) limit: u32,
    pub(super) record_size: usize,
}

impl<'a> Table<'a> {
    /// Finds a table in the descriptor.
    pub(super) fn find(descriptor: &'a [u8], header: usize, claim: &Claim) -> Result<Self, Fault> {
        if claim.count > claim.limit {
            return Err(Fault::new(ErrorCode::SectionCount, claim.count.into()));
        }
        let offset = claim.offset as usize;
        let record_size = claim.record_size;
        if claim.count == 0 {
            // A table that is not there has no place either, so that nothing is left unread.
            if offset != 0 {
                return Err(Fault::new(ErrorCode::SectionRange, claim.offset.into()));
            }
            return Ok(Self { bytes: &[], record_size, offset });
        }
        if !offset.is_multiple_of(8) {
            return Err(Fault::new(ErrorCode::SectionAlignment, claim.offset.into()));
        }
        let outside = Fault::new(ErrorCode::SectionRange, claim.offset.into());
        if offset < header {
            return Err(outside);
        }
        let length = record_size.checked_mul(claim.count as usize).ok_or(outside)?;
        let end = offset.checked_add(length).ok_or(outside)?;
        let bytes = descriptor.get(offset..end).ok_or(outside)?;
        Ok(Self { bytes, record_size, offset })
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.record_size
    }

    /// The bytes of one record.
    pub(super) fn get(&self, index: usize) -> Option<&'a [u8]> {
        let start = index.checked_mul(self.record_size)?;
        self.bytes.get(start..start.checked_add(self.record_size)?)
    }

    fn end(&self) -> usize {
        self.offset + self.bytes.len()
    }
}

/// Checks that the tables neither overlap nor leave bytes between or behind them.
pub(super) fn check_cover(
    tables: [&Table<'_>; 5],
    header: usize,
    total: usize,
) -> Result<(), Fault> {
    let used = || tables.iter().filter(|table| !table.bytes.is_empty());
    for (position, table) in used().enumerate() {
        for other in used().skip(position + 1) {
            if table.offset < other.end() && other.offset < table.end() {
                let detail = table.offset.max(other.offset);
                return Err(Fault::new(ErrorCode::SectionOverlap, detail as u64));
            }
        }
    }
    // Disjoint tables inside [header, total) fill it exactly when their lengths add up to it.
    let filled: usize = used().map(|table| table.bytes.len()).sum();
    if header + filled != total {
        return Err(Fault::new(ErrorCode::SectionGap, (header + filled) as u64));
    }
    Ok(())
}
