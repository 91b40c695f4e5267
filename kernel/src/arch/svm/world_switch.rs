//! Into the guest and back: the instructions around VMRUN.
//!
//! VMRUN and #VMEXIT switch RAX, RSP, RIP, RFLAGS, control registers and the segments CS, SS, DS
//! and ES; VMLOAD and VMSAVE the other segments and the system-call registers; the other general
//! registers are switched here. Floating point is not switched at all: LUCOS never touches it.
//!
//! Between CLGI and STGI nothing interrupts the processor, not even an NMI. That matters most while
//! TR is the guest's: an NMI would use the guest's stack table.

use core::arch::{asm, global_asm};
use core::ffi::c_void;
use core::mem::offset_of;
use lucos_abi::registers::Registers;
use lucos_svm::{ExitCode, Vmcb};

use super::vcpu::SvmVcpu;

global_asm!(
    ".global svm_run",
    // rdi: register block, rsi: VMCB, rdx: its physical address, rcx: what to call at CPUID, with
    // r8. They lie on the stack in this order.
    "svm_run:",
    ".irp register, rbx, rbp, r12, r13, r14, r15, r8, rcx, rdx, rsi, rdi",
    "push \\register",
    ".endr",
    "mov rax, rdx",
    "mov rbx, [rdi + 8]",
    "mov rcx, [rdi + 16]",
    "mov rdx, [rdi + 24]",
    "mov rsi, [rdi + 32]",
    "mov rbp, [rdi + 48]",
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov r\\number, [rdi + 8 * \\number]",
    ".endr",
    "mov rdi, [rdi + 40]",
    "2:",
    "vmrun rax",
    "mov rax, [rsp + 8]",
    "cmp dword ptr [rax + {exit_code}], {cpuid}",
    "mov rax, [rsp]",
    "mov [rax + 8], rbx",
    "mov [rax + 16], rcx",
    "mov [rax + 24], rdx",
    "jne 3f",
    // CPUID changes the registers that were just stored; what else the C convention does not keep
    // waits on the stack.
    ".irp register, rsi, rdi, r8, r9, r10, r11",
    "push \\register",
    ".endr",
    "mov rdi, [rsp + 80]",
    "call [rsp + 72]",
    ".irp register, r11, r10, r9, r8, rdi, rsi",
    "pop \\register",
    ".endr",
    "mov rdx, [rsp]",
    "mov rbx, [rdx + 8]",
    "mov rcx, [rdx + 16]",
    "mov rdx, [rdx + 24]",
    "test al, al",
    "mov rax, [rsp + 16]",
    "jne 2b",
    "3:",
    "mov rax, [rsp]",
    "mov [rax + 32], rsi",
    "mov [rax + 40], rdi",
    "mov [rax + 48], rbp",
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov [rax + 8 * \\number], r\\number",
    ".endr",
    "add rsp, 40",
    ".irp register, r15, r14, r13, r12, rbp, rbx",
    "pop \\register",
    ".endr",
    "cld",
    "ret",
    exit_code = const EXIT_CODE,
    cpuid = const ExitCode::CPUID.0,
);

/// Where the VMCB has the exit code (APM vol. 2, appendix B).
const EXIT_CODE: usize = 0x70;

// The offsets above are those of the block.
const _: () = {
    assert!(offset_of!(Registers, rbx) == 8);
    assert!(offset_of!(Registers, rdi) == 40);
    assert!(offset_of!(Registers, rbp) == 48);
    assert!(offset_of!(Registers, r8) == 64);
    assert!(offset_of!(Registers, r15) == 120);
};

unsafe extern "C" {
    fn svm_run(
        general: *mut Registers,
        vmcb: *mut Vmcb,
        phys: u64,
        at_cpuid: unsafe extern "C" fn(*mut c_void) -> bool,
        vcpu: *mut c_void,
    );
}

/// Runs the guest until an exit that is no CPUID, or that the kernel leaves to a task.
///
/// # Safety
/// Global interrupts are off (CLGI), the guest's VMLOAD state is loaded, and `phys` is the physical
/// address of the vCPU's VMCB, whose nested tables keep the guest out of LUCOS's region.
pub unsafe fn run(vcpu: *mut SvmVcpu, phys: u64) {
    // SAFETY: the caller prepared the guest; `svm_run` keeps to the C convention, and `at_cpuid`
    // uses the vCPU only while it is called.
    unsafe {
        let (general, vmcb) = (&raw mut (*vcpu).general, &raw mut *(*vcpu).vmcb);
        let at_cpuid = if (*vcpu).has_next_rip() { at_cpuid::<true> } else { at_cpuid::<false> };
        svm_run(general, vmcb, phys, at_cpuid, vcpu.cast());
    }
}

/// CPUID left the guest: true when it may go on.
unsafe extern "C" fn at_cpuid<const NEXT_RIP: bool>(vcpu: *mut c_void) -> bool {
    // SAFETY: this is the pointer that `run` gave.
    unsafe { &mut *vcpu.cast::<SvmVcpu>() }.answer_cpuid::<NEXT_RIP>()
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
