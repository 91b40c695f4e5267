//! The guest's registers: start state, and the block that tasks see.

use lucos_abi::object::FlatStart;
use lucos_abi::registers::{DR6_SINGLE_STEP, EFER_LMA, EFER_LME, EFER_NXE, Registers};
use lucos_vcpu::reset::{self, BUSY_TSS, CODE_64, CR0_START, CR4_PAE, DATA, DEFAULT_32, LDT, LONG};

use crate::vmcb::{Save, Segment, Vmcb};

/// Caches write through no longer. Not without [`CR0_CD`].
pub const CR0_NW: u64 = 1 << 29;
/// Caches take nothing in.
pub const CR0_CD: u64 = 1 << 30;
/// AMD-V. Set in every VMCB.
pub const EFER_SVME: u64 = 1 << 12;
/// Puts the guest into 64-bit mode with flat segments, no-execute pages and interrupts off, as after
/// a reset in everything else. (A guest kernel that starts its processors through the ACPI mailbox
/// may load page tables with no-execute bits before it sets EFER.) An event that waited for delivery
/// is forgotten.
pub fn start_flat(vmcb: &mut Vmcb, general: &mut Registers, start: &FlatStart) {
    let segment = |selector, attributes, limit| Segment { selector, attributes, limit, base: 0 };
    let data = segment(start.data_selector, DATA, u32::MAX);
    vmcb.save = Save {
        es: data,
        cs: segment(start.code_selector, CODE_64, u32::MAX),
        ss: data,
        ds: data,
        fs: data,
        gs: data,
        gdtr: Segment { base: start.gdt_base, ..segment(0, 0, start.gdt_limit.into()) },
        ldtr: segment(0, LDT, 0xffff),
        tr: segment(0, BUSY_TSS, 0xffff),
        efer: EFER_SVME | EFER_NXE | EFER_LMA | EFER_LME,
        cr0: CR0_START,
        cr3: start.cr3,
        cr4: CR4_PAE,
        dr6: reset::DR6,
        dr7: reset::DR7,
        rflags: reset::RFLAGS,
        rip: start.rip,
        pat: reset::PAT,
        ..Save::default()
    };
    let control = &mut vmcb.control;
    control.interrupt_shadow = 0;
    control.event_injection = 0;
    control.virtual_interrupts = 0;
    control.exit_interrupt_info = 0;
    *general = Registers { rsi: start.rsi, ..Registers::default() };
}

/// VMRUN would refuse what the guest has done (APM vol. 2, 15.5.1). A processor raises #GP at the
/// instruction that does it; QEMU's TCG lets it through.
pub const fn is_refused(vmcb: &Vmcb) -> bool {
    let save = &vmcb.save;
    let not_write_through = save.cr0 & (CR0_CD | CR0_NW) == CR0_NW;
    let both = LONG | DEFAULT_32;
    not_write_through || save.efer & EFER_LMA != 0 && save.cs.attributes & both == both
}

/// The register block that tasks see. VMRUN leaves most general registers alone; the kernel's entry
/// code keeps those in `general`.
pub fn registers(vmcb: &Vmcb, general: &Registers) -> Registers {
    let save = &vmcb.save;
    let code_size = match save.cs.attributes & (LONG | DEFAULT_32) {
        attributes if attributes & LONG != 0 && save.efer & EFER_LMA != 0 => 64,
        attributes if attributes & DEFAULT_32 != 0 => 32,
        _ => 16,
    };
    Registers {
        rax: save.rax,
        rsp: save.rsp,
        rip: save.rip,
        rflags: save.rflags,
        cr0: save.cr0,
        cr2: save.cr2,
        cr3: save.cr3,
        cr4: save.cr4,
        efer: save.efer & !EFER_SVME,
        dr6: save.dr6,
        cpl: save.cpl.into(),
        code_size,
        interrupt_shadow: vmcb.control.interrupt_shadow & 1,
        cs_base: save.cs.base,
        idt_base: save.idtr.base,
        gs_base: save.gs.base,
        ..*general
    }
}

/// Takes over what a task may change of a register block: the general registers, RIP, RFLAGS, the
/// interrupt shadow, and a single step in DR6.
pub fn write_back(vmcb: &mut Vmcb, general: &mut Registers, block: &Registers) {
    *general = *block;
    let save = &mut vmcb.save;
    save.rax = block.rax;
    save.rsp = block.rsp;
    save.rip = block.rip;
    save.rflags = block.rflags & reset::RFLAGS_USED | reset::RFLAGS;
    if block.dr6 & DR6_SINGLE_STEP != 0 {
        save.dr6 |= DR6_SINGLE_STEP;
    }
    let control = &mut vmcb.control;
    control.interrupt_shadow = control.interrupt_shadow & !1 | block.interrupt_shadow & 1;
}
