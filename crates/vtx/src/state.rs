//! The guest's registers: start state, and the block that tasks see.

use lucos_abi::object::FlatStart;
use lucos_abi::registers::{DR6_SINGLE_STEP, EFER_LMA, EFER_LME, EFER_NXE, Registers};
use lucos_vcpu::reset::{
    self, BUSY_TSS, CODE_64, CR0_NE, CR0_START, CR4_PAE, DATA, DEFAULT_32, LONG,
};
use x86::vmx::vmcs::{control, guest};

use crate::Vmcs;
use crate::event::{BY_MOV_SS, BY_STI, change_interruptibility};
use crate::exit::DEBUG_BITS;

/// VT-x, on in every guest and shown in none.
pub(crate) const CR4_VMXE: u64 = 1 << 13;

/// Segments, by their place among the fields; the fields of each kind lie two apart.
const ES: u32 = 0;
const CS: u32 = 1;
const SS: u32 = 2;
const GS: u32 = 5;
const LDTR: u32 = 6;
const TR: u32 = 7;
/// Access rights: the segment cannot be used.
const UNUSABLE: u64 = 1 << 16;

/// Access rights in the place of a descriptor's attributes (SDM table 26-2).
const fn rights(attributes: u16) -> u64 {
    (attributes & 0xff | (attributes & 0xf00) << 4) as u64
}

/// An attribute of a code segment in its access rights.
const fn has(access_rights: u64, attribute: u16) -> bool {
    access_rights & rights(attribute) != 0
}

fn set_segment(vmcs: &mut impl Vmcs, number: u32, selector: u16, limit: u32, access_rights: u64) {
    vmcs.write(guest::ES_SELECTOR + 2 * number, selector.into());
    vmcs.write(guest::ES_LIMIT + 2 * number, limit.into());
    vmcs.write(guest::ES_ACCESS_RIGHTS + 2 * number, access_rights);
    vmcs.write(guest::ES_BASE + 2 * number, 0);
}

/// Puts the guest into 64-bit mode with flat segments, no-execute pages and interrupts off, as after
/// a reset in everything else. (A guest kernel that starts its processors through the ACPI mailbox
/// may load page tables with no-execute bits before it sets EFER.)
pub fn start_flat(vmcs: &mut impl Vmcs, general: &mut Registers, start: &FlatStart) {
    for number in ES..=GS {
        let (selector, attributes) = match number {
            CS => (start.code_selector, CODE_64),
            _ => (start.data_selector, DATA),
        };
        set_segment(vmcs, number, selector, u32::MAX, rights(attributes));
    }
    set_segment(vmcs, LDTR, 0, 0xffff, UNUSABLE);
    set_segment(vmcs, TR, 0, 0xffff, rights(BUSY_TSS));
    for (field, value) in [
        (guest::GDTR_BASE, start.gdt_base),
        (guest::GDTR_LIMIT, start.gdt_limit.into()),
        (guest::IDTR_BASE, 0),
        (guest::IDTR_LIMIT, 0),
        (guest::IA32_EFER_FULL, EFER_NXE | EFER_LMA | EFER_LME),
        (guest::CR0, CR0_START),
        (control::CR0_READ_SHADOW, CR0_START),
        (control::CR0_GUEST_HOST_MASK, CR0_NE),
        (guest::CR3, start.cr3),
        (guest::CR4, CR4_PAE | CR4_VMXE),
        (control::CR4_READ_SHADOW, CR4_PAE),
        (control::CR4_GUEST_HOST_MASK, CR4_VMXE),
        (guest::DR7, reset::DR7),
        (guest::RFLAGS, reset::RFLAGS),
        (guest::RIP, start.rip),
        (guest::RSP, 0),
        (guest::IA32_PAT_FULL, reset::PAT),
        (guest::IA32_DEBUGCTL_FULL, 0),
        (guest::IA32_SYSENTER_CS, 0),
        (guest::IA32_SYSENTER_ESP, 0),
        (guest::IA32_SYSENTER_EIP, 0),
        // Whatever an earlier run has left, "held off by SMI" of Bochs among it.
        (guest::INTERRUPTIBILITY_STATE, 0),
        (guest::ACTIVITY_STATE, 0),
        (guest::PENDING_DBG_EXCEPTIONS, 0),
    ] {
        vmcs.write(field, value);
    }
    *general = Registers { rsi: start.rsi, dr6: reset::DR6, ..Registers::default() };
}

