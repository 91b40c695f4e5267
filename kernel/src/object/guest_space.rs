//! The guest space: the nested page tables of all views.

use super::{Buffer, need, reply, request};
use crate::arch::kick::kick_while;
use crate::arch::processor::PerProcessor;
use crate::arch::time::A_SECOND;
use crate::memory::nested;
use core::sync::atomic::{AtomicU32, Ordering};
use lucos_abi::call::CallStatus;
use lucos_abi::manifest;
use lucos_abi::object::{Done, SpaceRequest, View};
use lucos_paging::Rights;

/// Serves a request that comes from processor `me`: `Late` when a processor may still use rights that
/// were taken away.
pub fn serve(
    me: u32,
    rights: manifest::Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    let SpaceRequest::Set { view, start, length, read, write, execute } = request(message)?;
    need(rights, manifest::Rights::WRITE)?;
    let rights = Rights { read, write, execute, ..Rights::NONE };
    nested::set(view, start, length, rights, |generation| forget_everywhere(me, view, generation))?;
    reply(&Done, buffer)
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
