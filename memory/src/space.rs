//! What the guest may do where.
//!
//! The guest's physical addresses are the machine's own. At the start everything up to 1 TiB is
//! given to it, or less when the page tables for that do not fit; further blocks (device memory that
//! firmware has put far up) follow when the guest first touches them. LUCOS's own memory shows a
//! page of ones, which the kernel takes care of.

use lucos_abi::object::Access;
use lucos_service::{FaultVerdict, GuardKind, MemoryError};

use crate::guards::{self, Guard, Kinds, Pages};
use crate::map::{GuestMap, page_of};
use crate::platform::{Platform, Refused, Rights, View};
use crate::{PAGE, confined, retained};

/// At most this much is mapped at the start: 1 TiB, as a power of two.
const START_MOST: u32 = 40;
/// At least the first 4 GiB are: memory, APICs, 32-bit device memory.
const START_LEAST: u32 = 32;
/// What is mapped later comes in blocks of this size, or of the second when page tables are scarce.
const BLOCKS: [u64; 2] = [1 << 30, 2 << 20];

/// Maps the guest's address space, unless that was done before a restart. Returns how much was
/// mapped, as a power of two.
///
/// # Errors
/// Not even the smallest possible space could be mapped.
pub fn start(platform: &mut impl Platform, map: &GuestMap<'_>) -> Result<u32, Refused> {
    if let Some(power) = retained::mapped(platform) {
        return Ok(power);
    }
    let most = map.end().trailing_zeros().min(START_MOST);
    let memory = map.ram_end().next_power_of_two().trailing_zeros();
    let least = START_LEAST.max(memory).min(most);
    let mut refused = Refused::Failed;
    for power in (least..=most).rev() {
        match platform.set(View::Main, 0, 1 << power, Rights::All) {
            Ok(()) => {
                retained::set_mapped(platform, power)?;
                return Ok(power);
            }
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

/// Guards pages, by their addresses in any order. All of them, or none that was not guarded so before.
///
/// # Errors
/// [`MemoryError`]
pub fn guard(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    kind: GuardKind,
    pages: &[u64],
) -> Result<(), MemoryError> {
    let pages = sorted(map, pages)?;
    for &page in &pages {
        if !goes_with(kind, guards::kinds(platform, page)) {
            return Err(MemoryError::OtherGuard { gpa: page });
        }
    }
    if kind != GuardKind::Stores {
        confined::prepare(platform, map)?;
    }
    // The list names a page whenever its rights are less than all: the note comes before the
    // change, and goes after it.
    let added = guards::add(platform, &pages, kind)?;
    // Those that were noted before as well: whoever noted them may have ended there.
    let guarded = restrict(platform, &pages, kind);
    if guarded.is_err() {
        // Either nothing changed, or a processor may still write there because it is late: then all
        // may. Giving rights back waits for nobody; where it takes memory that is not there, nothing
        // was taken, or a fault gives it.
        for page in unguarded(platform, &added, kind) {
            let _ = free(platform, page, PAGE, kind);
        }
        let _ = guards::remove(platform, &added, kind);
    }
    guarded
}

/// Ends guards of one kind. To do it once more changes nothing.
///
/// # Errors
/// [`MemoryError`]; what is still guarded is in the list.
pub fn release(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    kind: GuardKind,
    pages: &[u64],
) -> Result<(), MemoryError> {
    let mut pages = sorted(map, pages)?;
    pages.retain(|page| guards::kinds(platform, *page).contains(kind));
    give_back(platform, &pages, kind)
}

/// Ends all guards but those whose stores `vmx` does, and whatever is open in the confined view.
///
/// # Errors
/// [`MemoryError`]; what is still guarded is in the list.
pub fn release_all(platform: &mut impl Platform) -> Result<(), MemoryError> {
    for kind in [GuardKind::Carried, GuardKind::Sealed, GuardKind::Provided] {
        loop {
            let mut pages = Pages::new();
            let of_kind = guards::all(platform).filter(|guard| guard.kinds.contains(kind));
            pages.extend(of_kind.map(|guard| guard.page).take(pages.capacity()));
            if pages.is_empty() {
                break;
            }
            give_back(platform, &pages, kind)?;
        }
    }
    confined::reset(platform)
}

/// Whether a page that has some guards can have this one too. In the confined view a provided page is
/// written by whoever runs there, which any other guard forbids.
fn goes_with(kind: GuardKind, others: Kinds) -> bool {
    match kind {
        GuardKind::Provided => others.without(kind) == Kinds::NONE,
        _ => !others.contains(GuardKind::Provided),
    }
}

/// Takes the rights on pages that a guard is about.
fn restrict(
    platform: &mut impl Platform,
    pages: &[u64],
    kind: GuardKind,
) -> Result<(), MemoryError> {
    for (start, length) in runs(pages) {
        let confined = match kind {
            GuardKind::Provided => Rights::All,
            _ => Rights::ReadExecute,
        };
        if kind != GuardKind::Stores {
            let set = platform.set(View::Confined, start, length, confined);
            set.map_err(|refused| refused.at(start))?;
        }
        let set = platform.set(View::Main, start, length, Rights::ReadExecute);
        set.map_err(|refused| refused.at(start))?;
    }
    Ok(())
}

/// Gives the guest the rights on guarded pages that no other guard is about, and takes them out of the
/// list.
fn give_back(
    platform: &mut impl Platform,
    pages: &[u64],
    kind: GuardKind,
) -> Result<(), MemoryError> {
    for (start, length) in runs(&unguarded(platform, pages, kind)) {
        free(platform, start, length, kind).map_err(|refused| refused.at(start))?;
    }
    guards::remove(platform, pages, kind).map(|_| ())
}

/// Those of guarded pages that no other guard is about.
fn unguarded(platform: &impl Platform, pages: &[u64], kind: GuardKind) -> Pages {
    let is_last = |page: &u64| guards::kinds(platform, *page).without(kind) == Kinds::NONE;
    pages.iter().copied().filter(is_last).collect()
}

fn free(
    platform: &mut impl Platform,
    start: u64,
    length: u64,
    kind: GuardKind,
) -> Result<(), Refused> {
    if kind == GuardKind::Provided {
        platform.set(View::Confined, start, length, Rights::ReadExecute)?;
    }
    platform.set(View::Main, start, length, Rights::All)
}

/// The pages of a request in the order of addresses, each once; all are the guest's memory.
fn sorted(map: &GuestMap<'_>, pages: &[u64]) -> Result<Pages, MemoryError> {
    let mut sorted = Pages::new();
    for &gpa in pages {
        map.check(page_of(gpa), PAGE)?;
        sorted.push(page_of(gpa)).map_err(|_| MemoryError::TooLong)?;
    }
    sorted.sort_unstable();
    let mut last = None;
    sorted.retain(|page| last.replace(*page) != Some(*page));
    Ok(sorted)
}

/// Pages that follow one another, as ranges: first address and length.
fn runs(pages: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    let runs = pages.chunk_by(|page, next| page + PAGE == *next);
    runs.filter_map(|run| Some((*run.first()?, run.len() as u64 * PAGE)))
}

/// What a fault means; mends what can be mended.
///
/// # Errors
/// The address could be mapped, but there is no room for page tables.
pub fn fault(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    gpa: u64,
    access: Access,
    view: View,
) -> Result<FaultVerdict, MemoryError> {
    if gpa >= map.end() {
        return Ok(FaultVerdict::Outside);
    }
    if map.is_hidden(gpa) {
        if access.write || access.execute {
            retained::count_hidden_access(platform);
            return Ok(FaultVerdict::Hidden);
        }
        // Reads are allowed: the hidden page was not there yet.
        return mend(platform, view, page_of(gpa), PAGE, Rights::All).map_err(|why| why.at(gpa));
    }
    let kinds = guards::kinds(platform, page_of(gpa));
    match view {
        View::Main => fault_of_the_guest(platform, gpa, access, kinds),
        View::Confined => fault_of_a_step(platform, map, gpa, access, kinds),
    }
}

fn fault_of_the_guest(
    platform: &mut impl Platform,
    gpa: u64,
    access: Access,
    kinds: Kinds,
) -> Result<FaultVerdict, MemoryError> {
    if kinds != Kinds::NONE {
        // Only writes are held up; another processor may be between two changes.
        return Ok(if access.write { verdict(kinds) } else { FaultVerdict::Mended });
    }
    let mapped = retained::mapped(platform).unwrap_or(0);
    if gpa >> mapped == 0 {
        // A guard went away between the access and this look at it, or could not when it ended.
        return mend(platform, View::Main, page_of(gpa), PAGE, Rights::All)
            .map_err(|refused| refused.at(gpa));
    }
    let mut refused = Refused::Failed;
    for size in BLOCKS {
        match give_around_guards(platform, gpa & !(size - 1), size) {
            Ok(()) => return Ok(FaultVerdict::Mended),
            Err(why) => refused = why,
        }
    }
    Err(refused.at(gpa))
}

/// In the confined view nothing can be written that was not opened, and no device is shown.
fn fault_of_a_step(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    gpa: u64,
    access: Access,
    kinds: Kinds,
) -> Result<FaultVerdict, MemoryError> {
    let is_memory = map.first_foreign(page_of(gpa), PAGE).is_none();
    if access.write || !is_memory {
        return Ok(match verdict(kinds) {
            FaultVerdict::Mended if access.table_walk => FaultVerdict::Table,
            FaultVerdict::Mended => FaultVerdict::Carried,
            verdict => verdict,
        });
    }
    // Memory that was added since.
    mend(platform, View::Confined, page_of(gpa), PAGE, Rights::ReadExecute)
        .map_err(|refused| refused.at(gpa))
}

/// What a write to a page with these guards means.
const fn verdict(kinds: Kinds) -> FaultVerdict {
    if kinds.contains(GuardKind::Sealed) || kinds.contains(GuardKind::Provided) {
        FaultVerdict::Sealed
    } else if kinds.contains(GuardKind::Stores) {
        FaultVerdict::Guarded
    } else if kinds.contains(GuardKind::Carried) {
        FaultVerdict::Carried
    } else {
        FaultVerdict::Mended
    }
}

fn mend(
    platform: &mut impl Platform,
    view: View,
    start: u64,
    length: u64,
    rights: Rights,
) -> Result<FaultVerdict, Refused> {
    platform.set(view, start, length, rights).map(|()| FaultVerdict::Mended)
}

/// Gives the guest a block, but for the guarded pages in it.
fn give_around_guards(platform: &mut impl Platform, start: u64, size: u64) -> Result<(), Refused> {
    let end = start + size;
    let mut next = start;
    while next < end {
        let guard = guards::next(platform, next).filter(|guard| guard.page < end);
        let Guard { page, .. } = guard.unwrap_or(Guard { page: end, kinds: Kinds::NONE });
        if next < page {
            platform.set(View::Main, next, page - next, Rights::All)?;
        }
        next = page + PAGE;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
