//! The local APIC by memory-mapped registers.

const BASE: u64 = 0xfee0_0000;
const ID: u64 = 0x20;
const EOI: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const TIMER: u64 = 0x320;
const INITIAL_COUNT: u64 = 0x380;
const DIVIDE: u64 = 0x3e0;

fn write(register: u64, value: u32) {
    unsafe { ((BASE + register) as *mut u32).write_volatile(value) }
}

/// Switches the APIC on.
pub fn enable() {
    write(SPURIOUS, 0x1ff);
    write(DIVIDE, 0xb);
}

/// One interrupt after so many ticks.
pub fn one_shot(vector: u8, ticks: u32) {
    write(TIMER, u32::from(vector));
    write(INITIAL_COUNT, ticks);
}

/// Ends an interrupt.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// The id of this processor's APIC.
pub fn id() -> u32 {
    unsafe { ((BASE + ID) as *const u32).read_volatile() >> 24 }
}

/// Gives this processor's APIC another id: nothing that is sent to the old one arrives.
pub fn set_id(id: u32) {
    write(ID, id << 24);
}

/// Sends an NMI to a processor.
pub fn send_nmi(apic_id: u32) {
    write(ICR_HIGH, apic_id << 24);
    write(ICR_LOW, 4 << 8);
}
