//! LUCOS's own command line: words separated by spaces.

use crate::fatal::Fatal;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `debugcon=PORT`: every log line goes to this port, byte by byte (QEMU's debug console).
    pub debugcon: Option<u16>,
    /// `serial=PORT`: log to a 16550 UART there until the guest starts.
    pub serial: Option<u16>,
    /// `exit=PORT`: writing a status to this port ends the emulator (QEMU's isa-debug-exit).
    pub exit: Option<u16>,
}

impl Options {
    /// Reads a command line.
    ///
    /// # Errors
    /// An unknown word, or a port that is no number.
    pub fn parse(line: &str) -> Result<Self, Fatal> {
        let mut options = Self::default();
        for word in line.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let target = match key {
                "debugcon" => &mut options.debugcon,
                "serial" => &mut options.serial,
                "exit" => &mut options.exit,
                _ => return Err(Fatal::UnknownOption),
            };
            *target = Some(parse_port(value).ok_or(Fatal::BadPort)?);
        }
        Ok(options)
    }
}

/// A port number, decimal or with `0x`.
fn parse_port(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
