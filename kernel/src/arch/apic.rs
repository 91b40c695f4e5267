//! The local APIC, which belongs to the guest: LUCOS only ever writes its command register, for
//! NMIs.

use super::cpuid;
use crate::fatal::Fatal;
use crate::memory::kernel_space;
use core::sync::atomic::{AtomicU64, Ordering};
use x86::msr::{IA32_APIC_BASE, IA32_X2APIC_ICR, rdmsr, wrmsr};

const X2APIC_ENABLED: u64 = 1 << 10;
const ENABLED: u64 = 1 << 11;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const DELIVERY_PENDING: u32 = 1 << 12;

const NMI: u32 = 4 << 8;

/// Where the register page is mapped.
static REGISTERS: AtomicU64 = AtomicU64::new(0);

/// Maps the register page, at the address where the firmware left it. The guest cannot move it.
///
/// # Errors
/// The region is full.
pub fn start() -> Result<(), Fatal> {
    // SAFETY: reading the APIC base has no effect.
    let base = unsafe { rdmsr(IA32_APIC_BASE) } & BASE_ADDRESS;
    REGISTERS.store(kernel_space::map_device(base)?, Ordering::Release);
    Ok(())
}

/// Writes this processor's APIC base for the guest; false when LUCOS cannot let it. Kicks go through
/// the APIC, so all that may change is that the x2APIC interface is switched on.
pub fn write_base(value: u64) -> bool {
    // SAFETY: reading the APIC base has no effect.
    let old = unsafe { rdmsr(IA32_APIC_BASE) };
    let switches_on =
        old & ENABLED != 0 && value == old | X2APIC_ENABLED && cpuid::has(cpuid::X2APIC);
    if switches_on {
        // SAFETY: the processor has the interface, and the switch is allowed while the APIC is on
        // (SDM vol. 3, 12.12.1). `send_nmi` looks at the register each time.
        unsafe { wrmsr(IA32_APIC_BASE, value) };
    }
    value == old || switches_on
}

/// Sends an NMI to a processor.
///
/// The guest chooses between the two interfaces at run time, and may be between its own writes to
/// the two halves of the old one's command: so the upper half is put back afterwards.
pub fn send_nmi(apic_id: u32) {
    // SAFETY: reading the APIC base has no effect; the command register sends an NMI,
    // for which every processor has its handler.
    unsafe {
        if rdmsr(IA32_APIC_BASE) & X2APIC_ENABLED != 0 {
            wrmsr(IA32_X2APIC_ICR, u64::from(apic_id) << 32 | u64::from(NMI));
            return;
        }
    }
    wait_until_sent();
    let guests = read(ICR_HIGH);
    write(ICR_HIGH, apic_id << 24);
    write(ICR_LOW, NMI);
    wait_until_sent();
    write(ICR_HIGH, guests);
}

fn wait_until_sent() {
    for _ in 0..1_000_000 {
        if read(ICR_LOW) & DELIVERY_PENDING == 0 {
            return;
        }
        core::hint::spin_loop();
    }
}

fn read(register: u64) -> u32 {
    // SAFETY: reads of the command register have no side effects.
    unsafe { at(register).read_volatile() }
}

fn write(register: u64, value: u32) {
    // SAFETY: what a command does is argued in `send_nmi`.
    unsafe { at(register).write_volatile(value) }
}

/// A register of the page that `start` has mapped, uncached.
fn at(register: u64) -> *mut u32 {
    (REGISTERS.load(Ordering::Acquire) + register) as *mut u32
}
