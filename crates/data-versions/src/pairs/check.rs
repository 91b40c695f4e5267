//! Whether the guest's lists are what they must be.

use core::ops::Range;

use lucos_guest_interface::registration::KERNEL_HALF_START;
use lucos_guest_interface::{ErrorCode, Fault};

use super::{List, Pair, Shape, Side, at};
use crate::PAGE;

/// What is wrong with the lists of a version. An entry is named by its place in its list, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<E> {
    /// One side of an entry is not in the kernel's half of the address space.
    Range(Side, u32),
    /// An entry does not come behind the one before it.
    Order(Side, u32),
    /// One side of an entry begins before the one before it ends; for a twin also: lies over an object.
    Overlap(Side, u32),
    /// An entry of the list sorted by twin is not in the one sorted by object.
    Unknown(u32),
    /// An entry of the list of pages is no page's address, or not behind the one before it.
    PageOrder(u32),
    /// A page of this side of an entry is not in the list of pages.
    PageMissing(Side, u32),
    /// A list cannot be read.
    List(E),
}

impl<E> Problem<E> {
    /// What the guest is told, of the version with this item number. The detail's lower half is the
    /// entry, its upper half the list: 0 sorted by object, 1 by twin, 2 pages. `None` when a list cannot
    /// be read.
    pub const fn fault(&self, item: u32) -> Option<Fault> {
        const PAGES: u64 = 2;
        let (code, list, index) = match *self {
            Self::Range(side, index) => (ErrorCode::DataRange, side as u64, index),
            Self::Overlap(side, index) => (ErrorCode::PairsOverlap, side as u64, index),
            Self::Order(side, index) => (ErrorCode::PairsOrder, side as u64, index),
            Self::Unknown(index) => (ErrorCode::PairsOrder, Side::Twin as u64, index),
            Self::PageOrder(index) => (ErrorCode::PairsOrder, PAGES, index),
            Self::PageMissing(side, index) => (ErrorCode::PairsOrder, side as u64, index),
            Self::List(_) => return None,
        };
        Some(Fault::at(code, item, list << 32 | index as u64))
    }
}

/// Checks both lists: each ascends, nothing overlaps, and they have the same pairs.
///
/// # Errors
/// The first [`Problem`].
pub fn check<L: List>(list: &mut L, shape: &Shape<'_>) -> Result<(), Problem<L::Error>> {
    for side in Side::BOTH {
        check_order(list, shape, side)?;
    }
    let sides = |list: &mut L, which: usize, index| {
        let side = if which == 0 { Side::Object } else { Side::Twin };
        Ok(shape.range(side, &list.read(side, index)?))
    };
    let counts = [list.len(); 2];
    if let Some([_, index]) = first_common(list, counts, sides).map_err(Problem::List)? {
        return Err(Problem::Overlap(Side::Twin, index));
    }
    // No twin is there twice, and both lists have as many entries: if all are known, none is missing.
    let mut place = 0;
    for index in 0..list.len() {
        let pair = list.read(Side::Twin, index).map_err(Problem::List)?;
        let known = place_of(list, shape, pair, place).map_err(Problem::List)?;
        place = known.ok_or(Problem::Unknown(index))?.saturating_add(1);
    }
    Ok(())
}

/// The place of a pair in the list sorted by object. It is looked for at `first` before, since where
/// objects and twins lie in rows the next pair of one list is that of the other.
fn place_of<L: List>(
    list: &mut L,
    shape: &Shape<'_>,
    pair: Pair,
    first: u32,
) -> Result<Option<u32>, L::Error> {
    if first < list.len() && list.read(Side::Object, first)? == pair {
        return Ok(Some(first));
    }
    let found = at(list, shape, Side::Object, pair.object)?;
    Ok(found.filter(|(_, found)| *found == pair).map(|(place, _)| place))
}

fn check_order<L: List>(
    list: &mut L,
    shape: &Shape<'_>,
    side: Side,
) -> Result<(), Problem<L::Error>> {
    let mut before: Option<Range<u64>> = None;
    for index in 0..list.len() {
        let pair = list.read(side, index).map_err(Problem::List)?;
        let start = pair.address(side);
        if start < KERNEL_HALF_START || start.checked_add(shape.size(side)).is_none() {
            return Err(Problem::Range(side, index));
        }
        if let Some(before) = before {
            if start <= before.start {
                return Err(Problem::Order(side, index));
            }
            if start < before.end {
                return Err(Problem::Overlap(side, index));
            }
        }
        before = Some(shape.range(side, &pair));
    }
    Ok(())
}

/// The first pair of one list that has a byte in common with a pair of another: the places of both.
/// Each list comes with its shape and the side that is looked at, and ascends.
///
/// # Errors
/// A list's.
pub fn find_overlap<A: List, B: List<Error = A::Error>>(
    one: (&mut A, &Shape<'_>, Side),
    other: (&mut B, &Shape<'_>, Side),
) -> Result<Option<[u32; 2]>, A::Error> {
    let counts = [one.0.len(), other.0.len()];
    first_common(&mut (one, other), counts, |(one, other), which, index| match which {
        0 => Ok(one.1.range(one.2, &one.0.read(one.2, index)?)),
        _ => Ok(other.1.range(other.2, &other.0.read(other.2, index)?)),
    })
}

/// The places of the first two ranges, one of either sequence, that have a byte in common. Both
/// sequences ascend.
fn first_common<T, E>(
    source: &mut T,
    counts: [u32; 2],
    read: impl Fn(&mut T, usize, u32) -> Result<Range<u64>, E>,
) -> Result<Option<[u32; 2]>, E> {
    let [mut one, mut other] = [0, 0];
    let [ones, others] = counts;
    while one < ones && other < others {
        let (first, second) = (read(source, 0, one)?, read(source, 1, other)?);
        if first.end <= second.start {
            one += 1;
        } else if second.end <= first.start {
            other += 1;
        } else {
            return Ok(Some([one, other]));
        }
    }
    Ok(None)
}

/// Checks that the list of pages, `page` of them by number, ascends and has every page of every pair.
///
/// # Errors
/// The first [`Problem`].
pub fn check_pages<L: List>(
    list: &mut L,
    shape: &Shape<'_>,
    pages: u32,
    mut page: impl FnMut(&mut L, u32) -> Result<u64, L::Error>,
) -> Result<(), Problem<L::Error>> {
    let mut before = None;
    for index in 0..pages {
        let address = page(list, index).map_err(Problem::List)?;
        if !is_page(address) || before >= Some(address) {
            return Err(Problem::PageOrder(index));
        }
        before = Some(address);
    }
    for side in Side::BOTH {
        // Pairs ascend, so their pages do.
        let mut next = 0;
        for index in 0..list.len() {
            let pair = list.read(side, index).map_err(Problem::List)?;
            let bytes = shape.range(side, &pair);
            let mut wanted = page_of(bytes.start);
            while wanted < bytes.end {
                let missing = Problem::PageMissing(side, index);
                loop {
                    if next == pages {
                        return Err(missing);
                    }
                    let address = page(list, next).map_err(Problem::List)?;
                    if address > wanted {
                        return Err(missing);
                    }
                    if address == wanted {
                        break;
                    }
                    next += 1;
                }
                wanted = wanted.saturating_add(PAGE as u64);
            }
        }
    }
    Ok(())
}

const fn page_of(address: u64) -> u64 {
    address & !(PAGE as u64 - 1)
}

const fn is_page(address: u64) -> bool {
    page_of(address) == address
}
