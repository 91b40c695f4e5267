//! The log: a ring in memory that some tasks see, and a port or UART where there is one.

use super::{Buffer, need, reply, request};
use crate::arch::port;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use lucos_abi::boot::Options;
use lucos_abi::call::CallStatus;
use lucos_abi::layout::DIRECT;
use lucos_abi::manifest::Rights;
use lucos_abi::object::{Done, LogRequest, LogRing};
use spin::{Mutex, Once};

static OPTIONS: Once<Options> = Once::new();
static RING: LogRing = LogRing::new();
/// The guest runs, and the UART is its.
static SERIAL_RELEASED: AtomicBool = AtomicBool::new(false);
/// Keeps lines whole.
static LINE: Mutex<()> = Mutex::new(());

struct Sink;

impl Sink {
    fn byte(&self, byte: u8) {
        RING.push(byte);
        let Some(options) = OPTIONS.get() else { return };
        if let Some(debugcon) = options.debugcon {
            port::write_u8(debugcon, byte);
        }
        if let (Some(serial), false) = (options.serial, SERIAL_RELEASED.load(Ordering::Acquire)) {
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
        let _line = LINE.lock();
        // Writing to the sink cannot fail.
        let _ = writeln!(Sink, "[kernel] {}", record.args());
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
    let _line = LINE.lock();
    SERIAL_RELEASED.store(true, Ordering::Release);
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
    let _line = LINE.lock();
    let _ = write!(Sink, "[{task}] ");
    for character in text.chars() {
        let shown = if character.is_control() { ' ' } else { character };
        let _ = Sink.write_char(shown);
    }
    Sink.byte(b'\n');
}

/// The last line of a LUCOS that fails. It waits for a line of another processor, but not for ever:
/// the failure may have come in the middle of a line of this one, and begins a new one then.
pub fn fault_line(why: fmt::Arguments<'_>) {
    let line = (0..1_000_000).find_map(|_| {
        core::hint::spin_loop();
        LINE.try_lock()
    });
    let start = if line.is_some() { "" } else { "\n" };
    let _ = writeln!(Sink, "{start}LUCOS FAULT: {why}");
}

/// The port that ends the emulator, when the operator named one.
pub fn exit_port() -> Option<u16> {
    OPTIONS.get().and_then(|options| options.exit)
}
