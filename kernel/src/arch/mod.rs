//! The processor: everything that needs its privileged instructions.

pub mod apic;
pub mod control;
pub mod cpuid;
pub mod descriptors;
pub mod entry;
pub mod idle;
pub mod msr;
pub mod port;
pub mod processor;
pub mod processors;
pub mod svm;
pub mod trap;
pub mod vcpu;

/// Time-stamp ticks since reset. Their rate is not known and not needed.
pub fn ticks() -> u64 {
    // SAFETY: RDTSC only reads a counter; ring 0 may always execute it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ends the emulator through `exit_port`, or stops this processor for good.
pub fn end_machine(exit_port: Option<u16>, status: u8) -> ! {
    if let Some(port) = exit_port {
        port::write_u8(port, status);
    }
    loop {
        idle::halt();
    }
}

/// Resets the machine: by the reset control register of PC chipsets, then by the keyboard
/// controller, then by a triple fault, so that one of them works.
pub fn reset() -> ! {
    port::write_u8(0xcf9, 0x02);
    port::write_u8(0xcf9, 0x06);
    wait(10_000_000);
    port::write_u8(0x64, 0xfe);
    wait(10_000_000);
    descriptors::triple_fault()
}

/// Waits for so many time-stamp ticks.
pub fn wait(ticks_to_wait: u64) {
    let start = ticks();
    while ticks().wrapping_sub(start) < ticks_to_wait {
        core::hint::spin_loop();
    }
}
