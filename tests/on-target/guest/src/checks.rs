//! The checks, in the order of `lucos_test_protocol::guest::NAMES`.

use crate::interrupts::{
    INVALID_OPCODES, NMI_COUNT, NMI_ORDER, NMI_TOO_EARLY, PROTECTION, TIMER_COUNT,
};
use crate::start::{find_vendor, hypercall, is_bochs, is_vtx, started};
use crate::{apic, carried, detours, guarded, interrupts};
use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use lucos_test_protocol::guest;

/// Counted by the other processors all the time, so that the suite sees whether they stand still.
#[unsafe(no_mangle)]
static MOVES: AtomicU64 = AtomicU64::new(0);

/// What the processor that came second shall do: one of the constants below. It puts `NOTHING` here when that
/// is done.
static ORDER: AtomicU64 = AtomicU64::new(NOTHING);
const NOTHING: u64 = 0;
/// An APIC id that no processor has.
const NOBODY: u32 = 0x20;
/// Send the first processor an NMI.
const SEND_NMI: u64 = 1;
/// Hide from kicks.
const HIDE: u64 = 2;
/// Be where kicks go.
const SHOW: u64 = 3;
/// Add to the guarded word.
pub const ADD: u64 = 4;
/// Look at a word that is written meanwhile.
pub const WATCH: u64 = 5;

/// All checks, by the first processor. `hidden` is the start of LUCOS's region.
pub fn run(hidden: u64) -> ! {
    find_vendor();
    interrupts::load();
    apic::enable();
    cpuid_and_msr();
    hidden_memory(hidden);
    exceptions();
    timer();
    nmis();
    guarded::check();
    carried::check();
    detours::check();
    others();
    detours::abandon();
    hypercall(guest::DONE, 0, 0, 0);
    loop {
        unsafe { asm!("hlt") };
    }
}

/// Every other processor.
pub fn run_other(number: u64) -> ! {
    interrupts::load();
    apic::enable();
    loop {
        MOVES.fetch_add(1, Ordering::SeqCst);
        if number == 1 {
            obey();
        }
    }
}

/// APIC id of the processor that obeys.
static ID: AtomicU32 = AtomicU32::new(0);

fn obey() {
    match ORDER.load(Ordering::SeqCst) {
        SEND_NMI => apic::send_nmi(0),
        HIDE => {
            ID.store(apic::id(), Ordering::SeqCst);
            apic::set_id(NOBODY);
        }
        SHOW => apic::set_id(ID.load(Ordering::SeqCst)),
        ADD => guarded::add(0),
        WATCH => guarded::watch(),
        _ => return,
    }
    ORDER.store(NOTHING, Ordering::SeqCst);
}

/// Has that processor do something, and waits until it is done.
fn order(order: u64) {
    begin(order);
    wait();
}

/// Has that processor do something.
pub fn begin(order: u64) {
    ORDER.store(order, Ordering::SeqCst);
}

/// Waits until it is done.
pub fn wait() {
    while ORDER.load(Ordering::SeqCst) != NOTHING {
        core::hint::spin_loop();
    }
}

fn check(number: u64, found: u64, expected: u64) {
    hypercall(guest::CHECK, number, found, expected);
}

fn cpuid_and_msr() {
    // What says that there is the extension, and a register that is not the guest's.
    let (leaf, bit, register) =
        if is_vtx() { (1, 5, 0x3a) } else { (0x8000_0001, 2, 0xc000_0080_u32) };
    let before = exits();
    let extension = __cpuid(leaf).ecx >> bit & 1;
    // The second question is the only exit between, but for CPUID where that must leave.
    check(0, exits() - before, 1 + u64::from(is_vtx()));
    check(1, extension.into(), 1);
    let (low, high): (u32, u32);
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high) };
    check(2, u64::from(high) << 32 | u64::from(low), 0x1234_5678_0000_0d01);
}

fn hidden_memory(hidden: u64) {
    let seen = unsafe { ((hidden + 0x12_3450) as *const u64).read_volatile() };
    check(3, seen, u64::MAX);
    PROTECTION.store(0, Ordering::SeqCst);
    unsafe { asm!("mov byte ptr [rdi], 0", in("rdi") hidden + 0x4_5678) };
    check(4, PROTECTION.load(Ordering::SeqCst), 1);
}

fn exceptions() {
    unsafe { asm!("ud2") };
    check(5, INVALID_OPCODES.load(Ordering::SeqCst), 1);
    hypercall(guest::INTERCEPT, 1, 0, 0);
    let redirected: u64;
    // The suite moves RIP by two, behind the byte and its padding, and sets RAX.
    unsafe { asm!(".byte 0x06, 0x90", out("rax") redirected) };
    hypercall(guest::INTERCEPT, 0, 0, 0);
    check(6, redirected, 0x0606);
    PROTECTION.store(0, Ordering::SeqCst);
    hypercall(guest::EXCEPTION, 13, 0x50, 0);
    check(7, PROTECTION.load(Ordering::SeqCst), 0x51);
}

fn exits() -> u64 {
    hypercall(guest::EXITS, 0, 0, 0).0
}

