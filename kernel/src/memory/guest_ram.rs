//! The guest's memory, as the kernel reads and writes it for tasks: whatever the nested tables give
//! the guest, which is everything but LUCOS's own region. None of it is mapped in the kernel but the
//! page that is being copied.

use super::{PAGE, slot};
use crate::fatal::Fatal;
use lucos_abi::boot::Span;
use spin::Once;

struct Bounds {
    /// LUCOS's region.
    hidden: Span,
    /// First address that the processor cannot form.
    end: u64,
}

static GUEST: Once<Bounds> = Once::new();

/// Takes note of what is not the guest's, before there are tasks.
///
/// # Errors
/// The region is full.
pub fn start(hidden: Span, physical_bits: u8) -> Result<(), Fatal> {
    GUEST.call_once(|| Bounds { hidden, end: 1 << physical_bits });
    slot::start()
}

/// The processor can form the addresses, and none is LUCOS's.
fn is_guests(start: u64, length: u64) -> bool {
    let Some((guest, end)) = GUEST.get().zip(start.checked_add(length)) else {
        return false;
    };
    let apart = end <= guest.hidden.start || guest.hidden.end <= start;
    apart && end <= guest.end
}

/// Writes bytes; `None` when they are not all the guest's.
pub fn write(gpa: u64, data: &[u8]) -> Option<()> {
    is_guests(gpa, data.len() as u64).then(|| slot::write(gpa, data))?
}

/// Reads bytes; `None` when they are not all the guest's.
pub fn read(gpa: u64, buffer: &mut [u8]) -> Option<()> {
    is_guests(gpa, buffer.len() as u64).then(|| slot::read(gpa, buffer))?
}

/// Copies as if through a buffer; `None` when the ranges are not all the guest's.
pub fn copy(from: u64, to: u64, length: u64) -> Option<()> {
    (is_guests(from, length) && is_guests(to, length)).then_some(())?;
    let mut buffer = [0; PAGE as usize];
    let mut done = 0;
    while done < length {
        let part = (length - done).min(PAGE);
        // What still has to be read must not be written before.
        let at = if to < from { done } else { length - done - part };
        let buffer = buffer.get_mut(..part as usize)?;
        slot::read(from + at, buffer)?;
        slot::write(to + at, buffer)?;
        done += part;
    }
    Some(())
}
