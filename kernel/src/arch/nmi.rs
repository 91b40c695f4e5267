//! NMIs: how they arrive, and how one processor gets another's attention by them.
//!
//! Interrupts are always off in LUCOS, so the NMI is the only thing that reaches a processor
//! wherever it is. Two kinds arrive: kicks, which LUCOS sends itself ([`kick`](super::kick)), and the guest's own.
//! The processor does not tell them apart, and NMIs that come while one waits merge with it.
//!
//! # Nobody misses one
//!
//! The entry only counts, in the processor's [`Nmis`]. Whoever is kicked finds what it is kicked
//! for in memory, where the kicker wrote it before it sent the NMI. So a processor may do something
//! that only an NMI ends as long as the count is 0, and there must be no instruction between the
//! look at the count and that something at which an NMI goes unnoticed. There are three:
//!
//! | what | how an NMI ends it |
//! |---|---|
//! | the guest | it leaves the guest. From the last look to VMRUN it is held off by the global interrupt flag (`svm::world_switch`); from the look to VMLAUNCH or VMRESUME is a restartable range (`vtx::world_switch`) |
//! | a halt (`idle`) | it wakes the processor. From the look to HLT is a restartable range |
//! | ring 3 (`trap`) | the thread is sent to address 0, where it faults at once. From the look to IRET is a restartable range |
//!
//! A *restartable range* is code from `NAME_begin` to `NAME_end`, by symbols: an NMI that interrupts
//! it goes on at `NAME_interrupted` instead, with RAX at the processor's [`Nmis`] and every other
//! register as it was. The code there is as after an NMI that came before the look. The entry knows
//! the ranges by name.
//!
//! Where INIT comes as an exception (AMD-V's #SX) it is one more reason to look: it is counted like an
//! NMI, and as INIT besides, and ends the same three things. It has a stack of its own, since it can
//! come while an NMI is handled.
//!
//! A second NMI cannot come before the entry's IRET (Intel SDM vol. 3, 6.7.1; APM vol. 2, 8.2.3), so
//! one stack is enough, and one word for the place where ring 3 was left. Any other IRET would let it
//! come: that of #SX, #MC or #DB in the entry. So these three go back by RET when they have
//! interrupted the entry, or one of each other, which may have interrupted it. All of them lie between
//! `any_time_begin` and `any_time_end`, from their first instruction on: gates lead there. That the way
//! back without IRET is taken where no NMI is held off does no harm.
//!
//! # A kick that does not arrive
//!
//! An NMI can be lost: INIT drops one that waits, and a guest that changes its APIC's id takes it
//! away from the kicks. So whoever waits for another processor waits by [`kick_while`](super::kick::kick_while), which sends
//! again. While a kick is under way no other is sent, but for that: two that arrive one after the
//! other would leave one NMI too many.
//!
//! # What is the guest's
//!
//! Of the NMIs that a processor has counted when it looks, as many as were sent were kicks; the
//! others are the guest's ([`Nmis::take`]). A kick and an NMI of the guest that merged look like a
//! kick alone, which is why a guest can ask for the kicks as well ([`forward_kicks`]).

use super::control::halt_for_ever;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;

/// The NMIs of a processor. The entry finds the fields by their offsets.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Nmis {
    /// NMIs that came and that nobody has looked at.
    came: AtomicU32,
    /// INITs among them, where the processor tells of INIT by an exception (see `svm`).
    inits: AtomicU32,
    /// Kicks that were sent and that nobody has looked at.
    pub(super) kicks: AtomicU32,
    /// Where the thread in ring 3 was when an NMI sent it to address 0; 0 when none did.
    left_at: AtomicU64,
    /// The kernel's stack pointer while a thread is entered.
    pub(super) kernel_rsp: AtomicU64,
}

// `idle` and `trap` look at the count by the address of the whole.
const _: () = assert!(offset_of!(Nmis, came) == 0);

/// What the NMIs were that a processor took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// One at least was a kick.
    pub kicked: bool,
    /// The guest is to get an NMI.
    pub guests: bool,
    /// Somebody sent INIT.
    pub init: bool,
}

