//! Writes to guarded pages, which happen once each, one step at a time, and as they should.

use crate::interrupts::{
    DEBUG_COUNT, DEBUG_IN_RANGE, DEBUG_PLACE, DEBUG_RANGE, DEBUG_STATUS, FAULT_ADDRESS,
    FAULT_COUNT, FAULT_RESUME, NMI_COUNT, NMI_ORDER, NMI_TOO_EARLY, NMI_WORD, PROTECTION,
    TIMER_COUNT,
};
use crate::start::{compare, hypercall, is_bochs, is_vtx};
use crate::{apic, checks};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use lucos_test_protocol::guest;

const PAGE: u64 = 4096;

#[repr(C, align(4096))]
struct Area([u64; 1536]);
/// Two pages that are guarded, and one that is not.
static mut AREA: Area = Area([0; 1536]);

/// What the first word of the area is carried to.
static TWIN: AtomicU64 = AtomicU64::new(0);

pub fn area() -> *mut u64 {
    (&raw mut AREA).cast()
}

pub fn guard(pages: u64, twin: u64) {
    hypercall(guest::GUARD, area() as u64, pages, twin);
}

fn word(index: usize) -> u64 {
    unsafe { area().add(index).read_volatile() }
}

/// Steps and opened pages since the last call.
pub fn counts() -> (u64, u64) {
    hypercall(guest::STEPS, 0, 0, 0)
}

/// All checks that need no second processor.
pub fn check() {
    guard(2, 0);
    kinds_of_stores();
    strings_and_borders();
    held_back();
    own_debug_exceptions();
    fault_of_the_instruction();
    guarded_page_table();
    guard(0, 0);
    interrupted_delivery();
}

/// Each of these writes once, in one step.
fn kinds_of_stores() {
    let page = area();
    counts();
    for _ in 0..100 {
        unsafe { asm!("lock inc qword ptr [{0}]", in(reg) page) };
    }
    compare("guarded_lock_inc", word(0), 100);
    compare("guarded_lock_inc_steps", counts().0, 100);
    let old: u64;
    unsafe { asm!("xchg [{0}], {1}", in(reg) page, inout(reg) 7_u64 => old) };
    compare("guarded_xchg_reads", old, 100);
    unsafe { asm!("lock xadd [{0}], {1}", in(reg) page, inout(reg) 5_u64 => _) };
    compare("guarded_xadd", word(0), 12);
    by_gs(page);
    compare("guarded_by_gs", word(1), 1);
    compare("guarded_exchanges_steps", counts().0, 3);
    cmpxchg16b(page);
    sse(page);
}

/// GS is the base of a guarded page.
fn by_gs(page: *mut u64) {
    const GS_BASE: u32 = 0xc000_0101;
    let (low, high) = (page as u64 as u32, (page as u64 >> 32) as u32);
    unsafe {
        asm!("wrmsr", "inc qword ptr gs:[8]", in("ecx") GS_BASE, in("eax") low, in("edx") high);
    }
}

/// Both that which succeeds and that which only writes back what was there.
fn cmpxchg16b(page: *mut u64) {
    for (expected, value) in [([12, 1], [3, 4]), ([0, 0], [3, 4])] {
        let [low, high]: [u64; 2] = expected;
        let [new_low, new_high]: [u64; 2] = value;
        unsafe {
            asm!(
                "xchg rbx, {new}",
                "lock cmpxchg16b [{page}]",
                "mov rbx, {new}",
                new = inout(reg) new_low => _,
                page = in(reg) page,
                inout("rax") low => _,
                inout("rdx") high => _,
                in("rcx") new_high,
            );
        }
    }
    compare("guarded_cmpxchg16b", word(0) << 8 | word(1), 0x304);
    compare("guarded_cmpxchg16b_steps", counts().0, 2);
}

fn sse(page: *mut u64) {
    const OSFXSR: u64 = 1 << 9;
    let cr4: u64;
    unsafe {
        asm!("mov {0}, cr4", out(reg) cr4);
        asm!("mov cr4, {0}", in(reg) cr4 | OSFXSR);
        let source = [0x1122_u64, 0x3344];
        asm!("movups xmm0, [{0}]", "movaps [{1}], xmm0", in(reg) source.as_ptr(), in(reg) page);
    }
    compare("guarded_movaps", word(0) << 16 | word(1), 0x1122_3344);
    compare("guarded_movaps_steps", counts().0, 1);
    unsafe { asm!("fxsave64 [{0}]", in(reg) page) };
    // Where the register was stored.
    compare("guarded_fxsave", word(20) << 16 | word(21), 0x1122_3344);
    compare("guarded_fxsave_steps", counts().0, 1);
}

