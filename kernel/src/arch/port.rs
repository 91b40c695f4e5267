//! I/O ports: those that LUCOS itself writes (debug console, emulator exit, UART, reset), and those
//! that it writes for the guest.

use x86::io::{inb, inl, inw, outb, outl, outw};

/// Writes one byte.
pub fn write_u8(port: u16, value: u8) {
    // SAFETY: the ports come from LUCOS's own command line or are the reset registers of PC
    // chipsets; no port of a PC writes memory that Rust knows of.
    unsafe { outb(port, value) }
}

/// Reads a port, or writes it, for the guest; `None` for a size that no access has. The caller knows
/// that the port is one that the guest may use so.
pub fn access(port: u16, size: u8, output: Option<u32>) -> Option<u32> {
    // SAFETY: all ports are the guest's as well, and no port of a PC writes memory that Rust knows of.
    unsafe {
        match (size, output) {
            (1, None) => return Some(inb(port).into()),
            (2, None) => return Some(inw(port).into()),
            (4, None) => return Some(inl(port)),
            (1, Some(value)) => outb(port, value as u8),
            (2, Some(value)) => outw(port, value as u16),
            (4, Some(value)) => outl(port, value),
            _ => return None,
        }
    }
    Some(0)
}

/// Sends a byte through a 16550 UART at `base`, waiting a bounded time until it has room.
pub fn serial_byte(base: u16, byte: u8) {
    const LINE_STATUS: u16 = 5;
    const TRANSMIT_EMPTY: u32 = 1 << 5;
    for _ in 0..100_000 {
        let status = access(base.wrapping_add(LINE_STATUS), 1, None);
        if status.is_some_and(|bits| bits & TRANSMIT_EMPTY != 0) {
            break;
        }
        core::hint::spin_loop();
    }
    write_u8(base, byte);
}
