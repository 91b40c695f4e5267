//! Names of patches, functions and data objects: NUL-terminated printable ASCII in 64 bytes.

use crate::error::ErrorCode;

/// Bytes that a name occupies, terminator included.
pub const NAME_SIZE: usize = 64;

/// Checks a name field and gives the text before its terminator.
///
/// The text is 1 to 63 bytes of printable ASCII without space, and everything behind the
/// terminator is zero.
///
/// # Errors
/// [`ErrorCode::NameTerminator`], [`ErrorCode::NameEmpty`], [`ErrorCode::NameCharacter`] or
/// [`ErrorCode::NameTail`].
pub fn parse(field: &[u8; NAME_SIZE]) -> Result<&str, ErrorCode> {
    let end = field.iter().position(|&byte| byte == 0).ok_or(ErrorCode::NameTerminator)?;
    let (text, tail) = field.split_at_checked(end).ok_or(ErrorCode::NameTerminator)?;
    if text.is_empty() {
        return Err(ErrorCode::NameEmpty);
    }
    if !text.iter().all(u8::is_ascii_graphic) {
        return Err(ErrorCode::NameCharacter);
    }
    if tail.iter().any(|&byte| byte != 0) {
        return Err(ErrorCode::NameTail);
    }
    core::str::from_utf8(text).map_err(|_| ErrorCode::NameCharacter)
}

/// The bytes before the terminator of a text field; `None` when it has no terminator, or bytes
/// behind it that are not zero.
#[must_use]
pub fn text(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|&byte| byte == 0)?;
    let (text, tail) = field.split_at_checked(end)?;
    tail.iter().all(|&byte| byte == 0).then_some(text)
}

/// Turns a text into a name field.
///
/// # Errors
/// [`ErrorCode::NameEmpty`], [`ErrorCode::NameCharacter`], or [`ErrorCode::NameTerminator`] when
/// the text is longer than 63 bytes.
pub fn field(text: &str) -> Result<[u8; NAME_SIZE], ErrorCode> {
    let mut field = [0; NAME_SIZE];
    if text.len() >= NAME_SIZE {
        return Err(ErrorCode::NameTerminator);
    }
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    parse(&field)?;
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::{NAME_SIZE, field, parse};
    use crate::error::ErrorCode;

    #[test]
    fn a_name_survives_the_round_trip() {
        let longest = "x".repeat(NAME_SIZE - 1);
        for text in ["a", "cmdline_proc_show", "f@7.part.0", longest.as_str()] {
            assert_eq!(parse(&field(text).unwrap()), Ok(text));
        }
    }

    #[test]
    fn each_fault_has_its_own_error() {
        assert_eq!(field(""), Err(ErrorCode::NameEmpty));
        assert_eq!(field(&"x".repeat(NAME_SIZE)), Err(ErrorCode::NameTerminator));
        assert_eq!(field("two words"), Err(ErrorCode::NameCharacter));
        assert_eq!(field("bell\x07"), Err(ErrorCode::NameCharacter));
        assert_eq!(field("caf\u{e9}"), Err(ErrorCode::NameCharacter));
        assert_eq!(parse(&[b'x'; NAME_SIZE]), Err(ErrorCode::NameTerminator));
        let mut tail = field("short").unwrap();
        tail[20] = b'!';
        assert_eq!(parse(&tail), Err(ErrorCode::NameTail));
    }
}
