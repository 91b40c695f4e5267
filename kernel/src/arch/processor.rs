//! What other processors, and the NMI handler, may see and change of a processor.

use super::nmi::Nmis;
use crate::memory::nested::EachView;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use lucos_abi::object::{COUNTERS, Counter, FlatStart, View};
use lucos_abi::registers::Registers;
use spin::{Mutex, Once};

/// The shared part of a processor.
#[repr(C)]
#[derive(Debug, Default)]
pub struct PerProcessor {
    /// Its NMIs. The first field: the NMI entry has the address of the whole.
    pub nmis: Nmis,
    /// Number of the processor, from 0.
    pub number: u32,
    /// Its local APIC id.
    pub apic_id: u32,
    /// It has reached its main loop.
    pub alive: AtomicBool,
    /// Its vCPU is in the guest, or about to be, in this view.
    pub in_view: EachView<AtomicBool>,
    /// Which generation of the view its translations are of.
    pub generation: EachView<AtomicU32>,
    /// A start that its vCPU has not taken yet.
    pub start: Mutex<Option<FlatStart>>,
    /// The registers of its vCPU as of the last time it left the guest.
    pub snapshot: Mutex<Option<Registers>>,
    /// Exit counters.
    pub counts: ExitCounts,
}

impl PerProcessor {
    /// Its vCPU is in the guest, or about to be.
    pub fn is_in_guest(&self) -> bool {
        let is_in = |view| self.in_view.of(view).load(Ordering::SeqCst);
        is_in(View::Main) || is_in(View::Confined)
    }
}

// The NMI entry takes the address of the whole for that of the first field.
const _: () = assert!(core::mem::offset_of!(PerProcessor, nmis) == 0);

/// Exit counters of a processor.
#[derive(Debug, Default)]
pub struct ExitCounts([AtomicU64; COUNTERS]);

impl ExitCounts {
    /// Counts one.
    pub fn add(&self, counter: Counter) {
        if let Some(count) = self.0.get(counter as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds these to a sum.
    pub fn add_to(&self, sum: &mut [u64; COUNTERS]) {
        for (sum, count) in sum.iter_mut().zip(&self.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

static ALL: Once<Vec<&'static PerProcessor>> = Once::new();

/// Makes the shared parts, in the order of processor numbers. Only the first call counts.
pub fn create(apic_ids: &[u32]) {
    ALL.call_once(|| {
        let create = |(&apic_id, number)| {
            &*Box::leak(Box::new(PerProcessor { number, apic_id, ..PerProcessor::default() }))
        };
        apic_ids.iter().zip(0..).map(create).collect()
    });
}

/// All processors.
pub fn all() -> &'static [&'static PerProcessor] {
    ALL.get().map_or(&[], Vec::as_slice)
}

/// The processor with this number.
pub fn get(number: u32) -> Option<&'static PerProcessor> {
    all().get(number as usize).copied()
}

/// All processors but one.
pub fn others(me: u32) -> impl Iterator<Item = &'static PerProcessor> {
    all().iter().copied().filter(move |processor| processor.number != me)
}
