//! First instructions of every processor, and the hypercall.

use crate::checks;
use core::arch::x86_64::__cpuid;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lucos_test_protocol::guest;

const STACK: usize = 32 * 1024;
const PROCESSORS: usize = 8;

#[repr(C, align(16))]
struct Stacks([[u8; STACK]; PROCESSORS]);
static mut STACKS: Stacks = Stacks([[0; STACK]; PROCESSORS]);
static NEXT: AtomicU64 = AtomicU64::new(0);

global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "mov rax, 1",
    "lock xadd [rip + {next}], rax",
    "mov rdi, rax",
    "inc rax",
    "imul rax, rax, {stack}",
    "lea rsp, [rip + {stacks}]",
    "add rsp, rax",
    "call {main}",
    "ud2",
    next = sym NEXT,
    stack = const STACK,
    stacks = sym STACKS,
    main = sym main,
);

/// The processor is Intel's: the hypercall is VMCALL, and CPUID leaves the guest.
static VTX: AtomicBool = AtomicBool::new(false);

global_asm!(
    // The hypercall, with flags lost.
    ".global guest_call",
    "guest_call:",
    "test byte ptr [rip + {vtx}], 1",
    "jnz 2f",
    "vmmcall",
    "ret",
    "2:",
    "vmcall",
    "ret",
    vtx = sym VTX,
);

/// Finds out how to make hypercalls. Before the first.
pub fn find_vendor() {
    const GENU: u32 = 0x756e_6547;
    VTX.store(__cpuid(0).ebx == GENU, Ordering::SeqCst);
}

/// The processor has VT-x.
pub fn is_vtx() -> bool {
    VTX.load(Ordering::SeqCst)
}

extern "C" fn main(number: u64, hidden: u64) -> ! {
    if number == 0 { checks::run(hidden) } else { checks::run_other(number) }
}

/// How many processors have started.
pub fn started() -> u64 {
    NEXT.load(Ordering::SeqCst)
}

/// RAX and RCX after a hypercall.
pub fn hypercall(number: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    let (rax, rcx);
    unsafe {
        asm!(
            "xchg rbx, {b}",
            "call guest_call",
            "xchg rbx, {b}",
            b = inout(reg) b => _,
            inout("rax") number => rax,
            inout("rcx") c => rcx,
            in("rdx") d,
        );
    }
    (rax, rcx)
}

/// This is Bochs, which has no hypervisor's bit in CPUID.
pub fn is_bochs() -> bool {
    __cpuid(1).ecx >> 31 == 0
}

/// Has two values compared under a name.
pub fn compare(name: &str, found: u64, expected: u64) {
    let words = [name.as_ptr() as u64, name.len() as u64, found, expected];
    hypercall(guest::COMPARE, words.as_ptr() as u64, 0, 0);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        unsafe { asm!("cli", "hlt") };
    }
}
