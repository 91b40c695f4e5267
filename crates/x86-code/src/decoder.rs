//! The one place where the decoder is used.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::LONGEST_INSTRUCTION;

/// Why there is no instruction at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// With more bytes there would be one.
    Truncated,
    /// There is none, whatever follows.
    Invalid,
}

/// A decoder for 64-bit code that stands at `address`.
pub(crate) fn decoder(code: &[u8], address: u64) -> Decoder<'_> {
    // 64 is a bitness that the decoder knows, so this cannot fail.
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
}

/// The first instruction of `code`, which stands at `address`. `bitness` is 16, 32 or 64.
pub(crate) fn first(bitness: u32, code: &[u8], address: u64) -> Result<Instruction, DecodeError> {
    match decode(bitness, code, address) {
        Some(instruction) => Ok(instruction),
        None if needs_more(bitness, code) => Err(DecodeError::Truncated),
        None => Err(DecodeError::Invalid),
    }
}

fn decode(bitness: u32, code: &[u8], address: u64) -> Option<Instruction> {
    let mut decoder = Decoder::try_with_ip(bitness, code, address, DecoderOptions::NONE).ok()?;
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Whether bytes that do not decode do with others behind them. The decoder cannot tell: it reads
/// on behind an unknown opcode.
fn needs_more(bitness: u32, code: &[u8]) -> bool {
    let mut longer = [0; LONGEST_INSTRUCTION];
    let Some((head, _)) = longer.split_at_mut_checked(code.len()) else {
        return false;
    };
    head.copy_from_slice(code);
    decode(bitness, &longer, 0).is_some_and(|instruction| instruction.len() > code.len())
}
