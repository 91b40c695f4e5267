//! The confined view: in which instructions of the guest are executed under the eyes of a task. The
//! guest's memory can be read there, and written only where a page is open.
//!
//! A page that is opened for a write is copied first, and the copy tells afterwards what the write
//! changed. Which pages are open, and where their copies are, is retained.

use lucos_data_versions::Changes;
use lucos_service::{GuardKind, MAX_OPEN, MemoryError};

use crate::PAGE;
use crate::guards::{self, Kinds};
use crate::map::{GuestMap, page_of};
use crate::platform::{Platform, Rights, View};
use crate::retained;

/// Shows the guest's memory in the view, unless that was done before.
///
/// # Errors
/// [`MemoryError::NoRoom`], [`MemoryError::Kernel`]; part of it may be shown.
pub fn prepare(platform: &mut impl Platform, map: &GuestMap<'_>) -> Result<(), MemoryError> {
    if retained::byte(platform, retained::CONFINED) == 1 {
        return Ok(());
    }
    for range in map.owned() {
        let set = platform.set(View::Confined, range.start, range.length, Rights::ReadExecute);
        set.map_err(|refused| refused.at(range.start))?;
    }
    platform.retain(retained::CONFINED, &[1]).map_err(|refused| refused.at(0))
}

/// Forgets what is open. Before the view is used again it is made anew.
///
/// # Errors
/// [`MemoryError::Kernel`]: there is no retained memory.
pub fn reset(platform: &mut impl Platform) -> Result<(), MemoryError> {
    for number in 0..MAX_OPEN {
        set_state(platform, number, State::Free)?;
    }
    platform.retain(retained::CONFINED, &[0]).map_err(|refused| refused.at(0))
}

/// Opens a page for a write, with a copy of it at `copy`. A page that is open stays so, and its copy as
/// it is. A page of a device has no copy: it is only read.
///
/// # Errors
/// [`MemoryError::ReadOnly`] for a sealed or provided page, [`MemoryError::BadAddress`] when the copy
/// cannot be there, [`MemoryError::TooManyPages`], [`MemoryError::NotRam`]; nothing is open then that
/// was not.
pub fn open(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    gpa: u64,
    copy: u64,
) -> Result<(), MemoryError> {
    let page = page_of(gpa);
    if map.is_hidden(page) || page >= map.end() {
        return Err(MemoryError::NotRam { gpa });
    }
    if !may_be_written(guards::kinds(platform, page)) {
        return Err(MemoryError::ReadOnly { address: page });
    }
    let is_memory = map.first_foreign(page, PAGE).is_none();
    let state = if is_memory { State::Memory } else { State::Device };
    if all(platform).any(|open| open.page == page) {
        return show(platform, page, state);
    }
    let kinds = guards::kinds(platform, copy);
    let is_kept =
        kinds.contains(GuardKind::Sealed) && kinds.without(GuardKind::Sealed) == Kinds::NONE;
    if !is_kept || all(platform).any(|open| open.copy == copy) {
        return Err(MemoryError::BadAddress);
    }
    let free = (0..MAX_OPEN).find(|&number| slot(platform, number).is_none());
    let number = free.ok_or(MemoryError::TooManyPages)?;
    if is_memory {
        platform.copy(page, copy, PAGE).map_err(|refused| refused.at(page))?;
    }
    let noted = platform.retain(at(number), &page.to_le_bytes());
    let noted = noted.and_then(|()| platform.retain(at(number) + COPY, &copy.to_le_bytes()));
    noted.map_err(|refused| refused.at(page))?;
    set_state(platform, number, state)?;
    show(platform, page, state).inspect_err(|_| {
        let _ = set_state(platform, number, State::Free);
    })
}

/// Opens a page table for good: a processor writes to those that it walks.
///
/// # Errors
/// [`MemoryError::NotRam`], [`MemoryError::ReadOnly`] for a guarded page
pub fn open_table(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    gpa: u64,
) -> Result<(), MemoryError> {
    let page = page_of(gpa);
    map.check(page, PAGE)?;
    if guards::kinds(platform, page) != Kinds::NONE {
        return Err(MemoryError::ReadOnly { address: page });
    }
    show(platform, page, State::Memory)
}

/// Which bytes of a page have changed since it was opened: none of one that is not open.
///
/// # Errors
/// [`MemoryError::NotRam`]
pub fn changes(platform: &mut impl Platform, gpa: u64) -> Result<Changes, MemoryError> {
    let page = page_of(gpa);
    let is_it = |open: &Open| open.page == page && open.state == State::Memory;
    let Some(Open { copy, .. }) = all(platform).find(is_it) else {
        return Ok(Changes::NONE);
    };
    let (mut now, mut then) = ([0; PAGE as usize], [0; PAGE as usize]);
    for (gpa, bytes) in [(page, &mut now), (copy, &mut then)] {
        platform.read(gpa, bytes).map_err(|gpa| MemoryError::NotRam { gpa })?;
    }
    Ok(Changes::between(&now, &then))
}

/// Closes all pages that are open for a write.
///
/// # Errors
/// [`MemoryError::Kernel`]; some may still be open.
pub fn close(platform: &mut impl Platform) -> Result<(), MemoryError> {
    for number in 0..MAX_OPEN {
        let Some(Open { page, state, .. }) = slot(platform, number) else { continue };
        let rights = match state {
            State::Device => Rights::None,
            State::Free | State::Memory => Rights::ReadExecute,
        };
        let closed = platform.set(View::Confined, page, PAGE, rights);
        closed.map_err(|refused| refused.at(page))?;
        set_state(platform, number, State::Free)?;
    }
    Ok(())
}

/// Whether an open page may have these guards.
const fn may_be_written(kinds: Kinds) -> bool {
    !kinds.contains(GuardKind::Sealed) && !kinds.contains(GuardKind::Provided)
}

fn show(platform: &mut impl Platform, page: u64, state: State) -> Result<(), MemoryError> {
    let rights = if state == State::Device { Rights::ReadExecute } else { Rights::All };
    platform.set(View::Confined, page, PAGE, rights).map_err(|refused| refused.at(page))
}

/// What a slot is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Free = 0,
    Memory = 1,
    Device = 2,
}

/// A page that is open.
struct Open {
    page: u64,
    copy: u64,
    state: State,
}

/// A slot: the page, its copy, and a byte that says whether it counts, which is written last.
const SLOT: usize = 24;
const COPY: usize = 8;
const STATE: usize = 16;

// The slots lie before the list of guards.
const _: () = assert!(at(MAX_OPEN) <= retained::GUARDS);

const fn at(number: usize) -> usize {
    retained::OPEN + number * SLOT
}

fn all<P: Platform>(platform: &P) -> impl Iterator<Item = Open> + use<'_, P> {
    (0..MAX_OPEN).filter_map(|number| slot(platform, number))
}

fn slot(platform: &impl Platform, number: usize) -> Option<Open> {
    let state = match retained::byte(platform, at(number) + STATE) {
        1 => State::Memory,
        2 => State::Device,
        _ => return None,
    };
    let page = retained::number(platform, at(number));
    Some(Open { page, copy: retained::number(platform, at(number) + COPY), state })
}

fn set_state(platform: &mut impl Platform, number: usize, state: State) -> Result<(), MemoryError> {
    platform.retain(at(number) + STATE, &[state as u8]).map_err(|refused| refused.at(0))
}

#[cfg(test)]
mod tests;
