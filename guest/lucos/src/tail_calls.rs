//! Whether code of a module ends in a call of a function that the module does not have.
//!
//! Such a tail call is a jump: the function that was called returns to the caller of the new
//! function, and nothing on the stack says that it was called by the module, which may be unloaded
//! while the function is about to call back.

use object::elf::{R_X86_64_PC32, R_X86_64_PLT32, RelocationType};

/// The jump that stands for RET in kernels with a thunk for returns.
const RETURN: &str = "__x86_return_thunk";

/// A field in code that a linker fills in.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Where it is in the section.
    pub offset: u64,
    /// Its relocation type.
    pub kind: RelocationType,
    /// The symbol, which the module uses and does not define.
    pub symbol: &'a str,
}

/// Whether control goes to a function elsewhere, and does not come back.
#[must_use]
pub fn is_tail_call(code: &[u8], field: &Field<'_>) -> bool {
    if ![R_X86_64_PC32, R_X86_64_PLT32].contains(&field.kind) || field.symbol == RETURN {
        return false;
    }
    let before = |distance: u64| {
        let place = field.offset.checked_sub(distance)?;
        code.get(usize::try_from(place).ok()?).copied()
    };
    // JMP and Jcc with four bytes of distance. No other instruction with such a field has these
    // bytes in front of it: 0xe9 would be a ModRM byte of two registers, and 0x80 to 0x8f one of a
    // register and a distance from it.
    matches!((before(2), before(1)), (_, Some(0xe9)) | (Some(0x0f), Some(0x80..=0x8f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_elsewhere_are_tail_calls() {
        let is_one = |code: &[u8], symbol| {
            let offset = code.len() as u64;
            let code = [code, &[0; 4]].concat();
            is_tail_call(&code, &Field { offset, kind: R_X86_64_PLT32, symbol })
        };
        assert!(is_one(&[0xe9], "schedule"));
        assert!(is_one(&[0x90, 0xe9], "__x86_indirect_thunk_rax"));
        assert!(is_one(&[0x0f, 0x84], "schedule"));
        assert!(!is_one(&[0xe9], RETURN));
        // call; lea rdi, [rip + ...]
        assert!(!is_one(&[0xe8], "schedule"));
        assert!(!is_one(&[0x48, 0x8d, 0x3d], "jiffies"));
        assert!(!is_one(&[], "schedule"));
        let absolute = Field { offset: 1, kind: object::elf::R_X86_64_32S, symbol: "schedule" };
        assert!(!is_tail_call(&[0xe9, 0, 0, 0, 0], &absolute));
    }
}