fn strings_and_borders() {
    let page = area();
    let source = [0x0102_0304_0506_0708_u64; 2];
    let copy = |to: *mut u64, count: u64| unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rsi") source.as_ptr() => _,
            inout("rdi") to => _);
    };
    let last = unsafe { page.add(1023) };
    counts();
    copy(unsafe { page.add(2) }, 16);
    compare("guarded_movsb", word(3), source[1]);
    compare("guarded_movsb_steps", counts().0, 16);
    // Eight bytes on the second page, and eight behind it.
    copy(last, 16);
    compare("guarded_movsb_over_the_end", word(1023) ^ word(1024), 0);
    compare("guarded_movsb_over_the_end_steps", counts().0, 8);
    let store = |to: u64| unsafe {
        asm!("mov [{0}], {1}", in(reg) to, in(reg) 0x1122_3344_5566_7788_u64);
        (to as *const u64).read_unaligned()
    };
    compare("guarded_two_pages", store(page as u64 + PAGE - 4), 0x1122_3344_5566_7788);
    let (steps, pages) = counts();
    compare("guarded_two_pages_steps", steps << 8 | pages, 0x102);
    compare("guarded_and_unguarded", store(last as u64 + 4), 0x1122_3344_5566_7788);
    let (steps, pages) = counts();
    compare("guarded_and_unguarded_steps", steps << 8 | pages, 0x102);
}

/// Interrupts and NMIs that wait come behind the step, once.
fn held_back() {
    let page = area();
    let before = TIMER_COUNT.load(Ordering::SeqCst);
    unsafe { asm!("cli") };
    apic::one_shot(guest::TIMER, 1);
    for _ in 0..100_000 {
        core::hint::spin_loop();
    }
    let (seen, stack): (u64, u64);
    unsafe {
        asm!("mov {2}, rsp", "sti", "mov qword ptr [{0}], 6", "mov {1}, [{3}]", "nop", "nop", "cli",
            "sub {2}, rsp", in(reg) page, out(reg) seen, out(reg) stack,
            in(reg) &raw const TIMER_COUNT);
    }
    compare("guarded_with_interrupt_writes", word(0), 6);
    compare("guarded_interrupt_comes_behind", seen, before + 1);
    compare("guarded_interrupt_comes_once", TIMER_COUNT.load(Ordering::SeqCst), before + 1);
    compare("guarded_interrupt_stack", stack, 0);
    let before = NMI_COUNT.load(Ordering::SeqCst);
    NMI_WORD.store(page as u64, Ordering::SeqCst);
    NMI_ORDER.store(2, Ordering::SeqCst);
    apic::send_nmi(0);
    checks::wait_for_nmis(before + 2);
    compare("guarded_in_nmi_handler", word(0), 0x1234);
    compare("guarded_nmi_waits_for_iret", NMI_TOO_EARLY.load(Ordering::SeqCst), 0);
    compare("guarded_nmi_comes_once", NMI_COUNT.load(Ordering::SeqCst), before + 2);
}

/// DR6: the debug exception of a single step.
const SINGLE_STEP: u64 = 1 << 14;

/// Steps and watchpoints of the guest's own.
fn own_debug_exceptions() {
    let page = area();
    let before = DEBUG_COUNT.load(Ordering::SeqCst);
    DEBUG_STATUS.store(0, Ordering::SeqCst);
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "mov qword ptr [{0}], 8",
            "pushfq", "and qword ptr [rsp], -0x101", "popfq", in(reg) page);
    }
    // The store, PUSHF, AND and POPF.
    compare("own_steps_go_on", DEBUG_COUNT.load(Ordering::SeqCst) - before, 4);
    compare("own_step_says_so", DEBUG_STATUS.load(Ordering::SeqCst) & SINGLE_STEP, SINGLE_STEP);
    compare("own_step_writes", word(0), 8);
    watchpoint(page);
    stepping_over_nmis(page);
}