/// A control register as the guest reads it.
fn seen(vmcs: &impl Vmcs, [value, mask, shadow]: [u32; 3]) -> u64 {
    let mask = vmcs.read(mask);
    vmcs.read(value) & !mask | vmcs.read(shadow) & mask
}

const CR0: [u32; 3] = [guest::CR0, control::CR0_GUEST_HOST_MASK, control::CR0_READ_SHADOW];
const CR4: [u32; 3] = [guest::CR4, control::CR4_GUEST_HOST_MASK, control::CR4_READ_SHADOW];

/// Says which bits of CR0 and CR4 the guest cannot change without an exit: those that VT-x wants set, or
/// all when it runs confined. What it reads stays as it is.
pub fn set_masks(vmcs: &mut impl Vmcs, confined: bool) {
    for (register, kept) in [(CR0, CR0_NE), (CR4, CR4_VMXE)] {
        let [_, mask, shadow] = register;
        let shown = seen(vmcs, register);
        vmcs.write(shadow, shown);
        vmcs.write(mask, if confined { u64::MAX } else { kept });
    }
}

/// The guest is about to change CR0.NE. What it reads there becomes the other value, and its
/// instruction, when it runs again, does the rest without an exit.
pub fn hide_error_reporting(vmcs: &mut impl Vmcs) {
    let shadow = vmcs.read(control::CR0_READ_SHADOW);
    vmcs.write(control::CR0_READ_SHADOW, shadow ^ CR0_NE);
}

/// The register block that tasks see. An exit saves no general registers, nor CR2 and DR6; the kernel
/// keeps those in `general`.
pub fn registers(vmcs: &impl Vmcs, general: &Registers) -> Registers {
    let efer = vmcs.read(guest::IA32_EFER_FULL);
    let code = vmcs.read(guest::CS_ACCESS_RIGHTS);
    let code_size = match efer & EFER_LMA != 0 {
        true if has(code, LONG) => 64,
        _ if has(code, DEFAULT_32) => 32,
        _ => 16,
    };
    let shadow = vmcs.read(guest::INTERRUPTIBILITY_STATE) & (BY_STI | BY_MOV_SS) != 0;
    Registers {
        rsp: vmcs.read(guest::RSP),
        rip: vmcs.read(guest::RIP),
        rflags: vmcs.read(guest::RFLAGS),
        cr0: seen(vmcs, CR0),
        cr3: vmcs.read(guest::CR3),
        cr4: seen(vmcs, CR4),
        efer,
        cpl: vmcs.read(guest::ES_ACCESS_RIGHTS + 2 * SS) >> 5 & 3,
        code_size,
        interrupt_shadow: shadow.into(),
        cs_base: vmcs.read(guest::CS_BASE),
        idt_base: vmcs.read(guest::IDTR_BASE),
        gs_base: vmcs.read(guest::GS_BASE),
        ..*general
    }
}

/// Takes over what a task may change of a register block: the general registers, RIP, RFLAGS, the
/// interrupt shadow, and a single step in DR6.
pub fn write_back(vmcs: &mut impl Vmcs, general: &mut Registers, block: &Registers) {
    let dr6 = general.dr6 | block.dr6 & DR6_SINGLE_STEP;
    *general = Registers { cr2: general.cr2, dr6, ..*block };
    if vmcs.read(guest::RIP) != block.rip {
        // It does not wait any more in an instruction that halts.
        vmcs.write(guest::ACTIVITY_STATE, 0);
    }
    vmcs.write(guest::RSP, block.rsp);
    vmcs.write(guest::RIP, block.rip);
    vmcs.write(guest::RFLAGS, block.rflags & reset::RFLAGS_USED | reset::RFLAGS);
    if block.interrupt_shadow & 1 == 0 {
        change_interruptibility(vmcs, BY_STI | BY_MOV_SS, 0);
        vmcs.write(guest::PENDING_DBG_EXCEPTIONS, 0);
    }
}

/// Puts what a debug exception said into DR6, as its delivery would have (SDM 18.2.3).
pub fn set_debug_status(general: &mut Registers, told: u64) {
    const MET: u64 = 0xf;
    general.dr6 = general.dr6 & !MET | told & DEBUG_BITS;
}
