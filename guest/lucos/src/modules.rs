//! The modules that are loaded.

use std::collections::BTreeMap;
use std::io::BufRead;

use crate::error::Error;

/// Where they are listed.
pub const PATH: &str = "/proc/modules";

/// The address of each loaded module.
///
/// # Errors
/// [`Error::KernelFile`] for a line that is not understood.
pub fn read(source: impl BufRead) -> Result<BTreeMap<String, u64>, Error> {
    let mut modules = BTreeMap::new();
    for line in source.lines() {
        let line = line.map_err(|error| Error::Read(PATH.into(), error))?;
        let (name, address) =
            parse_line(&line).ok_or_else(|| Error::KernelFile(PATH, line.clone()))?;
        modules.insert(name.to_owned(), address);
    }
    Ok(modules)
}

/// `NAME SIZE REFERENCES USERS STATE ADDRESS`, and taint letters.
fn parse_line(line: &str) -> Option<(&str, u64)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let address = words.nth(4)?.strip_prefix("0x")?;
    Some((name, u64::from_str_radix(address, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn addresses_are_found() {
        let text = "loop 45056 0 - Live 0xffffffffc0a00000\n\
                    lucos 65536 1 fix, Live 0xffffffffc0b00000 (OE)\n";
        let modules = read(text.as_bytes()).unwrap();
        assert_eq!(modules.get("loop"), Some(&0xffff_ffff_c0a0_0000));
        assert_eq!(modules.get("lucos"), Some(&0xffff_ffff_c0b0_0000));
        assert!(read(&b"loop 45056 0"[..]).is_err());
    }
}
