//! Registers that may not be there: model-specific ones, and extended control registers.
//!
//! Which ones a processor has cannot always be told beforehand; an access to a missing one is a
//! general protection fault. At an instruction of this file the trap entry takes that for an answer:
//! it goes on at `msr_missing`.

use core::arch::global_asm;

global_asm!(
    ".global msr_read, msr_write, xcr_write, msr_missing",
    "msr_read:",
    "mov ecx, edi",
    "rdmsr",
    "shl rdx, 32",
    "or rax, rdx",
    "mov edx, 1",
    "ret",
    "msr_write:",
    "mov ecx, edi",
    "mov eax, esi",
    "mov rdx, rsi",
    "shr rdx, 32",
    "wrmsr",
    "mov edx, 1",
    "ret",
    "xcr_write:",
    "mov ecx, edi",
    "mov eax, esi",
    "mov rdx, rsi",
    "shr rdx, 32",
    "xsetbv",
    "mov edx, 1",
    "ret",
    "msr_missing:",
    "xor edx, edx",
    "ret",
);

/// What the functions above return in RAX and RDX.
#[repr(C)]
struct Answer {
    value: u64,
    done: u64,
}

unsafe extern "C" {
    safe fn msr_read(number: u32) -> Answer;
    fn msr_write(number: u32, value: u64) -> Answer;
    safe fn xcr_write(number: u32, value: u64) -> Answer;
}

/// The value of a register; `None` when the processor does not have it.
pub fn read(number: u32) -> Option<u64> {
    let Answer { value, done } = msr_read(number);
    (done != 0).then_some(value)
}

/// Writes a register; `None` when the processor does not have it or does not take the value.
///
/// # Safety
/// The value leaves LUCOS's memory where it is, and its code and tables what they are.
pub unsafe fn write(number: u32, value: u64) -> Option<()> {
    // SAFETY: the caller knows what the register does.
    let Answer { done, .. } = unsafe { msr_write(number, value) };
    (done != 0).then_some(())
}

/// Writes an extended control register for the guest, whose floating point the registers describe;
/// `None` when the processor does not have it or does not take the value. It has XSAVE.
pub fn write_extended_control(number: u32, value: u64) -> Option<()> {
    let Answer { done, .. } = xcr_write(number, value);
    (done != 0).then_some(())
}
