//! LOG.

use lucos_abi::message::PAYLOAD_MAX;
use lucos_guest_interface::call::MAX_BUFFER_LENGTH;
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_service::AddressSpace;

use crate::answer::{Answer, Arguments};
use crate::buffer::copy_out;
use crate::platform::Platform;

/// Copies a part of the log's stream to the guest.
///
/// # Errors
/// `Length`, `Address`
pub fn log<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    [_, offset, address, length]: Arguments,
) -> Result<Answer, Fault> {
    let room = usize::try_from(length).unwrap_or(usize::MAX);
    if room == 0 || room > MAX_BUFFER_LENGTH {
        return Err(Fault::new(ErrorCode::Length, length));
    }
    let mut part = [0; PAYLOAD_MAX];
    let mut copied = 0;
    let mut first = None;
    let mut next = offset;
    while copied < room {
        let wanted = part.get_mut(..PAYLOAD_MAX.min(room - copied)).unwrap_or_default();
        let (start, count) = platform.read_log(next, wanted);
        let moved_on = first.is_some() && start != next;
        let bytes = wanted.get(..count).unwrap_or_default();
        if moved_on || bytes.is_empty() {
            // The ring overtook us, or that was all: what was copied is in one piece.
            first = first.or(Some(start));
            next = if moved_on { next } else { start };
            break;
        }
        copy_out(platform, space, address.wrapping_add(copied as u64), bytes)?;
        first = first.or(Some(start));
        copied += bytes.len();
        next = start.saturating_add(bytes.len() as u64);
    }
    Ok(Answer { rax: copied as u64, results: [Some(next), first, None] })
}
