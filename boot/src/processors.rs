//! Starting the other processors.
//!
//! Each begins in real mode on a page below 1 MiB, goes to 64-bit mode in one step, and waits on the
//! stub's own tables until the kernel lets it in (see [`lucos_abi::boot::Gate`]). They start one by
//! one, so one page suffices. It gets its bytes back: what lies there may be somebody's.

use core::arch::global_asm;
use core::arch::x86_64::_rdtsc;
use core::mem::offset_of;
use core::ptr::copy_nonoverlapping;
use core::slice;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lucos_abi::boot::Gate;
use lucos_abi::layout::PAGE;
use lucos_boot::error::BootError;
use lucos_system_info::{MemoryKind, MemoryRange};
use x86::msr::{IA32_APIC_BASE, IA32_X2APIC_ICR, rdmsr, wrmsr};

use crate::load::REACH;

global_asm!(
    ".section .text.processor, \"ax\", @progbits",
    ".code16",
    ".global processor_start, processor_start_end",
    "processor_start:",
    ".byte 0xeb, 6", // a jump over the GDT's limit and address, which lie at 2
    ".short 23; .long boot_gdt",
    "cli; cld",
    "mov ax, cs; mov ds, ax",
    "lgdtd [2]",
    // CR4.PAE, EFER.LME, then CR0.PG and PE: 64-bit mode, with the stub's own tables.
    "mov eax, 0x20; mov cr4, eax",
    "mov eax, offset boot_root; mov cr3, eax",
    "mov ecx, 0xc0000080; rdmsr; or eax, 0x100; wrmsr",
    "mov eax, 0x80000011; mov cr0, eax",
    ".byte 0x66, 0xea; .long processor_long; .short 8", // a far jump
    "processor_start_end:",
    ".code64",
    "processor_long:",
    "mov eax, 16; mov ds, eax; mov es, eax; mov ss, eax",
    "xor eax, eax; mov fs, eax; mov gs, eax",
    "mov edi, [{starting}]",
    "mov [{waiting}], edi",
    "2: pause; cmp [{gate} + {next}], edi; jne 2b",
    "mov rsp, [{gate} + {stack}]",
    "call [{gate} + {entry}]",
    "ud2",
    ".text",
    starting = sym STARTING,
    waiting = sym WAITING,
    gate = sym GATE,
    next = const offset_of!(Gate, next),
    stack = const offset_of!(Gate, stack),
    entry = const offset_of!(Gate, entry),
);

unsafe extern "C" {
    static processor_start: [u8; 0];
    static processor_start_end: [u8; 0];
}

/// Number of the processor that starts, and of the last one that has come.
static STARTING: AtomicU32 = AtomicU32::new(0);
static WAITING: AtomicU32 = AtomicU32::new(0);
static GATE: Gate =
    Gate { stack: AtomicU64::new(0), entry: AtomicU64::new(0), next: AtomicU32::new(0) };

const INIT: u32 = 5 << 8 | 1 << 14;
const START_UP: u32 = 6 << 8 | 1 << 14;
/// APIC ids up to here can be named through the registers in memory.
const OLD_APIC_ID_MAX: u32 = 254;

/// Starts all processors of `apic_ids` but the first, which runs this. Returns the physical address
/// of the [`Gate`] at which they wait.
///
/// # Errors
/// There is no page for the start code, a processor cannot be named, or one does not come.
pub fn start_others(apic_ids: &[u32], memory: &[MemoryRange]) -> Result<u64, BootError> {
    let apic = Apic::find()?;
    let page = low_page(memory).ok_or(BootError::NoLowMemory)?;
    // SAFETY: the page is RAM that the stub's tables map; nobody else runs.
    let place = unsafe { slice::from_raw_parts_mut(page as *mut u8, PAGE as usize) };
    let length = &raw const processor_start_end as usize - &raw const processor_start as usize;
    let place = place.get_mut(..length).ok_or(BootError::NoLowMemory)?;
    let mut before = [0; 256];
    let before = before.get_mut(..length).ok_or(BootError::NoLowMemory)?;
    before.copy_from_slice(place);
    // SAFETY: the linker put the code between the two symbols; the page has room for it.
    unsafe { copy_nonoverlapping((&raw const processor_start).cast(), place.as_mut_ptr(), length) };
    for (&apic_id, number) in apic_ids.iter().zip(0..).skip(1) {
        start_one(&apic, apic_id, number, page)?;
    }
    place.copy_from_slice(before);
    Ok(&raw const GATE as u64)
}

/// A page of RAM below 640 KiB.
fn low_page(memory: &[MemoryRange]) -> Option<u64> {
    let is_ram = |page: &u64| {
        memory.iter().any(|range| {
            range.kind == MemoryKind::Ram && range.start <= *page && page + PAGE <= range.end()
        })
    };
    (1..0xa0).rev().map(|number| number * PAGE).find(is_ram)
}

/// INIT, then start-up, twice if need be (Intel SDM vol. 3, 9.4.4.1).
fn start_one(apic: &Apic, apic_id: u32, number: u32, page: u64) -> Result<(), BootError> {
    STARTING.store(number, Ordering::SeqCst);
    apic.send(apic_id, INIT)?;
    wait(20_000_000);
    for _ in 0..2 {
        apic.send(apic_id, START_UP | (page / PAGE) as u32)?;
        for _ in 0..1_000 {
            if WAITING.load(Ordering::SeqCst) == number {
                return Ok(());
            }
            wait(1_000_000);
        }
    }
    Err(BootError::ProcessorDead(apic_id))
}

/// Waits for so many time-stamp ticks.
fn wait(ticks: u64) {
    // SAFETY: RDTSC only reads a counter.
    let now = || unsafe { _rdtsc() };
    let start = now();
    while now().wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}

/// The command register of this processor's local APIC.
enum Apic {
    /// At this physical address.
    Memory(u64),
    /// The x2APIC interface.
    Msr,
}

impl Apic {
    fn find() -> Result<Self, BootError> {
        const X2APIC: u64 = 1 << 10;
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        // SAFETY: reading the APIC base has no effect.
        let base = unsafe { rdmsr(IA32_APIC_BASE) };
        match base & ADDRESS {
            _ if base & X2APIC != 0 => Ok(Self::Msr),
            address if address < REACH => Ok(Self::Memory(address)),
            address => Err(BootError::OutOfReach(address)),
        }
    }

    /// Sends a command. Through the registers in memory not every processor can be named, and that
    /// is also the interface for kicks as long as the guest does not switch to the other.
    fn send(&self, apic_id: u32, command: u32) -> Result<(), BootError> {
        const LOW: u64 = 0x300;
        const HIGH: u64 = 0x310;
        const PENDING: u32 = 1 << 12;
        match self {
            // SAFETY: INIT and start-up go to processors on which nothing runs yet.
            Self::Msr => unsafe {
                wrmsr(IA32_X2APIC_ICR, u64::from(apic_id) << 32 | u64::from(command));
            },
            Self::Memory(_) if apic_id > OLD_APIC_ID_MAX => {
                return Err(BootError::ApicId(apic_id));
            }
            // SAFETY: as above; the registers are there, and mapped by the stub's tables.
            Self::Memory(page) => unsafe {
                ((page + HIGH) as *mut u32).write_volatile(apic_id << 24);
                ((page + LOW) as *mut u32).write_volatile(command);
                while ((page + LOW) as *const u32).read_volatile() & PENDING != 0 {
                    core::hint::spin_loop();
                }
            },
        }
        Ok(())
    }
}
