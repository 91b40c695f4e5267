//! The nested page tables that all vCPUs share, one for each view.
//!
//! Guest-physical addresses are host-physical ones. The pages of LUCOS's region are the exception:
//! in every view all of them show one page of ones, read-only.

use super::direct::{Pages, Tables};
use crate::arch::backend::Extension;
use crate::fatal::Fatal;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::boot::Span;
use lucos_abi::call::CallStatus;
use lucos_abi::object::View;
use lucos_paging::{Format, MapError, Mapping, PageSize, PageTable, Rights};
use spin::{Mutex, Once};

/// Frames that giving the guest more leaves to taking rights away: a guest that touches one far
/// address after the other must not use up what guards need. Those are tables for 256 regions of
/// 2 MiB, and for 32 of 1 GiB, in both views.
const RESERVE: u64 = 2 * (256 + 32);

/// Something that there is for each view.
#[derive(Debug, Default)]
pub struct EachView<T> {
    main: T,
    confined: T,
}

impl<T> EachView<T> {
    /// That of one view.
    pub const fn of(&self, view: View) -> &T {
        match view {
            View::Main => &self.main,
            View::Confined => &self.confined,
        }
    }
}

/// The nested page table of a view.
struct Nested {
    table: PageTable,
    tables: Mutex<Tables>,
    /// Counts changes after which processors must forget translations.
    generation: AtomicU32,
}

struct GuestSpace {
    views: EachView<Nested>,
    hidden: Span,
    /// What is cached, where the nested tables say so and not the MTRRs.
    memory: Option<Vec<Span>>,
    /// Physical address of the page that the guest sees instead of LUCOS.
    shown: u64,
}

static SPACE: Once<GuestSpace> = Once::new();

/// Makes the empty views. `hidden` is LUCOS's region, `memory` what is memory beside.
///
/// # Errors
/// The region is full.
pub fn start(hidden: Span, extension: &Extension, memory: &[Span]) -> Result<(), Fatal> {
    let views = EachView { main: Nested::new(extension)?, confined: Nested::new(extension)? };
    let memory = (extension.format == Format::IntelEpt).then(|| memory.to_vec());
    let shown = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
    let shown_phys = shown.phys();
    shown.leak().fill(0xff);
    SPACE.call_once(|| GuestSpace { views, hidden, memory, shown: shown_phys });
    Ok(())
}

/// A part of a range in which all pages are treated alike.
struct Part {
    end: u64,
    hidden: bool,
    uncached: bool,
}

impl GuestSpace {
    /// The part from `start` on, up to `end` at most.
    fn part(&self, start: u64, end: u64) -> Part {
        let memory = self.memory.as_deref().unwrap_or_default();
        let spans = || core::iter::once(&self.hidden).chain(memory);
        let borders = spans().flat_map(|span| [span.start, span.end]);
        let end = borders.filter(|border| *border > start).fold(end, u64::min);
        let is_in = |span: &Span| (span.start..span.end).contains(&start);
        let uncached = self.memory.is_some() && !spans().any(is_in);
        Part { end, hidden: is_in(&self.hidden), uncached }
    }
}

impl Nested {
    fn new(extension: &Extension) -> Result<Self, Fatal> {
        let root = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
        let Extension { format, largest, .. } = *extension;
        let table = PageTable { format, root, largest };
        Ok(Self { table, tables: Mutex::default(), generation: AtomicU32::new(1) })
    }
}

/// Physical address of a view's root table, and the generation that translations of it must be of.
pub fn root(view: View) -> (u64, u32) {
    SPACE.get().map_or((0, 0), |space| {
        let nested = space.views.of(view);
        (nested.table.root, nested.generation.load(Ordering::SeqCst))
    })
}

/// Gives the guest `rights` in a view on a range, each page onto itself. After a change that takes
/// rights away, `forget` counts the generation on and returns when nobody uses an older one.
///
/// # Errors
/// `Refused` for a range that is not page aligned or not possible, `Full` when there is no room for
/// page tables; a part of the range may have the new rights then. What `forget` gives.
pub fn set(
    view: View,
    start: u64,
    length: u64,
    rights: Rights,
    forget: impl FnOnce(&AtomicU32) -> Result<(), CallStatus>,
) -> Result<(), CallStatus> {
    let space = SPACE.get().ok_or(CallStatus::WrongState)?;
    let nested = space.views.of(view);
    let end = start.checked_add(length).ok_or(CallStatus::Refused)?;
    let mut tables = nested.tables.lock();
    // The end of guards is not held up by them.
    let is_block = length >= PageSize::Large.bytes();
    let gives_more = view == View::Main && rights == Rights::ALL && is_block;
    tables.leave(if gives_more { RESERVE } else { 0 });
    let (mut flush, mut result) = (false, Ok(()));
    let mut next = start;
    while next < end {
        let start = next;
        let Part { end, hidden, uncached } = space.part(start, end);
        let length = end - start;
        next = end;
        let rights = Rights { uncached, ..rights };
        let own = Mapping { virt: start, phys: start, length, rights };
        let ones = Mapping { phys: space.shown, rights: Rights::READ, ..own };
        let change = match hidden {
            true => nested.table.set_all_to_one(&mut *tables, ones),
            false => nested.table.set(&mut *tables, own),
        };
        match change {
            Ok(change) => flush |= change.flush,
            Err(MapError::OutOfFrames) => result = Err(CallStatus::Full),
            Err(_) => result = Err(CallStatus::Refused),
        }
    }
    // What was done before a part that failed may have taken rights away too.
    if flush {
        // Late processors may walk the old tables, so these stay until a later change is seen by all.
        forget(&nested.generation)?;
        tables.release();
    }
    result
}
