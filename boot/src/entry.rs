//! Headers for both boot protocols, and the way from 32-bit mode to Rust.

use core::arch::global_asm;

use lucos_boot::pvh;

/// Bytes of the stub's stack.
const STACK: usize = 256 * 1024;
/// So many of them, the last to be used, must never be.
const SPARE: usize = STACK / 4;

unsafe extern "C" {
    static boot_stack: [u8; SPARE];
}

/// Whether the stack was large enough up to now, with room to spare. Nothing would stop it at its
/// end.
pub fn stack_suffices() -> bool {
    // SAFETY: the place is the lower end of the stack, zeroed by the boot loader. What runs uses
    // the upper end, and where it should ever have come down here, bytes are read, whatever they
    // are.
    unsafe { boot_stack.iter().all(|byte| *byte == 0) }
}

global_asm!(
    // Multiboot2 header (specification 2.0, 3.1): architecture 0, modules page aligned, end.
    ".section .multiboot, \"a\", @progbits",
    ".balign 8",
    "multiboot_header:",
    ".long 0xe85250d6, 0, multiboot_end - multiboot_header",
    ".long -(0xe85250d6 + (multiboot_end - multiboot_header))",
    // A framebuffer, 32 bits a pixel, if the machine has one: the guest gets it.
    ".short 5, 1",
    ".long 20, 0, 0, 32",
    ".balign 8",
    ".short 6, 0",
    ".long 8",
    ".short 0, 0",
    ".long 8",
    "multiboot_end:",
    // PVH: an ELF note with the entry point (XEN_ELFNOTE_PHYS32_ENTRY).
    ".section .note.pvh, \"a\", @note",
    ".balign 4",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long pvh_entry",
    // Both enter with paging and interrupts off and EBX = boot information; Multiboot2 has its
    // magic number in EAX.
    ".section .text.entry, \"ax\", @progbits",
    ".code32",
    "pvh_entry:",
    "mov eax, {pvh}",
    ".global multiboot_entry",
    "multiboot_entry:",
    "cli; cld",
    "mov esp, offset boot_stack_end",
    "mov edi, eax; mov esi, ebx",
    "mov eax, 0x80000001; cpuid; bt edx, 29; jnc no_long_mode",
    // Four page directories of 2 MiB pages map the first 4 GiB, both at 0 and at the start of the
    // upper half (entry 256 of the root).
    "mov eax, 0x83; mov edx, offset boot_directories; mov ecx, 2048",
    "2: mov [edx], eax; add eax, 0x200000; add edx, 8; loop 2b",
    "mov eax, offset boot_directories + 3; mov edx, offset boot_pointers; mov ecx, 4",
    "3: mov [edx], eax; add eax, 0x1000; add edx, 8; loop 3b",
    "mov eax, offset boot_pointers + 3",
    "mov [boot_root], eax; mov [boot_root + 256 * 8], eax",
    "mov eax, offset boot_root; mov cr3, eax",
    // CR4.PAE, EFER.LME, then CR0.PG.
    "mov eax, cr4; or eax, 0x20; mov cr4, eax",
    "mov ecx, 0xc0000080; rdmsr; or eax, 0x100; wrmsr",
    "mov eax, cr0; or eax, 0x80000001; mov cr0, eax",
    "lgdt [boot_gdt_pointer]",
    "push 8; mov eax, offset long_mode; push eax; retf",
    "no_long_mode:",
    "mov esi, offset no_long_mode_text; mov dx, 0x3f8",
    "4: lodsb; out 0xe9, al; out dx, al; cmp al, 10; jne 4b",
    "5: hlt; jmp 5b",
    ".code64",
    "long_mode:",
    "mov eax, 16; mov ds, eax; mov es, eax; mov ss, eax",
    "xor eax, eax; mov fs, eax; mov gs, eax",
    "lea rsp, [boot_stack_end]; xor ebp, ebp",
    "call {start}; ud2",
    ".section .rodata.entry, \"a\", @progbits",
    ".balign 8",
    "boot_gdt:",
    ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "boot_gdt_pointer:",
    ".short boot_gdt_pointer - boot_gdt - 1",
    ".long boot_gdt",
    "no_long_mode_text:",
    ".ascii \"LUCOS FAULT: boot: this processor has no 64-bit mode\\n\"",
    ".section .bss.entry, \"aw\", @nobits",
    ".balign 4096",
    "boot_root: .skip 4096",
    "boot_pointers: .skip 4096",
    "boot_directories: .skip 4 * 4096",
    ".global boot_stack",
    "boot_stack: .skip {stack}",
    "boot_stack_end:",
    ".text",
    pvh = const pvh::MAGIC,
    stack = const STACK,
    start = sym crate::load::start,
);
