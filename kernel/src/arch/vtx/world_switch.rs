//! Into the guest and back: the instructions around VMLAUNCH and VMRESUME.
//!
//! Entry and exit switch everything of [`super::host`] and its like; the general registers, CR2 and DR6
//! are switched here. Floating point is not switched at all: LUCOS never touches it.
//!
//! Nothing holds NMIs off before an entry. From the look at their count to the entry is a restartable
//! range (see `nmi`): one that comes there finds the guest not entered.

use crate::arch::nmi::Nmis;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use lucos_abi::registers::Registers;
use lucos_vtx::Vmcs;
use x86::bits64::vmx;
use x86::controlregs::{cr2, cr2_write};
use x86::vmx::vmcs::{host, ro};

global_asm!(
    // rdi: register block, rsi: `Nmis`, rdx: not 0 when the VMCS was launched. Returns 0 when there was
    // an NMI before the guest was entered, 1 after an exit, 2 when the entry failed.
    "vtx_run:",
    ".irp register, rbx, rbp, r12, r13, r14, r15, rdi",
    "push \\register",
    ".endr",
    "mov eax, {host_rsp}",
    "vmwrite rax, rsp",
    "vtx_begin:",
    "cmp dword ptr [rsi], 0",
    "jne vtx_interrupted",
    "test rdx, rdx",
    "mov rax, [rdi]",
    "mov rbx, [rdi + 8]",
    "mov rcx, [rdi + 16]",
    "mov rdx, [rdi + 24]",
    "mov rsi, [rdi + 32]",
    "mov rbp, [rdi + 48]",
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov r\\number, [rdi + 8 * \\number]",
    ".endr",
    "mov rdi, [rdi + 40]",
    "jnz 2f",
    "vmlaunch",
    "jmp 3f",
    "2:",
    "vmresume",
    "vtx_end:",
    "3:",
    "mov eax, 2",
    "jmp 4f",
    "vtx_interrupted:",
    "xor eax, eax",
    "4:",
    "pop rdi",
    "jmp 5f",
    "vtx_exit:",
    "xchg rdi, [rsp]",
    "mov [rdi], rax",
    "mov [rdi + 8], rbx",
    "mov [rdi + 16], rcx",
    "mov [rdi + 24], rdx",
    "mov [rdi + 32], rsi",
    "pop qword ptr [rdi + 40]",
    "mov [rdi + 48], rbp",
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov [rdi + 8 * \\number], r\\number",
    ".endr",
    "mov eax, 1",
    "5:",
    ".irp register, r15, r14, r13, r12, rbp, rbx",
    "pop \\register",
    ".endr",
    "cld",
    "ret",
    host_rsp = const host::RSP,
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
    fn vtx_run(general: *mut Registers, nmis: *const Nmis, launched: u64) -> u64;
    static vtx_exit: [u8; 1];
}

/// Where an exit goes on.
pub fn exit_address() -> u64 {
    &raw const vtx_exit as u64
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// An NMI came before it.
    Not,
    /// There was an exit.
    Left,
    /// The processor refused it, for the reason with this number (SDM 32.4).
    Refused(u64),
}

/// Runs the guest of the current VMCS until its next exit.
///
/// # Safety
/// Host state and tables of the current VMCS are LUCOS's, and its EPT keeps the guest out of LUCOS's
/// region. `launched` says whether it was entered before.
pub unsafe fn run(general: &mut Registers, nmis: &'static Nmis, launched: bool) -> Ran {
    // SAFETY: LUCOS takes no page fault that it comes back from and no debug exception of its own, so
    // CR2 and DR6 may be the guest's. The caller prepared the VMCS; `vtx_run` keeps to the C convention,
    // by an exit too, which finds the stack pointer that was stored.
    unsafe {
        cr2_write(general.cr2);
        asm!("mov dr6, {}", in(reg) general.dr6, options(nostack, nomem));
        let ran = vtx_run(general, nmis, launched.into());
        general.cr2 = cr2() as u64;
        asm!("mov {}, dr6", out(reg) general.dr6, options(nostack, nomem));
        match ran {
            0 => Ran::Not,
            1 => Ran::Left,
            _ => Ran::Refused(CurrentVmcs.read(ro::VM_INSTRUCTION_ERROR)),
        }
    }
}

/// The VMCS of this processor. There is one for each, and it is always the current one.
#[derive(Clone, Copy, Debug)]
pub struct CurrentVmcs;

impl Vmcs for CurrentVmcs {
    fn read(&self, field: u32) -> u64 {
        // SAFETY: the processor is in VMX operation with a current VMCS, or this is an answer too.
        unsafe { vmx::vmread(field) }.unwrap_or_default()
    }

    fn write(&mut self, field: u32, value: u64) {
        // SAFETY: as for reading. What the guest may do is in fields that `vcpu` and `host` write.
        if unsafe { vmx::vmwrite(field, value) }.is_err() {
            log::error!("this processor has no VMCS field {field:#x}");
        }
    }
}

/// Forgets the translations of one EPT, or of all (SDM 32.3, INVEPT).
pub fn forget(eptp: u64, single_context: bool) {
    let kind: u64 = if single_context { 1 } else { 2 };
    let descriptor = [eptp, 0];
    // SAFETY: the processor is in VMX operation and has this type; forgetting changes nothing but time.
    unsafe {
        asm!("invept {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack));
    }
}

/// Takes the NMI that has ended a run: until an IRET no other comes.
pub fn take_nmi() {
    // SAFETY: the gate leads to the entry of NMIs, which only counts.
    unsafe { asm!("int 2") };
}
