//! The pages with which the guest may not do everything: a sorted list in retained memory.
//!
//! The list lies there twice. A change writes the half that does not count, and one byte makes it
//! count: however the task ends, the list is as it was or as it is to be.

use heapless::Vec;
use lucos_service::{GuardKind, MAX_GUARD_REGIONS, MAX_GUARD_REQUEST, MAX_GUARDS, MemoryError};

use crate::PAGE;
use crate::platform::{Platform, Refused};
use crate::retained;

/// A region needs page tables of its own when one of its pages is guarded.
pub const REGION: u64 = 2 << 20;

/// Bytes of an entry: the page's number and a byte for its kinds.
const ENTRY: usize = 6;
/// Bytes of a half of the list: the number of entries, and the entries.
const HALF: usize = 8 + MAX_GUARDS * ENTRY;

/// Bytes of retained memory that the list takes.
pub const LENGTH: usize = 2 * HALF;

/// Pages of one request.
pub type Pages = Vec<u64, MAX_GUARD_REQUEST>;

/// What a page is guarded for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Nothing: the page is the guest's.
    pub const NONE: Self = Self(0);

    const fn of(kind: GuardKind) -> Self {
        Self(1 << kind as u8)
    }

    /// Whether this is one of them.
    pub const fn contains(self, kind: GuardKind) -> bool {
        self.0 & Self::of(kind).0 != 0
    }

    /// The others.
    pub const fn without(self, kind: GuardKind) -> Self {
        Self(self.0 & !Self::of(kind).0)
    }

    /// A number for each set of kinds.
    pub const fn number(self) -> u8 {
        self.0
    }

    const fn with(self, kind: GuardKind) -> Self {
        Self(self.0 | Self::of(kind).0)
    }
}

/// A guarded page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Its guest-physical address.
    pub page: u64,
    /// What it is guarded for; never nothing.
    pub kinds: Kinds,
}

impl Guard {
    fn to_bytes(self) -> [u8; ENTRY] {
        let [a, b, c, d, e, ..] = (self.page / PAGE).to_le_bytes();
        [self.kinds.0, a, b, c, d, e]
    }

    fn from_bytes([kinds, a, b, c, d, e]: [u8; ENTRY]) -> Self {
        let page = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]) * PAGE;
        Self { page, kinds: Kinds(kinds) }
    }
}

/// What the page with this address is guarded for.
pub fn kinds(platform: &impl Platform, page: u64) -> Kinds {
    let list = List::current(platform);
    list.get(platform, list.first_from(platform, page))
        .filter(|guard| guard.page == page)
        .map_or(Kinds::NONE, |guard| guard.kinds)
}

/// The first guard of a page at `start` or behind it.
pub fn next(platform: &impl Platform, start: u64) -> Option<Guard> {
    let list = List::current(platform);
    list.get(platform, list.first_from(platform, start))
}

/// All guards, in the order of their pages.
pub fn all<P: Platform>(platform: &P) -> impl Iterator<Item = Guard> + use<'_, P> {
    let list = List::current(platform);
    (0..list.count).filter_map(move |number| list.get(platform, number))
}

/// Adds a kind of guard to pages that ascend. Returns those that did not have it.
///
/// # Errors
/// [`MemoryError::TooManyPages`]; the list is as it was.
pub fn add(
    platform: &mut impl Platform,
    pages: &[u64],
    kind: GuardKind,
) -> Result<Pages, MemoryError> {
    change(platform, pages, |kinds| kinds.with(kind))
}

/// Takes it from pages that ascend.
///
/// # Errors
/// [`MemoryError::Kernel`]; the list is as it was.
pub fn remove(
    platform: &mut impl Platform,
    pages: &[u64],
    kind: GuardKind,
) -> Result<Pages, MemoryError> {
    change(platform, pages, |kinds| kinds.without(kind))
}

/// Changes the kinds of pages, and returns those for which that made a difference.
fn change(
    platform: &mut impl Platform,
    pages: &[u64],
    to: impl Fn(Kinds) -> Kinds,
) -> Result<Pages, MemoryError> {
    let old = List::current(platform);
    let mut changed = Pages::new();
    let mut new = Writer { list: List { half: 1 - old.half, count: 0 }, region: None, regions: 0 };
    let mut asked = pages.iter().copied().peekable();
    let mut number = 0;
    loop {
        let listed = old.get(platform, number);
        let (page, kinds) = match (listed, asked.peek().copied()) {
            (None, None) => break,
            (Some(guard), Some(page)) if guard.page > page => (page, Kinds::NONE),
            (None, Some(page)) => (page, Kinds::NONE),
            (Some(guard), _) => (guard.page, guard.kinds),
        };
        number += usize::from(listed.is_some_and(|guard| guard.page == page));
        let is_asked = asked.next_if_eq(&page).is_some();
        let after = if is_asked { to(kinds) } else { kinds };
        if after != kinds {
            changed.push(page).map_err(|_| MemoryError::TooLong)?;
        }
        if after != Kinds::NONE {
            new.push(platform, Guard { page, kinds: after })?;
        }
    }
    if !changed.is_empty() {
        new.list.make_current(platform).map_err(|_| MemoryError::Kernel)?;
    }
    Ok(changed)
}

/// One half of the list.
#[derive(Clone, Copy)]
struct List {
    half: u8,
    count: usize,
}

impl List {
    fn current(platform: &impl Platform) -> Self {
        let half = retained::byte(platform, retained::GUARD_HALF) & 1;
        let mut count = [0; 2];
        platform.recall(Self::start(half), &mut count);
        Self { half, count: usize::from(u16::from_le_bytes(count)).min(MAX_GUARDS) }
    }

    const fn start(half: u8) -> usize {
        retained::GUARDS + half as usize * HALF
    }

    const fn entry(self, number: usize) -> usize {
        Self::start(self.half) + 8 + number * ENTRY
    }

    fn get(self, platform: &impl Platform, number: usize) -> Option<Guard> {
        let mut bytes = [0; ENTRY];
        (number < self.count).then(|| platform.recall(self.entry(number), &mut bytes))?;
        Some(Guard::from_bytes(bytes))
    }

    /// The place of the first page at `start` or behind it.
    fn first_from(self, platform: &impl Platform, start: u64) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(platform, middle) {
                Some(guard) if guard.page < start => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    fn make_current(self, platform: &mut impl Platform) -> Result<(), Refused> {
        let count = (self.count as u16).to_le_bytes();
        platform.retain(Self::start(self.half), &count)?;
        platform.retain(retained::GUARD_HALF, &[self.half])
    }
}

/// Writes the half that does not count yet.
struct Writer {
    list: List,
    region: Option<u64>,
    regions: usize,
}

impl Writer {
    fn push(&mut self, platform: &mut impl Platform, guard: Guard) -> Result<(), MemoryError> {
        let region = Some(guard.page / REGION);
        self.regions += usize::from(self.region != region);
        self.region = region;
        if self.list.count == MAX_GUARDS || self.regions > MAX_GUARD_REGIONS {
            return Err(MemoryError::TooManyPages);
        }
        let at = self.list.entry(self.list.count);
        platform.retain(at, &guard.to_bytes()).map_err(|refused| refused.at(guard.page))?;
        self.list.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