fn watchpoint(page: *mut u64) {
    let (behind, flags): (u64, u64);
    // Eight bytes on writes, DR0.
    let before = DEBUG_COUNT.load(Ordering::SeqCst);
    DEBUG_STATUS.store(0, Ordering::SeqCst);
    unsafe {
        asm!("mov dr0, {0}", "mov dr7, {1}", "mov qword ptr [{0}], 9", "2:", "pushfq", "pop {2}",
            "mov dr7, {3}", "lea {4}, [rip + 2b]", in(reg) page, in(reg) 0x9_0402_u64,
            out(reg) flags, in(reg) 0x400_u64, out(reg) behind);
    }
    compare("flag_of_the_step_is_gone", flags & 1 << 8, 0);
    // Bochs 2.7 says nothing of a debug exception that leaves the guest.
    if !is_bochs() {
        compare("watchpoint_hits", DEBUG_COUNT.load(Ordering::SeqCst) - before, 1);
        let status = DEBUG_STATUS.load(Ordering::SeqCst);
        compare("watchpoint_says_so", status & (SINGLE_STEP | 0xf), 1);
        compare("watchpoint_comes_behind", DEBUG_PLACE.load(Ordering::SeqCst), behind);
    }
}

global_asm!(
    // Four instructions, and the end of all stepping.
    ".global stepped, stepped_end",
    "stepped: nop; nop; nop; nop",
    "stepped_end: pushfq",
    "and qword ptr [rsp], -0x101",
    "popfq",
    "ret",
);

unsafe extern "C" {
    fn stepped();
    fn stepped_end();
}

/// An NMI that waits for the IRET of another does not end the stepping that they interrupt.
fn stepping_over_nmis(page: *mut u64) {
    let [first, beyond] = &DEBUG_RANGE;
    first.store(stepped as *const () as u64 + 1, Ordering::SeqCst);
    beyond.store(stepped_end as *const () as u64 + 1, Ordering::SeqCst);
    DEBUG_IN_RANGE.store(0, Ordering::SeqCst);
    let nmis = NMI_COUNT.load(Ordering::SeqCst);
    NMI_WORD.store(page as u64, Ordering::SeqCst);
    NMI_ORDER.store(2, Ordering::SeqCst);
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", clobber_abi("C")) };
    apic::send_nmi(0);
    checks::wait_for_nmis(nmis + 2);
    unsafe { stepped() };
    compare("stepping_goes_on_behind_nmis", DEBUG_IN_RANGE.load(Ordering::SeqCst), 4);
    compare("nmis_among_steps", NMI_COUNT.load(Ordering::SeqCst), nmis + 2);
}

/// Page tables of the guest's own: 2 MiB of memory at 5 GiB, and nothing behind.
const FAR: u64 = 5 << 30;
const LARGE_PAGE: u64 = 2 << 20;
const FAR_MEMORY: u64 = 0x0180_0000;

/// A directory of page tables.
static mut DIRECTORY: Area = Area([0; 1536]);

fn map_far() {
    const USED: u64 = 7;
    const LARGE: u64 = 1 << 7;
    let directory: *mut u64 = (&raw mut DIRECTORY).cast();
    let root: u64;
    unsafe {
        asm!("mov {}, cr3", out(reg) root);
        directory.write_volatile(FAR_MEMORY | LARGE | USED);
        let pointers = ((root as *const u64).read_volatile() & !0xfff) as *mut u64;
        pointers.add((FAR >> 30) as usize).write_volatile(directory as u64 | USED);
        asm!("mov cr3, {}", in(reg) root);
    }
}

/// The guest's own fault comes in the step, with its address.
fn fault_of_the_instruction() {
    map_far();
    hypercall(guest::GUARD, FAR_MEMORY + LARGE_PAGE - PAGE, 1, 0);
    counts();
    unsafe {
        asm!("lea {1}, [rip + 2f]", "mov [{2}], {1}", "mov qword ptr [{0}], {1}", "2:",
            in(reg) FAR + LARGE_PAGE - 4, out(reg) _, in(reg) FAULT_RESUME.as_ptr());
    }
    compare("own_fault_is_delivered", FAULT_COUNT.load(Ordering::SeqCst), 1);
    // Bochs 2.7 does not load CR2.
    if !is_bochs() {
        let address = FAULT_ADDRESS.load(Ordering::SeqCst);
        compare("own_fault_has_its_address", address, FAR + LARGE_PAGE);
    }
    compare("own_fault_is_no_step", counts().0, 0);
    let untouched = unsafe { ((FAR_MEMORY + LARGE_PAGE - 4) as *const u32).read_volatile() };
    compare("own_fault_writes_nothing", untouched.into(), 0);
}

