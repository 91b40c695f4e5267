//! The log: a ring in memory, and a port or UART where there is one.

use super::{Buffer, need, reply, request};
use crate::arch::port;
use core::fmt::{self, Write};
use lucos_abi::boot::Options;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{LogReply, LogRequest};
use spin::{Mutex, Once};

/// Bytes kept for `lucos log`.
const RING: usize = 32 * 1024;
/// So many of them are those that were logged first; the others move on.
const FIRST: u64 = 8 * 1024;
/// Bytes that move on.
const MOVING: u64 = RING as u64 - FIRST;

static OPTIONS: Once<Options> = Once::new();
static SINK: Mutex<Sink> = Mutex::new(Sink { ring: [0; RING], written: 0, serial_released: false });

struct Sink {
    ring: [u8; RING],
    /// Bytes ever logged.
    written: u64,
    /// The guest runs, and the UART is its.
    serial_released: bool,
}

impl Sink {
    fn byte(&mut self, byte: u8) {
        if let Some(slot) = self.ring.get_mut(place(self.written)) {
            *slot = byte;
        }
        self.written += 1;
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
        let mut sink = SINK.lock();
        // Writing to the sink cannot fail.
        let _ = writeln!(sink, "[kernel] {}", record.args());
    }

    fn flush(&self) {}
}

/// Starts logging to where the options say.
pub fn start(options: Options) {
    OPTIONS.call_once(|| options);
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
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
    match request(message)? {
        LogRequest::Write { text } => {
            need(rights, Rights::WRITE)?;
            task_line(task, text);
            reply(&LogReply::Done, buffer)
        }
        LogRequest::Read { offset, length } => {
            need(rights, Rights::READ)?;
            let mut bytes = [0; PAYLOAD_MAX];
            let room = bytes.get_mut(..length as usize).ok_or(CallStatus::Refused)?;
            let (offset, copied) = read_ring(offset, room);
            let bytes = room.get(..copied).unwrap_or(&[]);
            reply(&LogReply::Text { offset, bytes }, buffer)
        }
    }
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

/// Where the byte at a stream offset is kept.
fn place(offset: u64) -> usize {
    let moved = offset.checked_sub(FIRST).map(|moving| FIRST + moving % MOVING);
    moved.unwrap_or(offset) as usize
}

/// Copies logged bytes from stream offset `from` on into `buffer`. Returns the offset of the first
/// byte copied (later than `from` when the ring has moved on) and how many were: none from before
/// a gap and behind it at once.
fn read_ring(from: u64, buffer: &mut [u8]) -> (u64, usize) {
    let sink = SINK.lock();
    let oldest = sink.written.saturating_sub(MOVING);
    let (start, end) = match from < FIRST {
        true if oldest > FIRST => (from, FIRST),
        true => (from.min(sink.written), sink.written),
        false => (from.clamp(oldest, sink.written), sink.written),
    };
    let mut copied = 0;
    for (slot, offset) in buffer.iter_mut().zip(start..end) {
        *slot = sink.ring.get(place(offset)).copied().unwrap_or(0);
        copied += 1;
    }
    (start, copied)
}
