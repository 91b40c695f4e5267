//! Keys of jump labels.

/// First bytes of the two forms of a jump.
const JUMPS: [u8; 2] = [0xe9, 0xeb];

/// What a field of `struct jump_entry` says of the label beside its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyBits {
    /// The branch in the likely direction.
    is_likely: bool,
    /// `objtool` makes a NOP of the jump, or has done so.
    becomes_nop: bool,
}

impl KeyBits {
    /// Reads the low bits of a distance from a key, which must be nothing else.
    pub(crate) fn of(distance: i64) -> Option<Self> {
        let bits = KeyBits { is_likely: distance & 1 != 0, becomes_nop: distance & 2 != 0 };
        (0..=3).contains(&distance).then_some(bits)
    }

    /// Whether the key is defined as true, for a label whose code begins with this byte: a label
    /// is a NOP where a true key is likely or a false one is not (`include/linux/jump_label.h`).
    pub(crate) fn is_true_at_first(self, code: u8) -> bool {
        let is_jump = JUMPS.contains(&code) && !self.becomes_nop;
        self.is_likely != is_jump
    }
}

/// A `struct static_key`: how often it is enabled, four bytes of padding, and the type, which is
/// what it was defined as.
pub(crate) fn key(is_true: bool) -> [u8; 16] {
    let mut key = [0; 16];
    key[0] = u8::from(is_true);
    key[8] = u8::from(is_true);
    key
}

#[cfg(test)]
mod tests {
    use super::KeyBits;

    #[test]
    fn the_code_tells_what_the_key_was_defined_as() {
        let key = |distance: i64, code: u8| KeyBits::of(distance).unwrap().is_true_at_first(code);
        assert!(key(1, 0x0f), "likely, NOP");
        assert!(!key(1, 0xe9), "likely, jump");
        assert!(!key(0, 0x0f), "unlikely, NOP");
        assert!(key(0, 0xeb), "unlikely, jump");
        assert!(key(3, 0x66) && key(3, 0xeb), "before and after objtool");
        assert!(!key(2, 0x66) && !key(2, 0xeb));
        assert_eq!(KeyBits::of(8), None);
    }
}
