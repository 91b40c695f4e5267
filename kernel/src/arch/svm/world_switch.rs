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
    // rdi: register block, rsi: physical address of the VMCB.
    "svm_run:",
    ".irp register, rbx, rbp, r12, r13, r14, r15, rdi",
    "push \\register",
    ".endr",
    "mov rax, rsi",
    "mov rbx, [rdi + 8]",
    "mov rcx, [rdi + 16]",
    "mov rdx, [rdi + 24]",
    "mov rsi, [rdi + 32]",
    "mov rbp, [rdi + 48]",
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov r\\number, [rdi + 8 * \\number]",
    ".endr",
    "mov rdi, [rdi + 40]",
    "vmrun rax",
    "pop rax",
    "mov [rax + 8], rbx",
    "mov [rax + 16], rcx",
    "mov [rax + 24], rdx",
    "mov [rax + 32], rsi",
    "mov [rax + 40], rdi",
    "mov [rax + 48], rbp",
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov [rax + 8 * \\number], r\\number",
    ".endr",
    ".irp register, r15, r14, r13, r12, rbp, rbx",
    "pop \\register",
    ".endr",
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
/// address of the vCPU's VMCB, whose nested tables keep the guest out of LUCOS's region.
pub unsafe fn run(general: &mut Registers, vmcb: u64) {
    // SAFETY: the caller prepared the guest; `svm_run` keeps to the C convention.
    unsafe { svm_run(general, vmcb) };
}

/// Holds all interrupts off, NMIs too.
pub fn close() {
    // SAFETY: EFER.SVME is on (see `svm::enable`). What is looked at afterwards must not be read
    // before, so the compiler is not told that memory is not touched.
    unsafe { asm!("clgi", options(nostack)) };
}

/// Lets NMIs come; maskable interrupts stay off by RFLAGS.IF.
pub fn open() {
    // SAFETY: as for `close`; NMIs have their handler, and TR is LUCOS's (the callers have loaded
    // it back).
    unsafe { asm!("cli", "stgi", options(nostack)) };
}

/// Until [`open`] the machine's interrupts end a run in which the host's RFLAGS.IF holds them
/// (V_INTR_MASKING). LUCOS itself never takes one.
pub fn let_interrupts_in() {
    // SAFETY: global interrupts are off, so the flag matters to VMRUN alone.
    unsafe { asm!("sti", options(nostack)) };
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
