//! Constants that the kernel writes into its own code once, during boot (`runtime-const.h`).
//!
//! A module never gets them, so new code reads the variable that they come from, as the kernel's
//! headers make modules do.

/// `mov $imm64, %reg`: REX.W, opcode, eight bytes.
const MOVE_LENGTH: usize = 10;

/// The code of a load in place of a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// As long as the instruction that loads the constant; the distance is zero.
    pub(crate) code: [u8; MOVE_LENGTH],
    /// Where the distance to the variable stands.
    pub(crate) field: u64,
    /// Where the load ends, from which the distance counts.
    pub(crate) end: u64,
}

/// Makes a load of the 10 bytes of an instruction that moves a constant into a register.
pub(crate) fn load_instead(instruction: &[u8]) -> Option<Load> {
    let [rex @ (0x48 | 0x49), opcode @ 0xb8..=0xbf, constant @ ..] = instruction else {
        return None;
    };
    if constant.len() != 8 {
        return None;
    }
    // The register's high bit: REX.B there, REX.R here.
    let rex = if rex & 1 != 0 { 0x4c } else { 0x48 };
    // mov distance(%rip), %reg; then a NOP of three bytes.
    let operands = ((opcode & 7) << 3) | 0b101;
    let code = [rex, 0x8b, operands, 0, 0, 0, 0, 0x0f, 0x1f, 0x00];
    Some(Load { code, field: 3, end: 7 })
}

#[cfg(test)]
mod tests {
    use super::load_instead;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic, Register};

    #[test]
    fn every_register_is_loaded_from_memory() {
        for number in 0..16_u8 {
            let mut old = vec![0x48 | (number >> 3), 0xb8 | (number & 7)];
            old.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
            let load = load_instead(&old).unwrap();
            let decode = |code: &[u8]| {
                Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter().collect::<Vec<_>>()
            };
            let (before, after) = (decode(&old), decode(&load.code));
            assert_eq!(after.len(), 2);
            assert_eq!(after[0].mnemonic(), Mnemonic::Mov);
            assert_eq!(after[0].op0_register(), before[0].op0_register());
            assert_eq!(after[0].memory_base(), Register::RIP);
            assert_eq!(after[0].len() as u64, load.end);
            assert_eq!(after[1].mnemonic(), Mnemonic::Nop);
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        assert_eq!(load_instead(&[0x90; 10]), None);
        assert_eq!(load_instead(&[0x48, 0xb8, 0, 0]), None);
        assert_eq!(load_instead(&[]), None);
    }
}
