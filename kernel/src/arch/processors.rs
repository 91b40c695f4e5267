//! Starting the other processors.
//!
//! Each begins in real mode on a page below 1 MiB, goes to 64-bit mode in one step, and jumps to
//! the kernel. One starts at a time, so one page and one stack at a time suffice.

use super::processor::{self, PerProcessor};
use super::{apic, control, wait};
use crate::fatal::Fatal;
use crate::memory::direct::{DIRECT, Pages};
use crate::memory::{PAGE, guest_ram, kernel_space};
use alloc::boxed::Box;
use core::arch::global_asm;
use core::sync::atomic::Ordering;
use lucos_abi::boot::{BootRecord, MemoryKind};
use spin::Once;

global_asm!(
    ".code16",
    ".balign 16",
    ".global start_page, start_page_end, start_page_long",
    "start_page:",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    "lgdtd [{gdt_pointer}]",
    "mov eax, 0x20", // CR4.PAE
    "mov cr4, eax",
    "mov eax, [{root}]",
    "mov cr3, eax",
    "mov ecx, 0xc0000080",
    "rdmsr",
    "or eax, 0x900", // EFER.LME, EFER.NXE
    "wrmsr",
    "mov eax, 0x80010001", // CR0.PG, WP, PE
    "mov cr0, eax",
    "jmp fword ptr [{far_target}]",
    ".code64",
    "start_page_long:",
    "mov ax, 0x10",
    "mov ds, ax",
    "mov es, ax",
    "mov ss, ax",
    "xor eax, eax",
    "mov fs, ax",
    "mov gs, ax",
    "lea rbx, [rip + start_page]",
    "mov rsp, [rbx + {stack}]",
    "mov rdi, [rbx + {argument}]",
    "mov rax, [rbx + {target}]",
    "call rax",
    "ud2",
    "start_page_end:",
    gdt_pointer = const GDT_POINTER,
    root = const ROOT,
    far_target = const FAR_TARGET,
    stack = const STACK,
    argument = const ARGUMENT,
    target = const TARGET,
);

// What the code finds on its page, by offset.
const GDT: usize = 0xf00;
const GDT_POINTER: usize = 0xf20;
const FAR_TARGET: usize = 0xf28;
const ROOT: usize = 0xf30;
const STACK: usize = 0xf38;
const ARGUMENT: usize = 0xf40;
const TARGET: usize = 0xf48;

unsafe extern "C" {
    static start_page: [u8; 0];
    static start_page_long: [u8; 0];
    static start_page_end: [u8; 0];
}

/// Bytes of stack of a processor.
const STACK_PAGES: u64 = 8;

/// The function that a started processor runs, with its number.
pub type Main = fn(&'static PerProcessor) -> !;

static MAIN: Once<Main> = Once::new();

/// Starts every processor but this one (number 0).
///
/// # Errors
/// There is no low page, or a processor does not come.
pub fn start_others(record: &BootRecord, main: Main) -> Result<(), Fatal> {
    if processor::all().len() < 2 {
        return Ok(());
    }
    MAIN.call_once(|| main);
    let page = low_page(record).ok_or(Fatal::NoLowMemory)?;
    kernel_space::map_start_page(page)?;
    for processor in processor::all().iter().skip(1) {
        start_one(page, processor)?;
    }
    kernel_space::unmap_start_page(page)
}

fn start_one(page: u64, processor: &'static PerProcessor) -> Result<(), Fatal> {
    let stack = Pages::allocate(STACK_PAGES).ok_or(Fatal::OutOfMemory)?;
    let top = DIRECT + stack.phys() + STACK_PAGES * PAGE;
    let content = fill(page, top, processor);
    guest_ram::write(page, &*content).ok_or(Fatal::NoLowMemory)?;
    apic::send_init(processor.apic_id);
    wait(20_000_000);
    for _ in 0..2 {
        apic::send_start_up(processor.apic_id, page);
        for _ in 0..1_000 {
            if processor.alive.load(Ordering::SeqCst) {
                return Ok(());
            }
            wait(1_000_000);
        }
    }
    Err(Fatal::ProcessorDead(processor.apic_id))
}

/// The highest free page below 640 KiB that holds nothing of the bundle or of UEFI's tables.
fn low_page(record: &BootRecord) -> Option<u64> {
    let free = |page: u64| {
        let in_ram = record.memory.iter().any(|range| {
            range.kind == MemoryKind::Ram && range.start <= page && page + PAGE <= range.end()
        });
        let meets = |start, length| start < page + PAGE && page < start + length;
        let mut modules = record.modules.iter();
        let in_bundle = modules.any(|module| meets(module.start, module.length));
        let in_efi =
            record.efi.is_some_and(|efi| meets(efi.memory_map, efi.memory_map_length.into()));
        in_ram && !in_bundle && !in_efi
    };
    (1..0xa0).rev().map(|number| number * PAGE).find(|page| free(*page))
}

/// The page: code and what it finds there.
fn fill(page: u64, stack: u64, processor: &'static PerProcessor) -> Box<[u8; 4096]> {
    let mut content = Box::new([0; 4096]);
    let start = &raw const start_page as usize;
    let length = &raw const start_page_end as usize - start;
    // SAFETY: the linker put the code between the two symbols; it is part of the image.
    let code = unsafe { core::slice::from_raw_parts(start as *const u8, length) };
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = content.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, code);
    let gdt: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    for (index, entry) in gdt.iter().enumerate() {
        put(GDT + index * 8, &entry.to_le_bytes());
    }
    put(GDT_POINTER, &(size_of_val(&gdt) as u16 - 1).to_le_bytes());
    put(GDT_POINTER + 2, &(page as u32 + GDT as u32).to_le_bytes());
    let long = page as u32 + (&raw const start_page_long as usize - start) as u32;
    put(FAR_TARGET, &long.to_le_bytes());
    put(FAR_TARGET + 4, &0x08u16.to_le_bytes());
    put(ROOT, &(control::root() as u32).to_le_bytes());
    put(STACK, &stack.to_le_bytes());
    put(ARGUMENT, &u64::from(processor.number).to_le_bytes());
    put(TARGET, &(arrive as extern "C" fn(u64) -> ! as usize as u64).to_le_bytes());
    content
}

/// First Rust code of a started processor.
extern "C" fn arrive(number: u64) -> ! {
    let shared = u32::try_from(number).ok().and_then(processor::get);
    match (shared, MAIN.get()) {
        (Some(shared), Some(main)) => main(shared),
        _ => super::end_machine(None, 0),
    }
}
