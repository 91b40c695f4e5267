//! The guest's own interrupt table and handlers. They count.

use crate::apic;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use lucos_test_protocol::guest::TIMER;

/// Interrupts of the timer.
pub static TIMER_COUNT: AtomicU64 = AtomicU64::new(0);
/// Invalid opcodes.
pub static INVALID_OPCODES: AtomicU64 = AtomicU64::new(0);
/// Last error code of a protection exception, plus one.
pub static PROTECTION: AtomicU64 = AtomicU64::new(0);
/// Debug exceptions: all, those between two addresses, and the last one's DR6 and RIP.
pub static DEBUG_COUNT: AtomicU64 = AtomicU64::new(0);
/// From the first address to before the second.
pub static DEBUG_RANGE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// How many came there.
pub static DEBUG_IN_RANGE: AtomicU64 = AtomicU64::new(0);
/// What they said in DR6.
pub static DEBUG_STATUS: AtomicU64 = AtomicU64::new(0);
/// RIP of the last one.
pub static DEBUG_PLACE: AtomicU64 = AtomicU64::new(0);
/// The address of the last page fault.
pub static FAULT_ADDRESS: AtomicU64 = AtomicU64::new(0);
/// Page faults.
pub static FAULT_COUNT: AtomicU64 = AtomicU64::new(0);
/// Where to go on after a page fault.
pub static FAULT_RESUME: AtomicU64 = AtomicU64::new(0);
/// The word that the NMI handler writes when its order is 2.
pub static NMI_WORD: AtomicU64 = AtomicU64::new(0);
/// NMIs of all processors.
pub static NMI_COUNT: AtomicU64 = AtomicU64::new(0);
/// What the NMI handler shall do: 1 = send itself another and look whether it comes too early; 2 =
/// the same, and write to the word at `NMI_WORD` meanwhile.
pub static NMI_ORDER: AtomicU64 = AtomicU64::new(0);
/// NMIs counted while the first handler was still running.
pub static NMI_TOO_EARLY: AtomicU64 = AtomicU64::new(0);

global_asm!(
    ".macro HANDLER name, target, code, skip",
    "\\name:",
    "push rax; push rcx; push rdx; push rsi; push rdi; push r8; push r9; push r10; push r11",
    "lea rdi, [rsp + 72]",
    "mov rsi, [rdi]",
    "cld",
    "call \\target",
    "pop r11; pop r10; pop r9; pop r8; pop rdi; pop rsi; pop rdx; pop rcx; pop rax",
    "add rsp, \\code",
    "add qword ptr [rsp], \\skip",
    "iretq",
    ".endm",
    // ud2 and the invalid byte with its padding are two bytes; so is the refused store's padding.
    "HANDLER guest_invalid_opcode, {invalid_opcode}, 0, 2",
    "HANDLER guest_protection, {protection}, 8, 0",
    "HANDLER guest_nmi, {nmi}, 0, 0",
    "HANDLER guest_timer, {timer}, 0, 0",
    "HANDLER guest_debug, {debug}, 0, 0",
    "HANDLER guest_page_fault, {page_fault}, 8, 0",
    invalid_opcode = sym invalid_opcode,
    protection = sym protection,
    nmi = sym nmi,
    timer = sym timer,
    debug = sym debug,
    page_fault = sym page_fault,
);

unsafe extern "C" {
    fn guest_invalid_opcode();
    fn guest_protection();
    fn guest_nmi();
    fn guest_timer();
    fn guest_debug();
    fn guest_page_fault();
}

extern "C" fn invalid_opcode(_: u64, _: u64) {
    INVALID_OPCODES.fetch_add(1, Ordering::SeqCst);
}

/// A refused store: the address to go on with was left in R15 by the code that stores.
extern "C" fn protection(frame: *mut u64, error: u64) {
    PROTECTION.store(error + 1, Ordering::SeqCst);
    unsafe {
        let rip = frame.add(1);
        // `mov byte ptr [rdi], 0` has three bytes; an injected exception points behind the hypercall.
        if *(rip.read() as *const u8) == 0xc6 {
            rip.write(rip.read() + 3);
        }
    }
}

extern "C" fn nmi(_: u64, _: u64) {
    let before = NMI_COUNT.fetch_add(1, Ordering::SeqCst);
    let order = NMI_ORDER.swap(0, Ordering::SeqCst);
    if order != 0 {
        apic::send_nmi(0);
        if order == 2 {
            let word = NMI_WORD.load(Ordering::SeqCst) as *mut u64;
            unsafe { word.write_volatile(0x1234) };
        }
        for _ in 0..100_000 {
            core::hint::spin_loop();
        }
        let now = NMI_COUNT.load(Ordering::SeqCst);
        NMI_TOO_EARLY.store(now - before - 1, Ordering::SeqCst);
    }
}

extern "C" fn timer(_: u64, _: u64) {
    TIMER_COUNT.fetch_add(1, Ordering::SeqCst);
    apic::end_of_interrupt();
}

/// Stepping goes on until the code that began it ends it.
extern "C" fn debug(frame: *mut u64, _: u64) {
    let place = unsafe { frame.read() };
    DEBUG_COUNT.fetch_add(1, Ordering::SeqCst);
    let [first, beyond] = &DEBUG_RANGE;
    if first.load(Ordering::SeqCst) <= place && place < beyond.load(Ordering::SeqCst) {
        DEBUG_IN_RANGE.fetch_add(1, Ordering::SeqCst);
    }
    let status: u64;
    unsafe { asm!("mov {0}, dr6", "mov dr6, {1}", out(reg) status, in(reg) 0xffff_0ff0_u64) };
    DEBUG_STATUS.fetch_or(status, Ordering::SeqCst);
    DEBUG_PLACE.store(place, Ordering::SeqCst);
}

extern "C" fn page_fault(frame: *mut u64, _: u64) {
    let address: u64;
    unsafe {
        asm!("mov {}, cr2", out(reg) address);
        frame.add(1).write(FAULT_RESUME.load(Ordering::SeqCst));
    }
    FAULT_ADDRESS.store(address, Ordering::SeqCst);
    FAULT_COUNT.fetch_add(1, Ordering::SeqCst);
}

static mut TABLE: [[u64; 2]; 256] = [[0; 2]; 256];

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Makes this processor use the table.
pub fn load() {
    const CODE: u64 = 0x10;
    for (vector, target) in [
        (6, guest_invalid_opcode as *const () as u64),
        (1, guest_debug as *const () as u64),
        (14, guest_page_fault as *const () as u64),
        (13, guest_protection as *const () as u64),
        (2, guest_nmi as *const () as u64),
        (usize::from(TIMER), guest_timer as *const () as u64),
    ] {
        let low = target & 0xffff | CODE << 16 | 0x8e << 40 | (target >> 16 & 0xffff) << 48;
        unsafe { (&raw mut TABLE[vector]).write([low, target >> 32]) };
    }
    let pointer = Pointer { limit: 4095, base: &raw const TABLE as u64 };
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer) };
}
