//! Detours: code that runs on this vCPU apart from what the guest does.

use crate::apic;
use crate::start::{compare, hypercall, is_bochs};
use core::arch::{asm, global_asm};
use lucos_test_protocol::guest::{self, Ended};

#[repr(C, align(4096))]
struct Stack([u64; 512]);
static mut STACK: Stack = Stack([0; 512]);

/// A word that no detour may write.
static mut KEPT: u64 = 0;

/// An address that no page table maps.
const UNMAPPED: u64 = 6 << 30;
/// An address where there is no memory.
const NOWHERE: u64 = 0x7fff_0000;

global_asm!(
    ".macro DETOUR name",
    ".global \\name",
    "\\name:",
    ".endm",
    // Uses its stack, and changes every general register and flags.
    "DETOUR detour_back",
    "push rdi",
    "pop rbx",
    ".irp register, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
    "not \\register",
    ".endr",
    "std",
    "stc",
    "mov eax, {back}",
    "call guest_call",
    "DETOUR detour_loop",
    "jmp detour_loop",
    "DETOUR detour_divides",
    "xor eax, eax",
    "div eax",
    "DETOUR detour_is_wild",
    "mov rdi, {unmapped}",
    "mov rax, [rdi]",
    "DETOUR detour_reads",
    "mov edi, {nowhere}",
    "mov rax, [rdi]",
    "DETOUR detour_writes",
    "mov qword ptr [rip + {kept}], 1",
    "DETOUR detour_floats",
    "xorps xmm0, xmm0",
    "DETOUR detour_halts",
    "hlt",
    "DETOUR detour_changes_breakpoints",
    "mov dr0, rdi",
    "ud2",
    back = const guest::BACK,
    unmapped = const UNMAPPED,
    nowhere = const NOWHERE,
    kept = sym KEPT,
);

unsafe extern "C" {
    fn detour_back();
    fn detour_loop();
    fn detour_divides();
    fn detour_is_wild();
    fn detour_reads();
    fn detour_writes();
    fn detour_floats();
    fn detour_halts();
    fn detour_changes_breakpoints();
}

fn address(code: unsafe extern "C" fn()) -> u64 {
    code as *const () as u64
}

fn stack_end() -> u64 {
    &raw const STACK as u64 + size_of::<Stack>() as u64
}

/// How a detour ended, and the detail.
fn detour(code: unsafe extern "C" fn(), steps: u64) -> (u64, u64) {
    hypercall(guest::DETOUR, address(code), stack_end(), steps)
}

/// All checks of one processor.
pub fn check() {
    for steps in [1000, 0] {
        endings(steps);
    }
    compare("detour_writes_nothing", unsafe { (&raw const KEPT).read_volatile() }, 0);
    let (ended, place) = detour(detour_loop, 1000);
    compare("detour_of_some_steps", ended, Ended::Stepped as u64);
    compare("detour_is_where_it_was", place, address(detour_loop));
    keeps_registers();
    // Bochs 2.7 takes no interrupt out of a guest that holds interrupts off.
    if !is_bochs() {
        until_the_interrupt();
    }
}

/// Each with its budget in steps, and without.
fn endings(steps: u64) {
    let expect = |name, code, ended: Ended, detail| {
        let found = detour(code, steps);
        compare(name, found.0, ended as u64);
        compare(name, found.1, detail);
    };
    expect("detour_comes_back", detour_back, Ended::Back, 0x77);
    expect("detour_divides", detour_divides, Ended::Exception, 0);
    expect("detour_page_faults", detour_is_wild, Ended::Exception, UNMAPPED);
    expect("detour_reads_a_device", detour_reads, Ended::NestedFault, NOWHERE);
    expect("detour_writes", detour_writes, Ended::NestedFault, &raw const KEPT as u64);
    expect("detour_uses_floating_point", detour_floats, Ended::Exception, 7);
    expect("detour_halts", detour_halts, Ended::Otherwise, 0);
    expect("detour_changes_breakpoints", detour_changes_breakpoints, Ended::Otherwise, 0);
}

/// General registers before and behind a hypercall that takes a detour; RAX, RBX, RCX and RDX are its
/// arguments.
fn around(number: u64, code: unsafe extern "C" fn(), steps: u64) -> (u64, u64) {
    let (rax, changed): (u64, u64);
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov rbx, {code}",
            ".irp number, 8, 9, 10, 11, 12, 13, 14, 15",
            "mov r\\number, \\number",
            ".endr",
            "mov esi, 6",
            "mov edi, 7",
            "mov ebp, 5",
            "std",
            "call guest_call",
            // The sum of what they were set to is 110; the direction flag still goes down.
            ".irp register, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
            "add rsi, \\register",
            ".endr",
            "pushfq",
            "cld",
            "pop rdi",
            "and edi, 0x400",
            "add rsi, rdi",
            "pop rbp",
            "pop rbx",
            code = in(reg) address(code),
            inout("rax") number => rax,
            inout("rcx") stack_end() => _,
            inout("rdx") steps => _,
            out("rsi") changed,
            out("rdi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    (rax, changed)
}

const KEPT_SUM: u64 = 6 + 7 + 5 + 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15 + 0x400;

fn keeps_registers() {
    let (ended, sum) = around(guest::DETOUR, detour_back, 1000);
    compare("detour_ends", ended, Ended::Back as u64);
    compare("detour_keeps_registers", sum, KEPT_SUM);
    let cr2: u64;
    unsafe {
        asm!("mov cr2, {}", in(reg) 0x1234_5000_u64);
        detour(detour_is_wild, 1000);
        asm!("mov {}, cr2", out(reg) cr2);
    }
    compare("detour_keeps_cr2", cr2, 0x1234_5000);
    // A watchpoint of the guest's own, on what the detour reads: its stack.
    unsafe {
        asm!("mov dr0, {0}", "mov dr7, {1}", in(reg) stack_end() - 8, in(reg) 0xb_0402_u64);
        let found = detour(detour_back, 1000);
        asm!("mov dr7, {0}", in(reg) 0x400_u64);
        compare("detour_meets_no_watchpoint", found.0, Ended::Back as u64);
    }
}

/// A detour without a budget goes on until the next interrupt, which the guest gets behind it.
fn until_the_interrupt() {
    use crate::interrupts::TIMER_COUNT;
    use core::sync::atomic::Ordering;
    let before = TIMER_COUNT.load(Ordering::SeqCst);
    apic::one_shot(guest::TIMER, 100_000);
    for _ in 0..2 {
        compare("detour_is_interrupted", detour(detour_loop, 0).0, Ended::Interrupted as u64);
        compare("detour_takes_no_interrupt", TIMER_COUNT.load(Ordering::SeqCst), before);
    }
    unsafe { asm!("sti", "nop", "nop", "cli") };
    compare("interrupt_comes_behind_detour", TIMER_COUNT.load(Ordering::SeqCst), before + 1);
}

/// One that holds a stop and gets no interrupt is ended by whoever waits for the stop.
pub fn check_stopped() {
    if !is_bochs() {
        let (ended, _) = hypercall(guest::STOPPED_DETOUR, address(detour_loop), stack_end(), 0);
        compare("endless_detour_in_a_stop_ends", ended, Ended::Interrupted as u64);
    }
}

/// The task that began a detour ends in the middle of it.
pub fn abandon() {
    let (restarts, sum) = around(guest::ABANDON, detour_back, 0);
    compare("task_that_detours_is_restarted", restarts, 1);
    compare("abandoned_detour_gives_registers_back", sum, KEPT_SUM);
}
