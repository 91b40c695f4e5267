//! Into ring 3 and back.
//!
//! [`enter`] runs a task until it traps, and returns as an ordinary function: the kernel's control
//! flow stays in Rust. There is one way out of ring 3, the interrupt table. The stack pointer for
//! traps points at the end of the thread's [`Context`], so the processor itself and `trap_common`
//! store the registers where they belong.
//!
//! NMIs take another stack and only count (they may come at any instruction, between any two
//! instructions of the code below as well), with two exceptions: a halted processor is moved on
//! (see `idle`), and a task that must be left is sent to address 0, where it faults at once.

use super::control;
use super::descriptors::{Descriptors, KERNEL_CODE, USER_CODE, USER_DATA};
use super::processor::PerProcessor;
use crate::fatal;
use crate::memory::task_space::TaskSpace;
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::addr_of;
use spin::Once;

/// The registers of a task's thread while it is not running.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default)]
pub struct Context {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    /// First argument of a system call.
    pub rdi: u64,
    /// Second argument.
    pub rsi: u64,
    /// Second result.
    pub rdx: u64,
    rcx: u64,
    rbx: u64,
    /// Number of the system call; first result.
    pub rax: u64,
    vector: u64,
    error: u64,
    /// Where the thread goes on.
    pub rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
    /// The kernel's stack pointer while the thread runs.
    kernel_rsp: u64,
}

/// Where the processor puts the interrupted state: behind the last word of the trap frame.
const FRAME_END: u64 = offset_of!(Context, kernel_rsp) as u64;

// The processor aligns the trap stack down to 16 bytes before it pushes.
const _: () = assert!(FRAME_END.is_multiple_of(16));

impl Context {
    /// A thread that starts at `rip` with this stack and two arguments.
    pub fn starting_at(rip: u64, rsp: u64, rdi: u64, rsi: u64) -> Self {
        Self {
            rip,
            rsp,
            rdi,
            rsi,
            cs: u64::from(USER_CODE),
            ss: u64::from(USER_DATA),
            rflags: 2,
            ..Self::default()
        }
    }

    /// Where the processor puts the interrupted state of this thread.
    pub fn trap_stack(&self) -> u64 {
        addr_of!(*self) as u64 + FRAME_END
    }
}

/// Why a task came back to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// A system call; its arguments are in the context.
    Call,
    /// An exception.
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code.
        error: u64,
        /// The address, for a page fault.
        address: u64,
    },
}

global_asm!(
    // Enters ring 3 with the context at rdi; "returns" when the task traps.
    ".global trap_enter",
    "trap_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi + {kernel_rsp}], rsp",
    "mov rsp, rdi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rbp",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    "add rsp, 16",
    "iretq",
    // All traps but NMI arrive here with vector and error code pushed.
    "trap_common:",
    "test byte ptr [rsp + 24], 3",
    "jz trap_in_kernel",
    "push rax",
    "push rbx",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rbp",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rsp, [rsp + {kernel_rsp}]",
    // The task's flags, AC and DF among them, must not reach the kernel.
    "push 2",
    "popfq",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    "trap_in_kernel:",
    // A general protection fault at an instruction of `msr` is an answer.
    "cmp qword ptr [rsp], 13",
    "jne 6f",
    "lea rax, [rip + msr_read]",
    "cmp [rsp + 16], rax",
    "jb 6f",
    "lea rax, [rip + msr_missing]",
    "cmp [rsp + 16], rax",
    "jae 6f",
    "mov [rsp + 16], rax",
    "add rsp, 16",
    "iretq",
    "6:",
    "cld",
    "pop rdi",
    "pop rsi",
    "mov rdx, [rsp]",
    "and rsp, -16",
    "call {in_kernel}",
    "ud2",
    // A debug exception. LUCOS and its tasks use none, but QEMU's TCG has the guest's breakpoints
    // fire in them. What was interrupted goes on, with the resume flag so that it can.
    "trap_debug:",
    "or dword ptr [rsp + 16], {resume_flag}",
    "iretq",
    // NMI. Above the frame lies the address of the processor's shared part.
    "trap_nmi:",
    "push rax",
    "push rcx",
    "mov rax, [rsp + 56]",
    "lock inc dword ptr [rax]",
    "test byte ptr [rsp + 24], 3",
    "jz 3f",
    "cmp dword ptr [rax + {leave_task}], 0",
    "je 4f",
    "mov rcx, [rsp + 16]",
    "test rcx, rcx",
    "jz 4f",
    "mov dword ptr [rax + {leave_task}], 0",
    "mov [rax + {left_at}], rcx",
    "mov qword ptr [rsp + 16], 0",
    "jmp 4f",
    "3:",
    "lea rax, [rip + idle_begin]",
    "lea rcx, [rip + idle_end]",
    "cmp [rsp + 16], rax",
    "jb 4f",
    "cmp [rsp + 16], rcx",
    "ja 4f",
    "mov [rsp + 16], rcx",
    "4:",
    "pop rcx",
    "pop rax",
    "iretq",
    // One entry for each vector, 16 bytes apart.
    ".balign 16",
    ".global trap_entries",
    "trap_entries:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    ".if vector == 2",
    "jmp trap_nmi",
    ".elseif vector == 1",
    "jmp trap_debug",
    ".elseif vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30",
    "push vector",
    "jmp trap_common",
    ".else",
    "push 0",
    "push vector",
    "jmp trap_common",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
    ".balign 16",
    ".global trap_call",
    "trap_call:",
    "push 0",
    "push {call_vector}",
    "jmp trap_common",
    kernel_rsp = const FRAME_END,
    leave_task = const offset_of!(PerProcessor, leave_task),
    left_at = const offset_of!(PerProcessor, left_at),
    call_vector = const CALL_VECTOR as u64,
    resume_flag = const RESUME_FLAG,
    in_kernel = sym trap_in_kernel_rust,
);

