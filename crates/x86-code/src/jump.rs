//! The bytes of a redirection.

use heapless::Vec;

/// Length of `jmp rel32` in bytes.
pub const JUMP_LENGTH: u8 = 5;

/// Most bytes that a jump displaces: its own five, of which the last can be the first byte of the
/// longest instruction.
pub const DISPLACED_MAX: usize = 19;

/// A byte that is no instruction in 64-bit mode and raises #UD: PUSH ES outside it.
pub const TRAP: u8 = 0x06;

/// One-byte `nop`.
const NOP: u8 = 0x90;

/// Why there is no jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JumpError {
    /// The target is more than 2 GiB away.
    OutOfRange,
    /// Fewer than 5 or more than 19 bytes are to be displaced.
    Displaced,
}

/// The bytes that carry control from `site` to `target`: `jmp rel32`, then a `nop` for each byte
/// that is left of the displaced instructions.
///
/// # Errors
/// [`JumpError`]
pub fn jump_bytes(
    site: u64,
    target: u64,
    displaced: u8,
) -> Result<Vec<u8, DISPLACED_MAX>, JumpError> {
    if !(JUMP_LENGTH..=DISPLACED_MAX as u8).contains(&displaced) {
        return Err(JumpError::Displaced);
    }
    let next = site.wrapping_add(u64::from(JUMP_LENGTH));
    let distance = target.wrapping_sub(next).cast_signed();
    let distance = i32::try_from(distance).map_err(|_| JumpError::OutOfRange)?;
    let mut bytes = Vec::new();
    // Nothing here exceeds the capacity: `displaced` was checked.
    let _ = bytes.push(0xe9);
    let _ = bytes.extend_from_slice(&distance.to_le_bytes());
    let _ = bytes.resize(usize::from(displaced), NOP);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{JumpError, TRAP, jump_bytes};
    use crate::length::{LengthError, instruction_length};
    use proptest::prelude::*;

    #[test]
    fn the_trap_is_no_instruction() {
        assert_eq!(instruction_length(&[TRAP; 15], 64), Err(LengthError::Invalid));
    }

    #[test]
    fn a_jump_reaches_two_gibibytes_and_no_further() {
        let site = 0xffff_ffff_8100_0000_u64;
        let behind = site + 5;
        for (target, reached) in [
            (behind.wrapping_add(0x7fff_ffff), true),
            (behind.wrapping_add(0x8000_0000), false),
            (behind - 0x8000_0000, true),
            (behind - 0x8000_0001, false),
        ] {
            assert_eq!(jump_bytes(site, target, 5).is_ok(), reached, "{target:#x}");
        }
        let direct_map = 0xffff_8880_0000_0000;
        assert_eq!(jump_bytes(site, direct_map, 5), Err(JumpError::OutOfRange));
    }

    #[test]
    fn the_number_of_displaced_bytes_is_checked() {
        for displaced in [0, 4, 20, 255] {
            assert_eq!(jump_bytes(0, 0, displaced), Err(JumpError::Displaced));
        }
    }

    proptest! {
        #[test]
        fn the_decoder_sees_the_jump_and_nops(
            site: u64,
            distance in i64::from(i32::MIN)..=i64::from(i32::MAX),
            displaced in 5_u8..=19,
        ) {
            let target = site.wrapping_add(5).wrapping_add_signed(distance);
            let bytes = jump_bytes(site, target, displaced).unwrap();
            prop_assert_eq!(bytes.len(), usize::from(displaced));
            let mut decoder = crate::decoder::decoder(&bytes, site);
            let jump = decoder.decode();
            prop_assert_eq!(jump.mnemonic(), iced_x86::Mnemonic::Jmp);
            prop_assert_eq!(jump.near_branch_target(), target);
            while decoder.can_decode() {
                prop_assert_eq!(decoder.decode().code(), iced_x86::Code::Nopd);
            }
        }
    }
}
