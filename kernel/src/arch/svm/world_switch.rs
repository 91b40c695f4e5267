//! Into the guest and back: the instructions around VMRUN.
//!
//! VMRUN and #VMEXIT switch RAX, RSP, RIP, RFLAGS, control registers and the segments CS, SS, DS
//! and ES; VMLOAD and VMSAVE the other segments and the system-call registers; the other general
//! registers are switched here. Floating point is not switched at all: LUCOS never touches it.
//!
//! Between CLGI and STGI nothing interrupts the processor, not even an NMI. That matters most while
//! TR is the guest's: an NMI would use the guest's stack table.

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use lucos_abi::registers::Registers;

global_asm!(
    ".global svm_run",
    "svm_run:", // rdi: register block, rsi: physical address of the VMCB
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "mov rax, rsi",
    "mov rbx, [rdi + 8]",
    "mov rcx, [rdi + 16]",
    "mov rdx, [rdi + 24]",
    "mov rsi, [rdi + 32]",
    "mov rbp, [rdi + 48]",
    "mov r8, [rdi + 64]",
    "mov r9, [rdi + 72]",
    "mov r10, [rdi + 80]",
    "mov r11, [rdi + 88]",
    "mov r12, [rdi + 96]",
    "mov r13, [rdi + 104]",
    "mov r14, [rdi + 112]",
    "mov r15, [rdi + 120]",
    "mov rdi, [rdi + 40]",
    "vmrun rax",
    "push rdi",
    "mov rdi, [rsp + 8]",
    "mov [rdi + 8], rbx",
    "mov [rdi + 16], rcx",
    "mov [rdi + 24], rdx",
    "mov [rdi + 32], rsi",
    "mov [rdi + 48], rbp",
    "mov [rdi + 64], r8",
    "mov [rdi + 72], r9",
    "mov [rdi + 80], r10",
    "mov [rdi + 88], r11",
    "mov [rdi + 96], r12",
    "mov [rdi + 104], r13",
    "mov [rdi + 112], r14",
    "mov [rdi + 120], r15",
    "pop qword ptr [rdi + 40]",
    "pop rdi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "cld",
    "ret",
);

// The offsets above are those of the block.
const _: () = {
    assert!(offset_of!(Registers, rbx) == 8);
    assert!(offset_of!(Registers, rdi) == 40);
    assert!(offset_of!(Registers, rbp) == 48);
    assert!(offset_of!(Registers, r8) == 64);
    assert!(offset_of!(Registers, r15) == 120);
};

unsafe extern "C" {
    fn svm_run(general: *mut Registers, vmcb: u64);
}

/// Runs the guest until its next exit.
///
/// # Safety
/// Global interrupts are off (CLGI), the guest's VMLOAD state is loaded, and `vmcb` is the physical
/// address of a VMCB whose nested tables keep the guest out of LUCOS's region.
pub unsafe fn run(general: &mut Registers, vmcb: u64) {
    // SAFETY: the caller prepared the guest; `svm_run` keeps to the C convention.
    unsafe { svm_run(general, vmcb) }
}

/// Holds all interrupts off, NMIs too.
pub fn close() {
    // SAFETY: EFER.SVME is on (see `svm::enable`); the flag has no effect on memory.
    unsafe { asm!("clgi", options(nomem, nostack)) };
}

/// Lets NMIs come; maskable interrupts stay off by RFLAGS.IF.
pub fn open() {
    // SAFETY: as for `close`; NMIs have their handler, and TR is LUCOS's (the callers have loaded
    // it back).
    unsafe { asm!("stgi", options(nostack)) };
}

/// Loads segments and system-call registers from a VMCB.
///
/// # Safety
/// Global interrupts are off, or the VMCB holds LUCOS's own state.
pub unsafe fn load(vmcb: u64) {
    // SAFETY: LUCOS uses none of these registers but TR, which only matters for interrupts.
    unsafe { asm!("vmload rax", in("rax") vmcb, options(nostack)) };
}

/// Stores segments and system-call registers in a VMCB.
///
/// # Safety
/// `vmcb` is the physical address of a VMCB that nobody else uses now.
pub unsafe fn save(vmcb: u64) {
    // SAFETY: the caller owns the VMCB.
    unsafe { asm!("vmsave rax", in("rax") vmcb, options(nostack)) };
}