/// A processor writes to a page table when it reads through it.
fn guarded_page_table() {
    let directory = &raw const DIRECTORY as u64;
    unsafe { (FAR_MEMORY as *mut u64).write_volatile(0x5577) };
    hypercall(guest::GUARD, directory, 1, 0);
    counts();
    let root: u64;
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) root) };
    let _ = root;
    let read = unsafe { (FAR as *const u64).read_volatile() };
    compare("read_through_a_guarded_table", read, 0x5577);
    unsafe { (FAR as *mut u64).write_volatile(0x5578) };
    compare(
        "write_through_a_guarded_table",
        unsafe { (FAR_MEMORY as *const u64).read_volatile() },
        0x5578,
    );
    // Bochs 2.7 asks no EPT when it marks an entry as used.
    if !(is_bochs() && is_vtx()) {
        compare("guarded_table_steps", u64::from(counts().0 >= 1), 1);
    }
    guard(2, 0);
}

#[repr(C, align(4096))]
struct Stack([u64; 512]);
static mut STACK: Stack = Stack([0; 512]);

/// An exception of which the task says that it comes first does not lose the NMI whose delivery failed.
fn interrupted_delivery() {
    let stack = &raw mut STACK as u64;
    let nmis = NMI_COUNT.load(Ordering::SeqCst);
    PROTECTION.store(0, Ordering::SeqCst);
    hypercall(guest::PROTECT, stack, 1, 0);
    unsafe {
        asm!(
            "mov {kept}, rsp",
            "mov rsp, {stack}",
            // The command register: an NMI to the first processor.
            "mov dword ptr [{icr}], 0x400",
            "mov {icr:e}, 100000",
            "2:",
            "dec {icr:e}",
            "jnz 2b",
            "mov rsp, {kept}",
            kept = out(reg) _,
            stack = in(reg) stack + PAGE,
            icr = inout(reg) 0xfee0_0300_u64 => _,
        );
    }
    compare("exception_before_an_nmi", PROTECTION.load(Ordering::SeqCst), 0x71);
    compare("nmi_behind_the_exception", NMI_COUNT.load(Ordering::SeqCst), nmis + 1);
    // The next one is let in as ever.
    apic::send_nmi(0);
    checks::wait_for_nmis(nmis + 2);
    compare("nmis_go_on_after_that", NMI_COUNT.load(Ordering::SeqCst), nmis + 2);
}

/// Additions of each of two processors.
const ADDITIONS: u64 = 3000;

/// Adds to the guarded word, and sends the other processor NMIs meanwhile.
pub fn add(other: u32) {
    for round in 0..ADDITIONS {
        unsafe { asm!("lock inc qword ptr [{0}]", in(reg) area()) };
        if round % 8 == 0 {
            apic::send_nmi(other);
        }
    }
}

/// The word that is filled while another processor looks, among others.
static FILLED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
/// Halves, quarters or bytes of an aligned word that did not fit together.
static TORN: AtomicU64 = AtomicU64::new(0);
/// Words are being filled.
static FILLING: AtomicU64 = AtomicU64::new(0);
/// How often somebody has looked at them.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// Looks at aligned words while they are filled.
pub fn watch() {
    let base = FILLED.as_ptr() as u64;
    while FILLING.load(Ordering::SeqCst) != 0 {
        let (long, half, pair): (u64, u32, u16);
        unsafe {
            asm!("mov {0}, [{3} + 8]", "mov {1:e}, [{3} + 4]", "mov {2:x}, [{3} + 2]",
                out(reg) long, out(reg) half, out(reg) pair, in(reg) base);
        }
        let torn = !matches!(long, 0 | u64::MAX)
            || !matches!(half, 0 | u32::MAX)
            || !matches!(pair, 0 | u16::MAX);
        TORN.fetch_add(torn.into(), Ordering::SeqCst);
        LOOKS.fetch_add(1, Ordering::SeqCst);
    }
}

/// Checks with the processor that obeys.
pub fn check_together() {
    unsafe { area().write_volatile(0) };
    guard(1, TWIN.as_ptr() as u64);
    checks::begin(checks::ADD);
    add(1);
    checks::wait();
    compare("additions_of_two_processors", word(0), 2 * ADDITIONS);
    compare("additions_are_carried", TWIN.load(Ordering::SeqCst), 2 * ADDITIONS);
    guard(0, 0);
    // From each of its bytes on: the words behind are written as one, wherever the filling begins.
    FILLING.store(1, Ordering::SeqCst);
    checks::begin(checks::WATCH);
    while LOOKS.load(Ordering::SeqCst) == 0 {
        core::hint::spin_loop();
    }
    for (first, length) in [(8, 8), (4, 4), (2, 2), (1, 15), (2, 14), (4, 12)] {
        hypercall(guest::FILL, FILLED.as_ptr() as u64 + first, length, 10_000);
    }
    FILLING.store(0, Ordering::SeqCst);
    checks::wait();
    compare("words_are_written_at_once", TORN.load(Ordering::SeqCst), 0);
}
