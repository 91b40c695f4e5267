//! Segments, task state and interrupt table of a processor.

use super::processor::PerProcessor;
use crate::fatal::Fatal;
use crate::memory::kernel_space::allocate_stack;
use alloc::boxed::Box;
use core::mem::size_of;
use core::ptr::addr_of;
use spin::Once;
use x86::Ring;
use x86::bits64::segmentation::load_cs;
use x86::bits64::task::TaskStateSegment;
use x86::dtables::{DescriptorTablePointer, lgdt, lidt, load_ldtr};
use x86::segmentation::{SegmentSelector, load_ds, load_es, load_fs, load_gs, load_ss};
use x86::task::load_tr;

const NOTHING: SegmentSelector = SegmentSelector::from_raw(0);
/// Ring-0 code.
pub const KERNEL_CODE: SegmentSelector = SegmentSelector::new(1, Ring::Ring0);
/// Ring-0 data.
pub const KERNEL_DATA: SegmentSelector = SegmentSelector::new(2, Ring::Ring0);
/// Ring-3 data.
pub const USER_DATA: SegmentSelector = SegmentSelector::new(3, Ring::Ring3);
/// Ring-3 code.
pub const USER_CODE: SegmentSelector = SegmentSelector::new(4, Ring::Ring3);
/// The task state.
pub const TASK_STATE: SegmentSelector = SegmentSelector::new(5, Ring::Ring0);

/// The stack of NMIs, by its number in gates.
const NMI_STACK: u64 = 1;
/// That of machine checks, and of faults after which LUCOS cannot go on.
const FAULT_STACK: u64 = 2;
/// That of INIT, which may come while an NMI is handled.
const INIT_STACK: u64 = 3;

/// Pages of the stack of faults.
const FAULT_PAGES: u64 = 4;
const STACK_SIZE: usize = 4096;

/// A stack for NMIs and INIT, which come at any time and only count. Its last words hold the
/// processor's [`PerProcessor`], so that the entry finds it without any register.
#[repr(C, align(16))]
struct TrapStack {
    space: [u8; STACK_SIZE],
    shared: *const PerProcessor,
    padding: u64,
}

/// The descriptor tables of one processor; they live for ever.
#[repr(C, align(16))]
pub struct Descriptors {
    gdt: [u64; 7],
    state: TaskStateSegment,
    stacks: [TrapStack; 2],
}

