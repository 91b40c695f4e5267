//! The log: a ring in memory that some tasks see, and a port or UART where there is one.

use super::{Buffer, need, reply, request};
use crate::arch::port;
use core::fmt::{self, Write};
use lucos_abi::boot::Options;
use lucos_abi::call::CallStatus;
use lucos_abi::layout::DIRECT;
use lucos_abi::manifest::Rights;
use lucos_abi::object::{Done, LogRequest, LogRing};
use spin::{Mutex, Once};

static OPTIONS: Once<Options> = Once::new();
static RING: LogRing = LogRing::new();
static SINK: Mutex<Sink> = Mutex::new(Sink { serial_released: false });

struct Sink {
    /// The guest runs, and the UART is its.
    serial_released: bool,
}

impl Sink {
    fn byte(&mut self, byte: u8) {
        RING.push(byte);
        let Some(options) = OPTIONS.get() else { return };
        if let Some(debugcon) = options.debugcon {
            port::write_u8(debugcon, byte);
        }
        if let (Some(serial), false) = (options.serial, self.serial_released) {
            port::serial_byte(serial, byte);
        }
    }
}

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.byte(byte);
        }
        Ok(())
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Writing to the sink cannot fail.
        let _ = writeln!(SINK.lock(), "[kernel] {}", record.args());
    }

    fn flush(&self) {}
}

/// Starts logging to where the options say.
pub fn start(options: Options) {
    OPTIONS.call_once(|| options);
    // Nobody has set another one.
    let _ = log::set_logger(&Logger);
    log::set_max_level(log::LevelFilter::Info);
}

/// Gives the UART to the guest.
pub fn release_serial() {
    SINK.lock().serial_released = true;
}

/// Serves a request of the task called `task`.
pub fn serve(
    task: &str,
    rights: Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    let LogRequest::Write { text } = request(message)?;
    need(rights, Rights::WRITE)?;
    task_line(task, text);
    reply(&Done, buffer)
}

/// Physical address of the ring.
pub fn ring_phys() -> u64 {
    &raw const RING as u64 - DIRECT
}

/// One line of a task; control characters become spaces, so that a task cannot forge lines.
pub fn task_line(task: &str, text: &str) {
    let mut sink = SINK.lock();
    let _ = write!(sink, "[{task}] ");
    for character in text.chars() {
        let shown = if character.is_control() { ' ' } else { character };
        let _ = sink.write_char(shown);
    }
    sink.byte(b'\n');
}

/// The last line of a LUCOS that fails. Does not wait for the lock for ever: the failure may have
/// happened while it was held.
pub fn fault_line(why: fmt::Arguments<'_>) {
    for _ in 0..1_000_000 {
        if let Some(mut sink) = SINK.try_lock() {
            let _ = writeln!(sink, "LUCOS FAULT: {why}");
            return;
        }
        core::hint::spin_loop();
    }
}

/// The port that ends the emulator, when the operator named one.
pub fn exit_port() -> Option<u16> {
    OPTIONS.get().and_then(|options| options.exit)
}