fn timer() {
    const ROUNDS: u64 = 1_000;
    let before = exits();
    unsafe { asm!("sti") };
    for round in 1..=ROUNDS {
        apic::one_shot(guest::TIMER, 1_000);
        while TIMER_COUNT.load(Ordering::SeqCst) < round {
            core::hint::spin_loop();
        }
    }
    // The second question is the only exit between.
    let after = exits();
    check(8, TIMER_COUNT.load(Ordering::SeqCst), ROUNDS);
    check(9, after - before, 1);
    for _ in 0..ROUNDS {
        unsafe { asm!("cli") };
        apic::one_shot(guest::TIMER, 1_000);
        unsafe { asm!("sti", "hlt") };
    }
    unsafe { asm!("cli") };
    check(10, TIMER_COUNT.load(Ordering::SeqCst), 2 * ROUNDS);
}

fn nmis() {
    send_and_wait(1);
    check(11, NMI_COUNT.load(Ordering::SeqCst), 1);
    NMI_ORDER.store(1, Ordering::SeqCst);
    send_and_wait(3);
    check(12, NMI_TOO_EARLY.load(Ordering::SeqCst), 0);
    check(13, NMI_COUNT.load(Ordering::SeqCst), 3);
}

/// Sends this processor an NMI and waits until so many have come, for a while.
fn send_and_wait(count: u64) {
    apic::send_nmi(0);
    wait_for_nmis(count);
}

pub fn wait_for_nmis(count: u64) {
    for _ in 0..50_000_000_u64 {
        if NMI_COUNT.load(Ordering::SeqCst) >= count {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Starts all other processors and has them stopped again and again.
fn others() {
    const STOPS: u64 = 500;
    let all = unsafe { (guest::PARAMETERS as *const u64).read_volatile() };
    let entry = run_start_address();
    for number in 1..all {
        hypercall(guest::START, number, entry, 0);
    }
    for _ in 0..100_000_000_u64 {
        if started() == all {
            break;
        }
        core::hint::spin_loop();
    }
    check(14, started(), all);
    // None of the kicks may reach the guest, and every NMI of the guest must.
    let before = NMI_COUNT.load(Ordering::SeqCst);
    let (done, moved) = stops(STOPS, PATIENCE);
    check(15, done, STOPS);
    check(16, moved, 0);
    let mut arrived = 0;
    for _ in 0..100 {
        for number in 1..all {
            let seen = NMI_COUNT.load(Ordering::SeqCst);
            apic::send_nmi(number as u32);
            wait_for_nmis(seen + 1);
        }
        arrived += all - 1;
    }
    let came = NMI_COUNT.load(Ordering::SeqCst) - before;
    check(17, came, arrived);
    if all > 1 {
        guarded::check_together();
        detours::check_stopped();
        nmi_behind_an_exception();
        endless_stop();
        // Bochs 2.7 has NMIs arrive at an APIC under the id that it had.
        if !is_bochs() {
            lost_kick();
        }
    }
}

/// An NMI that comes while an exception waits for delivery needs no further exit to arrive.
fn nmi_behind_an_exception() {
    let before = NMI_COUNT.load(Ordering::SeqCst);
    hypercall(guest::EXCEPTION, 13, 0x60, &raw const ORDER as u64);
    wait_for_nmis(before + 1);
    check(18, NMI_COUNT.load(Ordering::SeqCst) - before, 1);
}

fn endless_stop() {
    hypercall(guest::STOP_FOR_GOOD, 0, 0, 0);
    let before = MOVES.load(Ordering::SeqCst);
    for _ in 0..50_000_000_u64 {
        if MOVES.load(Ordering::SeqCst) != before {
            break;
        }
        core::hint::spin_loop();
    }
    check(19, u64::from(MOVES.load(Ordering::SeqCst) != before), 1);
}

/// While a processor gets no kicks, what needs them is late. Afterwards all is well.
fn lost_kick() {
    const SOON: u64 = 300_000_000;
    let nmis = NMI_COUNT.load(Ordering::SeqCst);
    let page = &raw const PROTECTED as u64;
    order(HIDE);
    check(20, stops(1, SOON).0, 0);
    check(21, hypercall(guest::PROTECT, page, 1, 0).0, guest::LATE);
    check(22, hypercall(guest::PROTECT, page, 0, 0).0, 0);
    order(SHOW);
    let (done, moved) = stops(100, PATIENCE);
    check(23, done, 100);
    check(24, moved, 0);
    check(25, hypercall(guest::PROTECT, page, 1, 0).0, 0);
    check(26, NMI_COUNT.load(Ordering::SeqCst), nmis);
}

#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "only its place matters")] [u8; 4096]);
static PROTECTED: Page = Page([0; 4096]);

/// Far more than any emulator needs to stop.
const PATIENCE: u64 = 5_000_000_000;

fn stops(count: u64, deadline: u64) -> (u64, u64) {
    hypercall(guest::STOPS, count, &raw const MOVES as u64, deadline)
}

fn run_start_address() -> u64 {
    unsafe extern "C" {
        fn _start();
    }
    _start as *const () as u64
}
