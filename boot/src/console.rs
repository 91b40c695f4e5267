//! The one line that says why the machine does not start.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU16, Ordering};

use lucos_abi::boot::Options;
use lucos_boot::error::BootError;
use lucos_boot::options;
use x86::io::{inb, outb};

/// QEMU's and Bochs's debug console; a read returns the port's own number where it exists.
const DEBUG_PORT: u16 = 0xe9;
/// First serial port, its line status register, and the bit that says that it takes a byte.
const SERIAL: u16 = 0x3f8;
const LINE_STATUS: u16 = SERIAL + 5;
const READY: u8 = 1 << 5;
/// Status for the emulator that means a fault of LUCOS.
const FAULT_STATUS: u8 = 0x13;

/// Ports that the command line names; 0 for none.
static DEBUG: AtomicU16 = AtomicU16::new(0);
static EXIT: AtomicU16 = AtomicU16::new(0);

/// Reads the command line, and takes the ports from it.
///
/// # Errors
/// What is wrong with the line; the ports hold nevertheless.
pub fn configure(line: &str) -> Result<Options, BootError> {
    let (options, result) = options::parse(line);
    DEBUG.store(options.debugcon.unwrap_or(0), Ordering::Relaxed);
    EXIT.store(options.exit.unwrap_or(0), Ordering::Relaxed);
    result.map(|()| options)
}

/// Says what is wrong, ends the emulator if there is a way, and stops.
pub fn fault(why: &dyn fmt::Display) -> ! {
    let _ = writeln!(Output, "LUCOS FAULT: boot: {why}");
    let exit = EXIT.load(Ordering::Relaxed);
    if exit != 0 {
        write(exit, FAULT_STATUS);
    }
    loop {
        // SAFETY: interrupts are off and nothing is left to do.
        unsafe { x86::halt() };
    }
}

struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let debug = match DEBUG.load(Ordering::Relaxed) {
            0 if read(DEBUG_PORT) == DEBUG_PORT as u8 => DEBUG_PORT,
            port => port,
        };
        for byte in text.bytes() {
            if debug != 0 {
                write(debug, byte);
            }
            // A port that is not there reads as all ones, which is also ready.
            for _ in 0..100_000 {
                if read(LINE_STATUS) & READY != 0 {
                    break;
                }
                core::hint::spin_loop();
            }
            write(SERIAL, byte);
        }
        Ok(())
    }
}

fn read(port: u16) -> u8 {
    // SAFETY: only the debug console and the line status are read, which changes nothing.
    unsafe { inb(port) }
}

fn write(port: u16, byte: u8) {
    // SAFETY: the port is the first serial port's, or one that the operator named for this.
    unsafe { outb(port, byte) }
}
