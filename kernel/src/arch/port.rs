//! I/O ports that LUCOS itself writes: debug console, emulator exit, UART, reset.

use x86::io::{inb, outb};

/// Writes one byte.
pub fn write_u8(port: u16, value: u8) {
    // SAFETY: the ports come from LUCOS's own command line or are the reset registers of PC
    // chipsets; no port of a PC writes memory that Rust knows of.
    unsafe { outb(port, value) }
}

/// Reads one byte.
fn read_u8(port: u16) -> u8 {
    // SAFETY: as for `write_u8`; only the UART's status register is read.
    unsafe { inb(port) }
}

/// Sends a byte through a 16550 UART at `base`, waiting a bounded time until it has room.
pub fn serial_byte(base: u16, byte: u8) {
    const LINE_STATUS: u16 = 5;
    const TRANSMIT_EMPTY: u8 = 1 << 5;
    for _ in 0..100_000 {
        if read_u8(base.wrapping_add(LINE_STATUS)) & TRANSMIT_EMPTY != 0 {
            break;
        }
        core::hint::spin_loop();
    }
    write_u8(base, byte);
}