global_asm!(
    ".global trap_debug, trap_machine_check, trap_init, trap_nmi",
    "any_time_begin:",
    // A debug exception. LUCOS and its tasks use none, but QEMU's TCG has the guest's breakpoints
    // fire in them. What was interrupted goes on, with the resume flag so that it can.
    "trap_debug:",
    "or dword ptr [rsp + 16], {resume_flag}",
    "jmp any_time_return",
    // A machine check. Where the processor can go on it does: the banks that tell more are the
    // guest's, which looks at them by itself. A processor that has not cleared the flag would shut
    // down at the next one.
    "trap_machine_check:",
    "push rax",
    "push rcx",
    "push rdx",
    "mov ecx, {mcg_status}",
    "rdmsr",
    "test al, {ripv}",
    "jz 1f",
    "and eax, {not_mcip}",
    "wrmsr",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "jmp any_time_return",
    "1:",
    "add rsp, 24",
    "push 0",
    "push 18",
    "jmp trap_in_kernel",
    // INIT, as an exception with an error code, which is not 0. Otherwise like an NMI.
    "trap_init:",
    "mov byte ptr [rsp], 1",
    "push rax",
    "push rcx",
    "mov rax, [rsp + 64]",
    "lock inc dword ptr [rax + {inits}]",
    "jmp 2f",
    "trap_nmi:",
    "push 0",
    "push rax",
    "push rcx",
    // Above the frame lies the address of the processor's `Nmis`.
    "mov rax, [rsp + 64]",
    "2:",
    "lock inc dword ptr [rax]",
    "mov rcx, [rsp + 24]",
    "test byte ptr [rsp + 32], 3",
    "jz 3f",
    "test rcx, rcx",
    "jz 5f",
    "mov [rax + {left_at}], rcx",
    "mov qword ptr [rsp + 24], 0",
    "jmp 5f",
    "3:",
    ".irp range, idle, enter, vtx",
    "lea rcx, [rip + \\range\\()_begin]",
    "cmp [rsp + 24], rcx",
    "jb 4f",
    "lea rcx, [rip + \\range\\()_end]",
    "cmp [rsp + 24], rcx",
    "jae 4f",
    "lea rcx, [rip + \\range\\()_interrupted]",
    "mov [rsp + 24], rcx",
    "mov [rsp + 8], rax",
    "jmp 5f",
    "4:",
    ".endr",
    "5:",
    "pop rcx",
    "pop rax",
    "cmp dword ptr [rsp], 0",
    "lea rsp, [rsp + 8]",
    "jne any_time_return",
    "iretq",
    // The way back of all but the NMI. RSP points at the frame.
    "any_time_return:",
    "push rax",
    "lea rax, [rip + any_time_begin]",
    "cmp [rsp + 8], rax",
    "jb 6f",
    "lea rax, [rip + any_time_end]",
    "cmp [rsp + 8], rax",
    "jae 6f",
    "push rcx",
    // Without IRET there is no resume flag: no breakpoint may fire at the same place again.
    "mov eax, {no_breakpoints}",
    "mov dr7, rax",
    // Flags and place go to the interrupted stack. The frame may lie right below.
    "mov rax, [rsp + 40]",
    "mov rcx, [rsp + 16]",
    "mov [rax - 8], rcx",
    "mov rcx, [rsp + 32]",
    "mov [rax - 16], rcx",
    "sub rax, 16",
    "mov [rsp + 16], rax",
    "pop rcx",
    "pop rax",
    "pop rsp",
    "popfq",
    "ret",
    "6:",
    "pop rax",
    "iretq",
    "any_time_end:",
    resume_flag = const RESUME_FLAG,
    mcg_status = const x86::msr::IA32_MCG_STATUS,
    ripv = const MCG_STATUS_RIPV,
    not_mcip = const !MCG_STATUS_MCIP,
    no_breakpoints = const DR7_NOTHING,
    inits = const offset_of!(Nmis, inits),
    left_at = const offset_of!(Nmis, left_at),
);

/// RFLAGS.RF: no breakpoint at the next instruction.
const RESUME_FLAG: u32 = 1 << 16;
/// The interrupted code can go on; a machine check is being handled (Intel SDM vol. 3, 16.3.1.2).
const MCG_STATUS_RIPV: u32 = 1;
const MCG_STATUS_MCIP: i32 = 1 << 2;
/// DR7 without a breakpoint, as VM exits leave it (APM vol. 2, 15.6).
const DR7_NOTHING: u32 = 1 << 10;

impl Nmis {
    /// Some came that nobody has looked at.
    pub fn are_waiting(&self) -> bool {
        self.came.load(Ordering::SeqCst) != 0
    }

    /// Looks at those that came. `table` is the interrupt table of this processor's vCPU.
    pub fn take(&self, table: impl FnOnce() -> u64) -> Taken {
        let came = self.came.swap(0, Ordering::SeqCst);
        if came == 0 {
            return Taken::default();
        }
        if ENDED.load(Ordering::SeqCst) {
            halt_for_ever();
        }
        let inits = self.inits.swap(0, Ordering::SeqCst);
        let kicks = self.kicks.swap(0, Ordering::SeqCst);
        let forwarded = kicks > 0 && *FORWARD.lock() == Some(table());
        let guests = came > kicks.saturating_add(inits) || forwarded;
        Taken { kicked: kicks > 0, guests, init: inits > 0 }
    }

    /// Where an NMI took the thread in ring 3 from, if one did.
    pub fn take_left_at(&self) -> Option<u64> {
        let left_at = self.left_at.swap(0, Ordering::SeqCst);
        (left_at != 0).then_some(left_at)
    }
}

/// Interrupt table of the vCPUs that get kicks as NMIs.
static FORWARD: Mutex<Option<u64>> = Mutex::new(None);

/// Sets whether kicks are passed on to the guest as NMIs: to vCPUs that use the interrupt table at
/// `table`, or to none.
///
/// A guest that can sort out NMIs that were not meant for it asks for each kick; then none of its
/// own is ever lost. A vCPU that has only just been started has another table, or none, and an NMI
/// would end the guest.
pub fn forward_kicks(table: Option<u64>) {
    *FORWARD.lock() = table;
}

/// LUCOS has come to its end.
static ENDED: AtomicBool = AtomicBool::new(false);

/// Has every processor that takes an NMI from now on stand still for good.
pub(super) fn end() {
    ENDED.store(true, Ordering::SeqCst);
}
