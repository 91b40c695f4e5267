//! Which pairs a write touched.

use crate::pages::{Mapping, Pages};
use crate::pairs::{self, List, Pair, Shape, Side};
use crate::{Changes, PAGE, VersionId};

/// A page that was open during a write, and what changed on it.
#[derive(Clone, Copy, Debug)]
pub struct ChangedPage<'a> {
    /// Its guest-physical address.
    pub gpa: u64,
    /// What changed.
    pub changes: &'a Changes,
}

/// A pair with at least one changed byte that is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Touched {
    /// Whose pair it is.
    pub version: VersionId,
    /// The pair.
    pub pair: Pair,
    /// The side that is to be carried to the other: the one that changed; of two the twin, since who
    /// writes twins is newer code.
    pub from: Side,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    side: Option<Side>,
    next: u32,
}

/// The changed bytes of one version.
#[derive(Debug)]
pub struct Search<'a, const N: usize> {
    version: VersionId,
    shape: Shape<'a>,
    index: &'a Pages<N>,
    pages: &'a [ChangedPage<'a>],
}

impl<'a, const N: usize> Search<'a, N> {
    /// The search for pairs of `version`, of this shape, on `pages`.
    #[must_use]
    pub const fn new(
        version: VersionId,
        shape: Shape<'a>,
        index: &'a Pages<N>,
        pages: &'a [ChangedPage<'a>],
    ) -> Self {
        Self { version, shape, index, pages }
    }

    /// The next pair: first all with a changed object, then those of which only the twin changed, each
    /// once.
    ///
    /// # Errors
    /// The list's; the cursor stays where it is.
    pub fn next<L: List>(
        &self,
        list: &mut L,
        cursor: &mut Cursor,
    ) -> Result<Option<Touched>, L::Error> {
        loop {
            let side = cursor.side.unwrap_or(Side::Object);
            let Some((place, pair)) = self.first(list, side, cursor.next)? else {
                if side == Side::Twin {
                    return Ok(None);
                }
                *cursor = Cursor { side: Some(Side::Twin), next: 0 };
                continue;
            };
            cursor.next = place + 1;
            let other_changed = self.changed(side.other(), &pair);
            if side == Side::Twin && other_changed {
                // Found by its object before.
                continue;
            }
            let from = match side == Side::Twin || other_changed {
                true => Side::Twin,
                false => Side::Object,
            };
            return Ok(Some(Touched { version: self.version, pair, from }));
        }
    }

    /// The first pair, at place `from` or behind it, one side of which has changed.
    fn first<L: List>(
        &self,
        list: &mut L,
        side: Side,
        from: u32,
    ) -> Result<Option<(u32, Pair)>, L::Error> {
        let mut first: Option<(u32, Pair)> = None;
        for (mapping, changes) in self.mappings() {
            let found = self.first_on(list, side, from, mapping, changes)?;
            first = match (first, found) {
                (Some(one), Some(other)) => Some(if one.0 <= other.0 { one } else { other }),
                (one, other) => one.or(other),
            };
        }
        Ok(first)
    }

    /// The same on one page.
    fn first_on<L: List>(
        &self,
        list: &mut L,
        side: Side,
        from: u32,
        mapping: &Mapping,
        changes: &Changes,
    ) -> Result<Option<(u32, Pair)>, L::Error> {
        let mut offset = 0;
        while let Some(changed) = changes.next(offset) {
            let address = mapping.address + changed as u64;
            let place = pairs::first_ending_behind(list, &self.shape, side, address)?.max(from);
            if place >= list.len() {
                return Ok(None);
            }
            let pair = list.read(side, place)?;
            let range = self.shape.range(side, &pair);
            if range.contains(&address) && !self.shape.is_shared(side, address - range.start) {
                return Ok(Some((place, pair)));
            }
            // Between pairs, in a shared field, or in a pair that was found before.
            offset = changed + 1;
            if range.start > address {
                let in_page = range.start - mapping.address;
                offset = usize::try_from(in_page).unwrap_or(PAGE);
            }
        }
        Ok(None)
    }

    /// Whether one side of a pair has a changed byte that is not shared.
    fn changed(&self, side: Side, pair: &Pair) -> bool {
        let range = self.shape.range(side, pair);
        self.mappings().any(|(mapping, changes)| {
            let start = range.start.saturating_sub(mapping.address);
            let mut offset = usize::try_from(start).unwrap_or(PAGE);
            while let Some(changed) = changes.next(offset) {
                let address = mapping.address + changed as u64;
                if address >= range.end {
                    return false;
                }
                if !self.shape.is_shared(side, address - range.start) {
                    return true;
                }
                offset = changed + 1;
            }
            false
        })
    }

    /// The changed pages as this version has them.
    fn mappings(&self) -> impl Iterator<Item = (&'a Mapping, &'a Changes)> {
        let version = self.version;
        self.pages.iter().flat_map(move |page| {
            let mappings = self.index.at(page.gpa).iter();
            mappings
                .filter(move |mapping| mapping.version == version)
                .map(move |mapping| (mapping, page.changes))
        })
    }
}