/// RFLAGS.RF: no breakpoint at the next instruction.
const RESUME_FLAG: u32 = 1 << 16;

/// `push imm8` sign-extends, so the call vector arrives as this.
const CALL_VECTOR: i8 = lucos_abi::call::VECTOR as i8;

unsafe extern "C" {
    fn trap_enter(context: *mut Context);
    static trap_entries: [u8; 32 * 16];
    static trap_call: [u8; 1];
}

/// A trap in ring 0 is LUCOS's own fault, and its end.
extern "C" fn trap_in_kernel_rust(vector: u64, error: u64, rip: u64) -> ! {
    // SAFETY: reading CR2 has no effect.
    let address = unsafe { x86::controlregs::cr2() };
    crate::output::fault_line(format_args!(
        "trap {vector} in the kernel at {rip:#x}, error {error:#x}, address {address:#x}"
    ));
    super::end_machine(crate::output::exit_port(), fatal::EXIT_FAULT)
}

/// Runs a task's thread until it traps.
pub fn enter(context: &mut Context, space: &TaskSpace, descriptors: &mut Descriptors) -> Trap {
    descriptors.set_trap_stack(context.trap_stack());
    // SAFETY: every task space maps the kernel as the kernel's own does. The context holds ring-3
    // selectors and flags without IF (only `starting_at` and the trap entry write them), so IRET
    // goes to ring 3; traps come back through `trap_common`, which restores the registers that the
    // C convention preserves.
    unsafe {
        control::set_root(space.root());
        trap_enter(context);
    }
    if context.vector == CALL_VECTOR as u64 {
        return Trap::Call;
    }
    // SAFETY: reading CR2 has no effect.
    let address = unsafe { x86::controlregs::cr2() } as u64;
    Trap::Exception { vector: context.vector as u8, error: context.error, address }
}

/// Where an interrupt table lies.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Length in bytes minus one.
    pub limit: u16,
    /// Address.
    pub base: u64,
}

#[repr(C, align(16))]
struct Gates([[u64; 2]; 256]);

/// The interrupt table, the same for every processor.
pub fn table() -> Table {
    static GATES: Once<Gates> = Once::new();
    let gates = GATES.call_once(build);
    Table { limit: size_of::<Gates>() as u16 - 1, base: addr_of!(*gates) as u64 }
}

fn build() -> Gates {
    let entries = addr_of!(trap_entries) as u64;
    let mut gates = [[0; 2]; 256];
    for (vector, slot) in gates.iter_mut().enumerate().take(32) {
        let stack = match vector {
            2 => 1,
            8 | 18 => 2,
            _ => 0,
        };
        *slot = gate(entries + vector as u64 * 16, stack, 0);
    }
    if let Some(slot) = gates.get_mut(usize::from(lucos_abi::call::VECTOR)) {
        *slot = gate(addr_of!(trap_call) as u64, 0, 3);
    }
    Gates(gates)
}

/// An interrupt gate (Intel SDM vol. 3, 6.14.1): target, interrupt stack, lowest ring that may
/// use it by an instruction.
fn gate(target: u64, stack: u64, ring: u64) -> [u64; 2] {
    let low = target & 0xffff
        | u64::from(KERNEL_CODE) << 16
        | stack << 32
        | 0x8e << 40
        | ring << 45
        | (target >> 16 & 0xffff) << 48;
    [low, target >> 32]
}
