//! Pairs of an object and its twin, in two lists of the guest: one sorted by object, one by twin.
//!
//! The lists lie in memory that the guest cannot write while they are in use, and were [checked]
//! before. Lookups end whatever the lists hold; on lists that were not checked they find nonsense.
//!
//! [checked]: check()

mod check;

use core::ops::Range;

use serde::{Deserialize, Serialize};

pub use check::{Problem, check, check_pages, find_overlap};

/// A side of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// The old version, at the address that the kernel knows.
    Object = 0,
    /// The new version, in the patch's memory.
    Twin = 1,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Object, Self::Twin];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Object => Self::Twin,
            Self::Twin => Self::Object,
        }
    }
}

/// An object and its twin, by their guest-virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The object's address.
    pub object: u64,
    /// The twin's.
    pub twin: u64,
}

impl Pair {
    /// Bytes of a pair in the guest's lists: two little-endian addresses, the object's first.
    pub const SIZE: usize = 16;

    /// The pair that these bytes say.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let value = u128::from_le_bytes(bytes);
        Self { object: value as u64, twin: (value >> 64) as u64 }
    }

    /// The address of one side.
    #[must_use]
    pub const fn address(&self, side: Side) -> u64 {
        match side {
            Side::Object => self.object,
            Side::Twin => self.twin,
        }
    }
}

/// A field that both sides have, and that the guest itself keeps alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SharedField {
    /// Offset in the object.
    pub object_offset: u32,
    /// Offset in the twin.
    pub twin_offset: u32,
    /// Bytes.
    pub size: u32,
}

/// What all pairs of a version have in common.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Bytes of an object, 1 to 4096.
    pub object: u32,
    /// Bytes of a twin, 1 to 4096.
    pub twin: u32,
    /// Fields that are not carried.
    pub shared: &'a [SharedField],
}

impl Shape<'_> {
    /// Bytes of one side.
    #[must_use]
    pub const fn size(&self, side: Side) -> u64 {
        match side {
            Side::Object => self.object as u64,
            Side::Twin => self.twin as u64,
        }
    }

    /// Whether the byte at `offset` of one side belongs to a shared field.
    #[must_use]
    pub fn is_shared(&self, side: Side, offset: u64) -> bool {
        self.shared.iter().any(|field| {
            let start = u64::from(match side {
                Side::Object => field.object_offset,
                Side::Twin => field.twin_offset,
            });
            (start..start + u64::from(field.size)).contains(&offset)
        })
    }

    /// The bytes of one side of `pair`.
    #[must_use]
    pub const fn range(&self, side: Side, pair: &Pair) -> Range<u64> {
        let start = pair.address(side);
        start..start.saturating_add(self.size(side))
    }
}

/// The two lists of a version.
pub trait List {
    /// Why a list cannot be read.
    type Error;

    /// Number of pairs, in either list.
    fn len(&self) -> u32;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entry `index`, below [`List::len`], of the list that is sorted by `side`.
    ///
    /// # Errors
    /// The list cannot be read.
    fn read(&mut self, sorted_by: Side, index: u32) -> Result<Pair, Self::Error>;
}

/// The pair one side of which holds `address`, with its place in the list sorted by that side.
///
/// # Errors
/// The list's.
pub fn at<L: List>(
    list: &mut L,
    shape: &Shape<'_>,
    side: Side,
    address: u64,
) -> Result<Option<(u32, Pair)>, L::Error> {
    let index = first_ending_behind(list, shape, side, address)?;
    if index == list.len() {
        return Ok(None);
    }
    let pair = list.read(side, index)?;
    Ok((pair.address(side) <= address).then_some((index, pair)))
}

/// The places of all pairs of which one side has a byte in `range`, in the list sorted by that side.
///
/// # Errors
/// The list's.
pub fn touching<L: List>(
    list: &mut L,
    shape: &Shape<'_>,
    side: Side,
    range: Range<u64>,
) -> Result<Range<u32>, L::Error> {
    let first = first_ending_behind(list, shape, side, range.start)?;
    let end = partition_point(list, side, |pair| pair.address(side) < range.end)?;
    Ok(first..end.max(first))
}

/// The place of the first pair that ends behind `address`; [`List::len`] when all end before.
pub(crate) fn first_ending_behind<L: List>(
    list: &mut L,
    shape: &Shape<'_>,
    side: Side,
    address: u64,
) -> Result<u32, L::Error> {
    partition_point(list, side, |pair| shape.range(side, pair).end <= address)
}

/// The place of the first pair for which `before` is false.
fn partition_point<L: List>(
    list: &mut L,
    sorted_by: Side,
    before: impl Fn(&Pair) -> bool,
) -> Result<u32, L::Error> {
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match before(&list.read(sorted_by, middle)?) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}
