//! The other processors. The boot stub has started them; they wait at its gate.

use super::processor::{self, PerProcessor};
use super::time::wait;
use crate::fatal::Fatal;
use crate::memory::guest_ram;
use crate::memory::kernel_space::allocate_stack;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use lucos_abi::boot::Gate;

/// Pages of a processor's stack.
const STACK_PAGES: u64 = 8;

/// First function of a processor in the kernel.
pub type Arrival = extern "C" fn(u32) -> !;

/// Lets every processor but this one (number 0) in, one by one, to run `entry` with its number, still on
/// the stub's tables. The gate is in RAM that is the guest's later, at physical address `gate`.
///
/// # Errors
/// The region is full, or a processor does not come.
pub fn let_in(gate: u64, entry: Arrival) -> Result<(), Fatal> {
    processor::all().iter().skip(1).try_for_each(|other| let_one_in(gate, entry, other))
}

fn let_one_in(gate: u64, entry: Arrival, processor: &PerProcessor) -> Result<(), Fatal> {
    let put = |field: usize, value: &[u8]| {
        guest_ram::write(gate + field as u64, value).ok_or(Fatal::BadBootRecord)
    };
    put(offset_of!(Gate, stack), &allocate_stack(STACK_PAGES)?.to_le_bytes())?;
    put(offset_of!(Gate, entry), &(entry as usize as u64).to_le_bytes())?;
    fence(Ordering::SeqCst);
    put(offset_of!(Gate, next), &processor.number.to_le_bytes())?;
    for _ in 0..2_000 {
        if processor.alive.load(Ordering::SeqCst) {
            return Ok(());
        }
        wait(1_000_000);
    }
    Err(Fatal::ProcessorDead(processor.apic_id))
}
