//! NMIs: how they arrive, and how one processor gets another's attention by them.
//!
//! Interrupts are always off in LUCOS, so the NMI is the only thing that reaches a processor
//! wherever it is. Two kinds arrive: kicks, which LUCOS sends itself ([`kick`]), and the guest's own.
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
//! | the guest | it leaves the guest. From the last look to VMRUN it is held off by the global interrupt flag (`svm::world_switch`) |
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
//! one stack is enough, and one word for the place where ring 3 was left. One case is open: #SX, #MC
//! or #DB in the entry itself ends by an IRET too, after which an NMI would overwrite the frame on
//! that stack (see limits.md).
//!
//! # A kick that does not arrive
//!
//! An NMI can be lost: INIT drops one that waits, and a guest that changes its APIC's id takes it
//! away from the kicks. So whoever waits for another processor waits by [`kick_while`], which sends
//! again. While a kick is under way no other is sent, but for that: two that arrive one after the
//! other would leave one NMI too many.
//!
//! # What is the guest's
//!
//! Of the NMIs that a processor has counted when it looks, as many as were sent were kicks; the
//! others are the guest's ([`Nmis::take`]). A kick and an NMI of the guest that merged look like a
//! kick alone, which is why a guest can ask for the kicks as well ([`forward_kicks`]).

use super::processor::{self, PerProcessor};
use super::time::Timer;
use super::{apic, idle};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;

/// Ticks after which a kick counts as lost. Longer than any processor takes to leave the guest; an
/// emulator on a busy machine may get a second one, which merges with the first.
const RESEND: u64 = 100_000_000;

/// The NMIs of a processor. The entry finds the fields by their offsets.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Nmis {
    /// NMIs that came and that nobody has looked at.
    came: AtomicU32,
    /// INITs among them, where the processor tells of INIT by an exception (see `svm`).
    inits: AtomicU32,
    /// Kicks that were sent and that nobody has looked at.
    kicks: AtomicU32,
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
    // INIT, as an exception with an error code. Otherwise like an NMI.
    ".global trap_nmi, trap_init",
    "trap_init:",
    "add rsp, 8",
    "push rax",
    "push rcx",
    "mov rax, [rsp + 56]",
    "lock inc dword ptr [rax + {inits}]",
    "jmp 1f",
    // Above the frame lies the address of the processor's `Nmis`.
    "trap_nmi:",
    "push rax",
    "push rcx",
    "mov rax, [rsp + 56]",
    "1:",
    "lock inc dword ptr [rax]",
    "mov rcx, [rsp + 16]",
    "test byte ptr [rsp + 24], 3",
    "jz 2f",
    "test rcx, rcx",
    "jz 4f",
    "mov [rax + {left_at}], rcx",
    "mov qword ptr [rsp + 16], 0",
    "jmp 4f",
    "2:",
    ".irp range, idle, enter",
    "lea rcx, [rip + \\range\\()_begin]",
    "cmp [rsp + 16], rcx",
    "jb 3f",
    "lea rcx, [rip + \\range\\()_end]",
    "cmp [rsp + 16], rcx",
    "jae 3f",
    "lea rcx, [rip + \\range\\()_interrupted]",
    "mov [rsp + 16], rcx",
    "mov [rsp + 8], rax",
    "jmp 4f",
    "3:",
    ".endr",
    "4:",
    "pop rcx",
    "pop rax",
    "iretq",
    inits = const offset_of!(Nmis, inits),
    left_at = const offset_of!(Nmis, left_at),
);

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
            idle::halt_for_ever();
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

/// Sends a processor an NMI, unless a kick is under way.
pub fn kick(processor: &PerProcessor) {
    if processor.nmis.kicks.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        apic::send_nmi(processor.apic_id);
    }
}

/// Kicks every other processor of which `is_needed` is true, and waits until it is true of none.
/// `None` when that takes longer than `deadline` ticks.
pub fn kick_while(
    me: u32,
    deadline: u64,
    is_needed: impl Fn(&PerProcessor) -> bool,
) -> Option<()> {
    let timer = Timer::start();
    let mut sent = timer;
    processor::others(me).filter(|other| is_needed(other)).for_each(kick);
    loop {
        let mut needed = processor::others(me).filter(|other| is_needed(other)).peekable();
        if needed.peek().is_none() {
            return Some(());
        }
        if timer.passed() > deadline {
            return None;
        }
        if sent.passed() > RESEND {
            sent = Timer::start();
            for other in needed {
                other.nmis.kicks.fetch_add(1, Ordering::SeqCst);
                apic::send_nmi(other.apic_id);
            }
        }
        core::hint::spin_loop();
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

/// Has every other processor stand still for good.
pub fn end_others() {
    ENDED.store(true, Ordering::SeqCst);
    processor::all().iter().for_each(|processor| apic::send_nmi(processor.apic_id));
}
