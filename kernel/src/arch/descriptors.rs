//! Segments, task state and interrupt table of a processor.

use super::processor::PerProcessor;
use super::trap;
use alloc::boxed::Box;
use core::arch::asm;
use core::mem::size_of;

/// Selector of ring-0 code.
pub const KERNEL_CODE: u16 = 0x08;
/// Selector of ring-0 data.
pub const KERNEL_DATA: u16 = 0x10;
/// Selector of ring-3 data.
pub const USER_DATA: u16 = 0x18 | 3;
/// Selector of ring-3 code.
pub const USER_CODE: u16 = 0x20 | 3;
const TASK_STATE: u16 = 0x28;

const STACK_SIZE: usize = 4096;

/// 64-bit task state segment (Intel SDM vol. 3, 8.7).
#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    /// Stack for traps from ring 3: the end of the running thread's context.
    rsp0: u64,
    rsp1: u64,
    rsp2: u64,
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map: u16,
}

/// A stack for traps that may come at any time. Its last words hold the processor's
/// [`PerProcessor`], so that the NMI entry finds it without any register.
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
    state: TaskState,
    nmi_stack: TrapStack,
    fault_stack: TrapStack,
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

impl Descriptors {
    /// Tables for the processor with this shared part.
    pub fn new(shared: &'static PerProcessor) -> Box<Self> {
        let stack = || TrapStack { space: [0; STACK_SIZE], shared, padding: 0 };
        let mut tables = Box::new(Self {
            gdt: [
                0,
                0x00af_9b00_0000_ffff, // ring-0 code, 64 bit
                0x00cf_9300_0000_ffff, // ring-0 data
                0x00cf_f300_0000_ffff, // ring-3 data
                0x00af_fb00_0000_ffff, // ring-3 code, 64 bit
                0,
                0,
            ],
            state: TaskState {
                reserved0: 0,
                rsp0: 0,
                rsp1: 0,
                rsp2: 0,
                reserved1: 0,
                ist: [0; 7],
                reserved2: 0,
                reserved3: 0,
                io_map: size_of::<TaskState>() as u16,
            },
            nmi_stack: stack(),
            fault_stack: stack(),
        });
        let nmi_top = &raw const tables.nmi_stack.shared as u64;
        let fault_top = &raw const tables.fault_stack.shared as u64;
        tables.state.ist = [nmi_top, fault_top, 0, 0, 0, 0, 0];
        let base = &raw const tables.state as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        // An available 64-bit task state segment (type 9) takes two slots.
        tables.gdt[5] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        tables.gdt[6] = base >> 32;
        tables
    }

    /// Makes this processor use the tables.
    pub fn load(&'static mut self) -> &'static mut Self {
        let gdt = TablePointer {
            limit: size_of::<[u64; 7]>() as u16 - 1,
            base: self.gdt.as_ptr() as u64,
        };
        let idt = trap::table();
        let idt = TablePointer { limit: idt.limit, base: idt.base };
        // SAFETY: both tables live for ever. The code segment equals the one in use (64-bit, ring
        // 0), and data segments are not used in 64-bit mode.
        unsafe {
            asm!(
                "lgdt [{gdt}]",
                "lidt [{idt}]",
                "mov ds, {data:x}",
                "mov es, {data:x}",
                "mov ss, {data:x}",
                "mov fs, {zero:x}",
                "mov gs, {zero:x}",
                "lldt {zero:x}",
                "push {code}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "ltr {state:x}",
                gdt = in(reg) &raw const gdt,
                idt = in(reg) &raw const idt,
                data = in(reg) u64::from(KERNEL_DATA),
                zero = in(reg) 0u64,
                code = const KERNEL_CODE as u64,
                state = in(reg) u64::from(TASK_STATE),
                scratch = out(reg) _,
            );
        }
        self
    }

    /// Sets where a trap from ring 3 puts the interrupted state.
    pub fn set_trap_stack(&mut self, top: u64) {
        self.state.rsp0 = top;
    }
}

/// Resets the processor by a fault that it cannot handle.
pub fn triple_fault() -> ! {
    let nothing = TablePointer { limit: 0, base: 0 };
    // SAFETY: this is meant to be the end: with an empty interrupt table the invalid instruction
    // shuts the processor down, which resets a PC.
    unsafe {
        asm!("lidt [{}]", "ud2", in(reg) &raw const nothing, options(noreturn));
    }
}
