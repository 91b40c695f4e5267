//! Into ring 3 and back.
//!
//! [`enter`] runs a task until it traps, and returns as an ordinary function: the kernel's control
//! flow stays in Rust. There is one way out of ring 3, the interrupt table. The stack pointer for
//! traps points at the end of the thread's [`Context`], so the processor itself and `trap_common`
//! store the registers where they belong.
//!
//! What may come at any time takes another stack, or none (see `nmi`). An NMI that comes in ring 3,
//! or on the way there, takes the processor back to the kernel.

use super::descriptors::{Descriptors, USER_CODE, USER_DATA};
use super::nmi::Nmis;
use crate::end::end;
use crate::memory::task_space::TaskSpace;
use core::arch::global_asm;
use core::mem::offset_of;
use lucos_abi::layout::TASK_END;
use x86::controlregs::cr3_write;

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

/// Traps put the interrupted state in front of this word.
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
            cs: USER_CODE.bits().into(),
            ss: USER_DATA.bits().into(),
            rflags: 2,
            ..Self::default()
        }
    }
}

/// Why a task came back to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// A system call; its arguments are in the context.
    Call,
    /// An NMI came; the thread can go on.
    Nmi,
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
    // Enters ring 3 with the context at rdi, the processor's `Nmis` at rsi, and at rdx the word that
    // says where traps put the interrupted state. "Returns" true when the task traps, false when
    // there was an NMI before it was entered.
    "trap_enter:",
    ".irp register, rbx, rbp, r12, r13, r14, r15",
    "push \\register",
    ".endr",
    "mov [rdi + {kernel_rsp}], rsp",
    "mov [rsi + {nmi_rsp}], rsp",
    "lea rax, [rdi + {kernel_rsp}]",
    "mov [rdx], rax",
    "mov rax, rsi",
    // A restartable range, see `nmi`. The context keeps what was popped.
    "enter_begin:",
    "cmp dword ptr [rsi], 0",
    "jne enter_interrupted",
    "mov rsp, rdi",
    ".irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax",
    "pop \\register",
    ".endr",
    "add rsp, 16",
    "iretq",
    "enter_end:",
    "enter_interrupted:",
    "mov rsp, [rax + {nmi_rsp}]",
    "xor eax, eax",
    "jmp 2f",
    // All traps but NMI arrive here with vector and error code pushed.
    "trap_common:",
    "test byte ptr [rsp + 24], 3",
    "jz trap_in_kernel",
    ".irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
    "push \\register",
    ".endr",
    "mov rsp, [rsp + {kernel_rsp}]",
    // The task's flags, AC and DF among them, must not reach the kernel.
    "push 2",
    "popfq",
    "mov eax, 1",
    "2:",
    ".irp register, r15, r14, r13, r12, rbp, rbx",
    "pop \\register",
    ".endr",
    "ret",
    ".global trap_in_kernel",
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
    // One entry for each vector, 16 bytes apart. Those that may come at any time have their own, see
    // `nmi`.
    ".balign 16",
    ".global trap_entries",
    "trap_entries:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    ".if vector == 8",
    "push vector",
    "jmp trap_in_kernel",
    ".elseif (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29",
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
    nmi_rsp = const offset_of!(Nmis, kernel_rsp),
    call_vector = const CALL_VECTOR as u64,
    in_kernel = sym trap_in_kernel_rust,
);

/// The exception of an address that the processor cannot form.
const GENERAL_PROTECTION: u8 = 13;

/// `push imm8` sign-extends, so the call vector arrives as this.
const CALL_VECTOR: i8 = lucos_abi::call::VECTOR as i8;

unsafe extern "C" {
    fn trap_enter(context: *mut Context, nmis: *const Nmis, trap_stack: *mut u64) -> bool;
}

/// A trap in ring 0 is LUCOS's own fault, and its end.
extern "C" fn trap_in_kernel_rust(vector: u64, error: u64, rip: u64) -> ! {
    // SAFETY: reading CR2 has no effect.
    let address = unsafe { x86::controlregs::cr2() };
    end(format_args!(
        "trap {vector} in the kernel at {rip:#x}, error {error:#x}, address {address:#x}"
    ))
}

/// Runs a task's thread until it traps.
pub fn enter(
    context: &mut Context,
    space: &TaskSpace,
    descriptors: &mut Descriptors,
    nmis: &'static Nmis,
) -> Trap {
    // An NMI may have come where the thread had jumped to an address that the processor cannot form, and
    // IRET would fault in ring 0.
    if context.rip >= TASK_END {
        return Trap::Exception { vector: GENERAL_PROTECTION, error: 0, address: 0 };
    }
    // SAFETY: every task space maps the kernel as the kernel's own does. The context holds ring-3
    // selectors and flags without IF (only `starting_at` and the trap entry write them), so IRET
    // goes to ring 3; traps come back through `trap_common`, which restores the registers that the
    // C convention preserves.
    let trapped = unsafe {
        cr3_write(space.root());
        trap_enter(context, nmis, descriptors.trap_stack())
    };
    if !trapped {
        return Trap::Nmi;
    }
    if let Some(left_at) = nmis.take_left_at() {
        context.rip = left_at;
        return Trap::Nmi;
    }
    if context.vector == CALL_VECTOR as u64 {
        return Trap::Call;
    }
    // SAFETY: reading CR2 has no effect.
    let address = unsafe { x86::controlregs::cr2() } as u64;
    Trap::Exception { vector: context.vector as u8, error: context.error, address }
}
