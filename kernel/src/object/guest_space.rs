//! The guest space: the nested page table that all vCPUs share.
//!
//! Guest-physical addresses are host-physical ones. The pages of LUCOS's region are the exception:
//! all of them show one page of ones, read-only.

use super::{Buffer, need, reply, request};
use crate::arch::nmi::kick_while;
use crate::arch::processor::PerProcessor;
use crate::arch::vcpu;
use crate::fatal::Fatal;
use crate::memory::direct::{Pages, Tables};
use crate::memory::kernel_space::largest_page;
use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::boot::Span;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest;
use lucos_abi::object::{Done, SpaceRequest};
use lucos_paging::{MapError, Mapping, PageTable, Rights};
use spin::{Mutex, Once};

/// Frames that giving the guest more leaves to taking rights away: a guest that touches one far
/// address after the other must not use up what guards need. A guard needs three at most, and there
/// are 64 of them.
const RESERVE: u64 = 3 * 64;

struct GuestSpace {
    table: PageTable,
    tables: Mutex<Tables>,
    hidden: Span,
    /// Physical address of the page that the guest sees instead of LUCOS.
    shown: u64,
}

static SPACE: Once<GuestSpace> = Once::new();

/// Counts changes after which processors must forget translations.
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// Makes the empty space. `hidden` is LUCOS's region.
///
/// # Errors
/// The region is full.
pub fn start(hidden: Span) -> Result<(), Fatal> {
    let root = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
    let format = vcpu::extension()?.format;
    let shown = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
    let shown_phys = shown.phys();
    shown.leak().fill(0xff);
    SPACE.call_once(|| GuestSpace {
        table: PageTable { format, root, largest: largest_page() },
        tables: Mutex::default(),
        hidden,
        shown: shown_phys,
    });
    Ok(())
}

/// Physical address of the root table.
pub fn root() -> u64 {
    SPACE.get().map_or(0, |space| space.table.root)
}

/// The generation that translations must be of.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::SeqCst)
}

/// Serves a request that comes from processor `me`.
pub fn serve(
    me: u32,
    rights: manifest::Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    let SpaceRequest::Set { start, length, read, write, execute } = request(message)?;
    need(rights, manifest::Rights::WRITE)?;
    let rights = Rights { read, write, execute, ..Rights::NONE };
    set(me, start, length, rights)?;
    reply(&Done, buffer)
}

/// Gives the guest `rights` on a range, each page onto itself.
///
/// # Errors
/// `Refused` for a range that is not page aligned or not possible, `Full` when there is no room for
/// page tables; a part of the range may have the new rights then. `Late` when a processor may still
/// use rights that were taken away.
fn set(me: u32, start: u64, length: u64, rights: Rights) -> Result<(), CallStatus> {
    let space = SPACE.get().ok_or(CallStatus::WrongState)?;
    let end = start.checked_add(length).ok_or(CallStatus::Refused)?;
    let mut tables = space.tables.lock();
    let (first, beyond) = (start.max(space.hidden.start), end.min(space.hidden.end));
    let parts =
        [(start, end.min(first), false), (start.max(beyond), end, false), (first, beyond, true)];
    tables.leave(if rights == Rights::ALL { RESERVE } else { 0 });
    let (mut flush, mut result) = (false, Ok(()));
    for (start, end, hidden) in parts {
        let Some(length) = end.checked_sub(start) else { continue };
        let own = Mapping { virt: start, phys: start, length, rights };
        let ones = Mapping { phys: space.shown, rights: Rights::READ, ..own };
        let change = match hidden {
            true => space.table.set_all_to_one(&mut *tables, ones),
            false => space.table.set(&mut *tables, own),
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
        forget_everywhere(me)?;
        tables.release();
    }
    result
}

/// Time-stamp ticks within which processors leave the guest: about a second.
const DEADLINE: u64 = 3_000_000_000;

/// Returns when no processor can use an old translation: each has left the guest since the change,
/// and flushes before it enters again.
fn forget_everywhere(me: u32) -> Result<(), CallStatus> {
    let wanted = GENERATION.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
    let behind = |processor: &PerProcessor| {
        processor.in_guest.load(Ordering::SeqCst)
            && processor.space_generation.load(Ordering::SeqCst) != wanted
    };
    kick_while(me, DEADLINE, behind).ok_or(CallStatus::Late)
}
