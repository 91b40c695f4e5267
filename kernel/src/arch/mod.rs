//! The processor: everything that needs its privileged instructions.

pub mod apic;
pub mod backend;
pub mod control;
pub mod cpuid;
pub mod descriptors;
pub mod entry;
pub mod extension;
pub mod idle;
pub mod kick;
pub mod msr;
pub mod nmi;
pub mod port;
pub mod processor;
pub mod processors;
pub mod svm;
pub mod time;
pub mod trap;
pub mod vtx;

/// Ends the emulator through `exit_port`, or stops all processors for good.
pub fn end_machine(exit_port: Option<u16>, status: u8) -> ! {
    if let Some(port) = exit_port {
        port::write_u8(port, status);
    }
    kick::end_others();
    control::halt_for_ever()
}

/// Resets the machine: by the reset control register of PC chipsets, then by the keyboard
/// controller, then by a triple fault, so that one of them works.
pub fn reset() -> ! {
    port::write_u8(0xcf9, 0x02);
    port::write_u8(0xcf9, 0x06);
    time::wait(10_000_000);
    port::write_u8(0x64, 0xfe);
    time::wait(10_000_000);
    descriptors::triple_fault()
}
