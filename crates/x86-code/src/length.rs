//! How long an instruction is.

use crate::decoder::{DecodeError, first};

/// Why bytes have no instruction length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthError {
    /// The bytes end inside the instruction.
    Truncated,
    /// The bytes are no instruction of any processor.
    Invalid,
    /// There is no such size of code.
    CodeSize,
}

/// Length of the instruction at the start of `code`, 1 to 15 bytes.
///
/// `code_size` is 16, 32 or 64, as in [`lucos_abi::registers::Registers::code_size`].
///
/// # Errors
/// [`LengthError`]
pub fn instruction_length(code: &[u8], code_size: u64) -> Result<u8, LengthError> {
    let bitness = match code_size {
        16 | 32 | 64 => code_size as u32,
        _ => return Err(LengthError::CodeSize),
    };
    let instruction = first(bitness, code, 0).map_err(|error| match error {
        DecodeError::Truncated => LengthError::Truncated,
        DecodeError::Invalid => LengthError::Invalid,
    })?;
    // An instruction has at most 15 bytes.
    Ok(instruction.len() as u8)
}

#[cfg(test)]
mod tests {
    use super::{LengthError, instruction_length};

    #[test]
    fn lengths_of_what_kernels_contain() {
        let cases: [(&[u8], u8); 16] = [
            (&[0x90], 1),
            (&[0xf3, 0x0f, 0x1e, 0xfa], 4),       // endbr64
            (&[0x66, 0x0f, 0x1f, 0x00], 4),       // sealed endbr64
            (&[0x0f, 0x1f, 0x44, 0x00, 0x00], 5), // the ftrace slot
            (&[0xe8, 0, 0, 0, 0], 5),             // call
            (&[0x0f, 0x01, 0xd9], 3),             // vmmcall
            (&[0x0f, 0x01, 0xc1], 3),             // vmcall
            (&[0x0f, 0x0b], 2),                   // ud2
            (&[0x0f, 0x01, 0xca], 3),             // clac
            (&[0xf0, 0x48, 0x0f, 0xc1, 0x07], 5), // lock xadd
            (&[0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0], 9), // mov rax, gs:[0]
            (&[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], 10), // mov rax, imm64
            (&[0xc5, 0xfd, 0x6f, 0x06], 4),       // vmovdqa (VEX)
            (&[0x62, 0xf1, 0x7d, 0x48, 0x6f, 0x06], 6), // vmovdqa32 (EVEX)
            (&[0xc5, 0xfb, 0x93, 0xc0], 4),       // kmovd
            (&[0xf3, 0x48, 0x0f, 0x01, 0xe8], 5), // setssbsy with REX
        ];
        for (code, length) in cases {
            assert_eq!(instruction_length(code, 64), Ok(length), "{code:02x?}");
        }
    }

    #[test]
    fn the_size_of_code_counts() {
        let code = [0xb8, 1, 0, 0, 0];
        assert_eq!(instruction_length(&code, 64), Ok(5));
        assert_eq!(instruction_length(&code, 32), Ok(5));
        assert_eq!(instruction_length(&code, 16), Ok(3));
        assert_eq!(instruction_length(&code, 8), Err(LengthError::CodeSize));
        assert_eq!(instruction_length(&code, 1 << 32 | 64), Err(LengthError::CodeSize));
    }

    #[test]
    fn no_instruction_is_an_error_of_its_own() {
        assert_eq!(instruction_length(&[], 64), Err(LengthError::Truncated));
        assert_eq!(instruction_length(&[0xe8, 0, 0], 64), Err(LengthError::Truncated));
        assert_eq!(instruction_length(&[0x06], 64), Err(LengthError::Invalid));
        assert_eq!(instruction_length(&[0x66; 16], 64), Err(LengthError::Invalid));
        // The same byte is PUSH ES outside 64-bit mode.
        assert_eq!(instruction_length(&[0x06], 32), Ok(1));
    }
}
