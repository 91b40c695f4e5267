//! The other processors. The boot stub has started them; they wait at its gate.

use super::processor::{self, PerProcessor};
use super::time::wait;
use crate::boot;
use crate::fatal::Fatal;
use crate::memory::direct::allocate_stack;
use crate::memory::guest_ram;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use lucos_abi::boot::Gate;

/// Pages of a processor's stack.
const STACK_PAGES: u64 = 8;

/// Lets every processor but this one (number 0) in, one by one. The gate is in RAM that is the
/// guest's later, at physical address `gate`.
///
/// # Errors
/// The region is full, or a processor does not come.
pub fn let_in(gate: u64) -> Result<(), Fatal> {
    for processor in processor::all().iter().skip(1) {
        let_one_in(gate, processor)?;
    }
    Ok(())
}

fn let_one_in(gate: u64, processor: &'static PerProcessor) -> Result<(), Fatal> {
    let put = |field: usize, value: &[u8]| {
        guest_ram::write(gate + field as u64, value).ok_or(Fatal::BadBootRecord)
    };
    let entry = arrive as extern "C" fn(u32) -> ! as usize as u64;
    put(offset_of!(Gate, stack), &allocate_stack(STACK_PAGES)?.to_le_bytes())?;
    put(offset_of!(Gate, entry), &entry.to_le_bytes())?;
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

/// First code of a processor in the kernel, still on the stub's tables.
extern "C" fn arrive(number: u32) -> ! {
    match processor::get(number) {
        Some(shared) => boot::start_other(shared),
        None => super::end_machine(None, 0),
    }
}