impl Descriptors {
    /// Tables for the processor with this shared part.
    ///
    /// # Errors
    /// The region is full.
    pub fn new(shared: &'static PerProcessor) -> Result<&'static mut Self, Fatal> {
        let stack = || TrapStack { space: [0; STACK_SIZE], shared, padding: 0 };
        let tables = Box::leak(Box::new(Self {
            gdt: [
                0,
                0x00af_9b00_0000_ffff, // ring-0 code, 64 bit
                0x00cf_9300_0000_ffff, // ring-0 data
                0x00cf_f300_0000_ffff, // ring-3 data
                0x00af_fb00_0000_ffff, // ring-3 code, 64 bit
                0,
                0,
            ],
            state: TaskStateSegment::new(),
            stacks: [stack(), stack()],
        }));
        let [nmi, init] = tables.stacks.each_ref().map(|stack| &raw const stack.shared as u64);
        tables.state.ist = [nmi, allocate_stack(FAULT_PAGES)?, init, 0, 0, 0, 0];
        tables.state.iomap_base = size_of::<TaskStateSegment>() as u16;
        let base = &raw const tables.state as u64;
        let limit = size_of::<TaskStateSegment>() as u64 - 1;
        // An available 64-bit task state segment (type 9) takes two slots.
        tables.gdt[5] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        tables.gdt[6] = base >> 32;
        Ok(tables)
    }

    /// Makes this processor use the tables.
    pub fn load(&'static mut self) -> &'static mut Self {
        // SAFETY: both tables live for ever. The code segment equals the one in use (64-bit, ring
        // 0), and data segments are not used in 64-bit mode.
        unsafe {
            lgdt(&DescriptorTablePointer::new(&self.gdt));
            lidt(&DescriptorTablePointer::new(interrupt_table()));
            load_ds(KERNEL_DATA);
            load_es(KERNEL_DATA);
            load_ss(KERNEL_DATA);
            load_fs(NOTHING);
            load_gs(NOTHING);
            load_ldtr(NOTHING);
            load_cs(KERNEL_CODE);
            load_tr(TASK_STATE);
        }
        self
    }

    /// Where descriptor table, interrupt table and task state are.
    pub fn places(&self) -> [u64; 3] {
        let interrupts = &raw const *interrupt_table() as u64;
        [&raw const self.gdt as u64, interrupts, &raw const self.state as u64]
    }

    /// The word that says where a trap from ring 3 puts the interrupted state.
    pub fn trap_stack(&mut self) -> *mut u64 {
        (&raw mut self.state.rsp).cast()
    }
}

/// Gives the descriptor table its limit back, of which an exit of VT-x knows nothing: behind the table
/// lies what a task has in its registers.
pub fn limit_again(gdt: u64) {
    let table = DescriptorTablePointer::<[u64; 7]> {
        limit: size_of::<[u64; 7]>() as u16 - 1,
        base: gdt as *const _,
    };
    // SAFETY: the table is the one in use (`Descriptors::places`), and lives for ever.
    unsafe { lgdt(&table) };
}

// What gates lead to, in `trap` and `nmi`.
unsafe extern "C" {
    static trap_entries: [u8; 32 * 16];
    static trap_call: [u8; 1];
    static trap_debug: [u8; 1];
    static trap_nmi: [u8; 1];
    static trap_machine_check: [u8; 1];
    static trap_init: [u8; 1];
}

/// The interrupt table: gates (Intel SDM vol. 3, 6.14.1).
#[repr(C, align(16))]
struct Gates([[u64; 2]; 256]);

/// The interrupt table, the same for every processor.
fn interrupt_table() -> &'static Gates {
    static GATES: Once<Gates> = Once::new();
    GATES.call_once(gates)
}

fn gates() -> Gates {
    let entries = addr_of!(trap_entries) as u64;
    let mut gates = [[0; 2]; 256];
    for (vector, slot) in gates.iter_mut().enumerate().take(32) {
        let entry = entries + vector as u64 * 16;
        let (target, stack) = match vector {
            1 => (addr_of!(trap_debug) as u64, 0),
            2 => (addr_of!(trap_nmi) as u64, NMI_STACK),
            8 => (entry, FAULT_STACK),
            18 => (addr_of!(trap_machine_check) as u64, FAULT_STACK),
            30 => (addr_of!(trap_init) as u64, INIT_STACK),
            _ => (entry, 0),
        };
        *slot = gate(target, stack, 0);
    }
    if let Some(slot) = gates.get_mut(usize::from(lucos_abi::call::VECTOR)) {
        *slot = gate(addr_of!(trap_call) as u64, 0, 3);
    }
    Gates(gates)
}

/// An interrupt gate: target, interrupt stack, lowest ring that may use it by an instruction.
fn gate(target: u64, stack: u64, ring: u64) -> [u64; 2] {
    let low = target & 0xffff
        | u64::from(KERNEL_CODE.bits()) << 16
        | stack << 32
        | 0x8e << 40
        | ring << 45
        | (target >> 16 & 0xffff) << 48;
    [low, target >> 32]
}

/// Resets the processor by a fault that it cannot handle.
pub fn triple_fault() -> ! {
    let nothing = DescriptorTablePointer::<[u64; 2]> { limit: 0, base: core::ptr::null() };
    // SAFETY: this is meant to be the end: with an empty interrupt table the invalid instruction
    // shuts the processor down, which resets a PC.
    unsafe {
        lidt(&nothing);
        core::arch::asm!("ud2", options(noreturn));
    }
}
