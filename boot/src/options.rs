//! LUCOS's own command line: words separated by spaces.

use lucos_abi::boot::Options;

use crate::error::BootError;

/// Reads a command line. The ports hold even when another word is wrong: there is somebody to tell.
pub fn parse(line: &str) -> (Options, Result<(), BootError>) {
    let mut options = Options::default();
    let mut result = Ok(());
    for word in line.split_ascii_whitespace() {
        result = result.and(take(&mut options, word));
    }
    (options, result)
}

fn take(options: &mut Options, word: &str) -> Result<(), BootError> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let option = match key {
        "debugcon" => &mut options.debugcon,
        "serial" => &mut options.serial,
        "exit" => &mut options.exit,
        _ => return Err(BootError::UnknownOption),
    };
    *option = Some(port(value).ok_or(BootError::BadPort)?);
    Ok(())
}

/// A port number, decimal or with `0x`.
fn port(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::error::BootError;
    use lucos_abi::boot::Options;

    #[test]
    fn ports_are_decimal_or_hexadecimal() {
        let (debugcon, serial, exit) = (Some(0xe9), None, Some(0xf4));
        assert_eq!(
            parse(" debugcon=0xe9  exit=244 "),
            (Options { debugcon, serial, exit }, Ok(()))
        );
        assert_eq!(parse(""), (Options::default(), Ok(())));
    }

    #[test]
    fn what_is_wrong_is_said_where_the_other_words_tell() {
        let options = Options { exit: Some(0xf4), ..Options::default() };
        for (line, why) in [
            ("quiet exit=0xf4", BootError::UnknownOption),
            ("exit=0xf4 Serial=0x3f8", BootError::UnknownOption),
            ("serial=0x3f8x exit=0xf4", BootError::BadPort),
            ("serial=0x10000 exit=0xf4", BootError::BadPort),
            ("serial exit=0xf4 quiet", BootError::BadPort),
        ] {
            assert_eq!(parse(line), (options, Err(why)), "{line}");
        }
    }
}
