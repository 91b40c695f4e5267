//! The guest space: the nested page tables that all vCPUs share, one for each view.
//!
//! Guest-physical addresses are host-physical ones. The pages of LUCOS's region are the exception:
//! in every view all of them show one page of ones, read-only.

use super::{Buffer, need, reply, request};
use crate::arch::nmi::kick_while;
use crate::arch::processor::PerProcessor;
use crate::arch::time::A_SECOND;
use crate::arch::vcpu;
use crate::fatal::Fatal;
use crate::memory::direct::{Pages, Tables};
use crate::memory::kernel_space::largest_page;
use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::boot::Span;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest;
use lucos_abi::object::{Done, SpaceRequest, View};
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
    /// Physical address of the page that the guest sees instead of LUCOS.
    shown: u64,
}

static SPACE: Once<GuestSpace> = Once::new();

/// Makes the empty views. `hidden` is LUCOS's region.
///
/// # Errors
/// The region is full.
pub fn start(hidden: Span) -> Result<(), Fatal> {
    let format = vcpu::extension()?.format;
    let views = EachView { main: Nested::new(format)?, confined: Nested::new(format)? };
    let shown = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
    let shown_phys = shown.phys();
    shown.leak().fill(0xff);
    SPACE.call_once(|| GuestSpace { views, hidden, shown: shown_phys });
    Ok(())
}

impl Nested {
    fn new(format: Format) -> Result<Self, Fatal> {
        let root = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
        let table = PageTable { format, root, largest: largest_page() };
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

/// Serves a request that comes from processor `me`.
pub fn serve(
    me: u32,
    rights: manifest::Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    let SpaceRequest::Set { view, start, length, read, write, execute } = request(message)?;
    need(rights, manifest::Rights::WRITE)?;
    let rights = Rights { read, write, execute, ..Rights::NONE };
    set(me, view, start, length, rights)?;
    reply(&Done, buffer)
}

/// Gives the guest `rights` in a view on a range, each page onto itself.
///
/// # Errors
/// `Refused` for a range that is not page aligned or not possible, `Full` when there is no room for
/// page tables; a part of the range may have the new rights then. `Late` when a processor may still
/// use rights that were taken away.
fn set(me: u32, view: View, start: u64, length: u64, rights: Rights) -> Result<(), CallStatus> {
    let space = SPACE.get().ok_or(CallStatus::WrongState)?;
    let nested = space.views.of(view);
    let end = start.checked_add(length).ok_or(CallStatus::Refused)?;
    let mut tables = nested.tables.lock();
    let (first, beyond) = (start.max(space.hidden.start), end.min(space.hidden.end));
    let parts =
        [(start, end.min(first), false), (start.max(beyond), end, false), (first, beyond, true)];
    // The end of guards is not held up by them.
    let is_block = length >= PageSize::Large.bytes();
    let gives_more = view == View::Main && rights == Rights::ALL && is_block;
    tables.leave(if gives_more { RESERVE } else { 0 });
    let (mut flush, mut result) = (false, Ok(()));
    for (start, end, hidden) in parts {
        let Some(length) = end.checked_sub(start) else { continue };
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
        forget_everywhere(me, view, &nested.generation)?;
        tables.release();
    }
    result
}

/// Returns when no processor can use an old translation of the view: each that was in the guest in it
/// has left since the change, and flushes before it enters again.
fn forget_everywhere(me: u32, view: View, generation: &AtomicU32) -> Result<(), CallStatus> {
    let wanted = generation.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
    let behind = |processor: &PerProcessor| {
        processor.in_view.of(view).load(Ordering::SeqCst)
            && processor.generation.of(view).load(Ordering::SeqCst) != wanted
    };
    kick_while(me, A_SECOND, behind).ok_or(CallStatus::Late)
}
