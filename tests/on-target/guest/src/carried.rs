//! A guarded write of which both forms are looked at, and everything else of the processor: a step leaves
//! no more behind than the same instruction elsewhere.

use crate::guarded::{self, area, counts};
use crate::start::compare;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// The form to which the first word of the area is carried.
static TWIN: AtomicU64 = AtomicU64::new(0);

/// What [`Behind`] has of a processor, in this order: RAX, RCX, RDX, RSI, RDI as far as it moved, R8 to
/// R14, RFLAGS, DR0 to DR3, DR6, DR7, and the word that was written.
const KEPT: usize = 20;
type Behind = [u64; KEPT];

/// Flags before each instruction: none, and the six that arithmetic sets with the direction, nested-task,
/// alignment and identification flags.
const FLAGS: [u64; 2] = [0x2, 0x24_4cd7];

/// Breakpoints of the guest's own, on writes of eight bytes where nothing is written.
const BREAKPOINTS: u64 = 0x9999_04aa;
/// DR6 with a flag of an earlier debug exception that has nothing to do with steps.
const STATUS: u64 = 0xffff_8ff0;
static UNTOUCHED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// A word before each instruction, and the one that the instruction brings along.
const OLD: u64 = 0x8000_0000_0000_0001;
const NEW: u64 = 0x9234_5678_9abc_def3;

/// Executes an instruction that writes the word at RDI.
macro_rules! execute {
    ($place:expr, $flags:expr, $instruction:literal) => {{
        let (place, source): (*mut u64, u64) = ($place, NEW);
        let mut behind: Behind = [0; KEPT];
        unsafe {
            place.write_volatile(OLD);
            set_breakpoints();
            let [rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, flags, ..] = &mut behind;
            asm!(
                "push r15", "popfq",
                $instruction,
                "pushfq", "pop r15",
                "push 2", "popfq",
                inout("rax") OLD => *rax, inout("rcx") NEW => *rcx, inout("rdx") 3_u64 => *rdx,
                inout("rsi") &raw const source => *rsi, inout("rdi") place => *rdi,
                inout("r8") 8_u64 => *r8, inout("r9") 9_u64 => *r9, inout("r10") 10_u64 => *r10,
                inout("r11") 11_u64 => *r11, inout("r12") 12_u64 => *r12,
                inout("r13") 13_u64 => *r13, inout("r14") 14_u64 => *r14,
                inout("r15") $flags => *flags,
            );
            *rdi = rdi.wrapping_sub(place as u64);
            *rsi = rsi.wrapping_sub(&raw const source as u64);
            let [.., dr0, dr1, dr2, dr3, dr6, dr7, value] = &mut behind;
            asm!("mov {0}, dr0", "mov {1}, dr1", "mov {2}, dr2", "mov {3}, dr3", "mov {4}, dr6",
                "mov {5}, dr7", "mov dr7, {6}", out(reg) *dr0, out(reg) *dr1, out(reg) *dr2,
                out(reg) *dr3, out(reg) *dr6, out(reg) *dr7, in(reg) 0x400_u64);
            *value = place.read_volatile();
        }
        behind
    }};
}

unsafe fn set_breakpoints() {
    let [first, second, third, fourth] = UNTOUCHED.each_ref().map(AtomicU64::as_ptr);
    unsafe {
        asm!("mov dr0, {0}", "mov dr1, {1}", "mov dr2, {2}", "mov dr3, {3}", "mov dr6, {4}",
            "mov dr7, {5}", in(reg) first, in(reg) second, in(reg) third, in(reg) fourth,
            in(reg) STATUS, in(reg) BREAKPOINTS);
    }
}

/// Each instruction where nothing is guarded, and on a guarded page.
pub fn check() {
    guarded::guard(1, TWIN.as_ptr() as u64);
    // On the page behind those that are ever guarded.
    let free = unsafe { area().add(1024) };
    macro_rules! check {
        ($($name:literal $instruction:literal)+) => {
            for flags in FLAGS {
                $(
                    let expected = execute!(free, flags, $instruction);
                    let found = carried(|| execute!(area(), flags, $instruction));
                    compare($name, different(&expected, &found), 0);
                )+
            }
        };
    }
    check! {
        "carried_mov" "mov [rdi], rcx"
        "carried_byte" "mov byte ptr [rdi + 3], 0x55"
        "carried_add" "add [rdi], rcx"
        "carried_adc" "lock adc [rdi], rcx"
        "carried_xadd" "lock xadd [rdi], rcx"
        "carried_cmpxchg" "lock cmpxchg [rdi], rcx"
        "carried_cmpxchg_that_fails" "cmpxchg [rdi + 1], rcx"
        "carried_bts" "bts qword ptr [rdi], 5"
        "carried_shift" "shl qword ptr [rdi], 3"
        "carried_stos" "stosq"
        "carried_movs" "movsq"
        "carried_setc" "setc byte ptr [rdi]"
        "carried_pop" "push r11; pop [rdi]"
    }
    guarded::guard(0, 0);
}

/// Bits of what is not as it should be: of [`KEPT`] things, then of the twin, and of steps and pages.
fn different(expected: &Behind, (found, twin, counted): &(Behind, u64, (u64, u64))) -> u64 {
    let value = expected.last().copied().unwrap_or_default();
    let pairs = expected.iter().zip(found).map(|(expected, found)| expected != found);
    let all = pairs.chain([*twin != value, *counted != (2, 2)]);
    all.enumerate().map(|(number, differs)| u64::from(differs) << number).sum()
}

/// What is behind an instruction, its twin, and what was counted. The word is set before, which is a
/// guarded write too.
fn carried(execute: impl FnOnce() -> Behind) -> (Behind, u64, (u64, u64)) {
    TWIN.store(0, Ordering::SeqCst);
    counts();
    let found = execute();
    (found, TWIN.load(Ordering::SeqCst), counts())
}
