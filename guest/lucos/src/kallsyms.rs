//! The symbols of the running kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufRead;

use lucos_guest_interface::patch_module::KERNEL_OBJECT;
use serde_json::{Value, json};

use crate::error::Error;

/// Where the symbols are read.
pub const PATH: &str = "/proc/kallsyms";

/// A symbol of a wanted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `vmlinux` or the name of a module.
    pub object: String,
    /// Counts the symbols of this name in the object from 1, in ascending order of addresses.
    pub nth: usize,
    /// The address.
    pub address: u64,
}

impl Candidate {
    /// The candidate as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "object": self.object,
            "nth": self.nth,
            "address": format!("{:#x}", self.address),
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} at {:#x}", self.object, self.nth, self.address)
    }
}

/// The symbols that were asked for.
#[derive(Debug, Default)]
pub struct Symbols {
    /// By name, then by object and address.
    found: BTreeMap<String, BTreeSet<(String, u64)>>,
}

impl Symbols {
    /// Reads all symbols once and keeps those with a wanted name.
    ///
    /// # Errors
    /// [`Error::AddressesHidden`] when every address of code is zero, [`Error::KernelFile`] for a
    /// line that is not understood.
    pub fn read(source: impl BufRead, wanted: &BTreeSet<String>) -> Result<Self, Error> {
        let mut found: BTreeMap<String, BTreeSet<(String, u64)>> = BTreeMap::new();
        let mut addresses_shown = false;
        for line in source.lines() {
            let line = line.map_err(|error| Error::Read(PATH.into(), error))?;
            let symbol = parse_line(&line).ok_or_else(|| Error::KernelFile(PATH, line.clone()))?;
            // Per-CPU symbols start at zero, code does not.
            addresses_shown |= symbol.is_code && symbol.address != 0;
            if !wanted.contains(symbol.name) || is_generated(symbol.object) {
                continue;
            }
            found
                .entry(symbol.name.to_owned())
                .or_default()
                .insert((symbol.object.to_owned(), symbol.address));
        }
        if !addresses_shown {
            return Err(Error::AddressesHidden);
        }
        Ok(Self { found })
    }

    /// Every symbol of this name, by object and in ascending order of addresses.
    #[must_use]
    pub fn candidates(&self, name: &str) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for (object, address) in self.found.get(name).into_iter().flatten() {
            let earlier = candidates.last().filter(|candidate| candidate.object == *object);
            let nth = earlier.map_or(1, |candidate| candidate.nth + 1);
            candidates.push(Candidate { object: object.clone(), nth, address: *address });
        }
        candidates
    }
}

struct Line<'a> {
    address: u64,
    is_code: bool,
    name: &'a str,
    object: &'a str,
}

/// `ADDRESS TYPE NAME`, and `[MODULE]` behind a tab.
fn parse_line(line: &str) -> Option<Line<'_>> {
    let (symbol, object) = match line.split_once('\t') {
        Some((symbol, object)) => (symbol, object.strip_prefix('[')?.strip_suffix(']')?),
        None => (line, KERNEL_OBJECT),
    };
    let mut words = symbol.splitn(3, ' ');
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let is_code = matches!(words.next()?, "t" | "T" | "w" | "W");
    Some(Line { address, is_code, name: words.next()?, object })
}

/// Code that the kernel generates is listed under names that are no modules.
fn is_generated(object: &str) -> bool {
    object == "bpf" || object.starts_with("__builtin")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Candidate, Symbols};
    use crate::error::Error;

    const TEXT: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000200 t twice
ffffffff81000100 t twice
ffffffff81000300 T alias
ffffffff81000300 t once
ffffffffc0000000 t twice\t[loop]
ffffffffc0001000 t bpf_prog_1\t[bpf]
";

    fn read(names: &[&str]) -> Result<Symbols, Error> {
        let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Symbols::read(TEXT.as_bytes(), &wanted)
    }

    #[test]
    fn candidates_are_counted_by_object_and_address() {
        let symbols = read(&["twice", "once", "bpf_prog_1"]).unwrap();
        let candidate =
            |object: &str, nth, address| Candidate { object: object.to_owned(), nth, address };
        assert_eq!(
            symbols.candidates("twice"),
            [
                candidate("loop", 1, 0xffff_ffff_c000_0000),
                candidate("vmlinux", 1, 0xffff_ffff_8100_0100),
                candidate("vmlinux", 2, 0xffff_ffff_8100_0200),
            ]
        );
        assert_eq!(symbols.candidates("once").len(), 1);
        assert_eq!(symbols.candidates("bpf_prog_1"), []);
        assert_eq!(symbols.candidates("alias"), []);
    }

    #[test]
    fn hidden_addresses_are_noticed() {
        let hidden = "0000000000000000 T _stext\n0000000000000000 t once\n";
        let symbols = Symbols::read(hidden.as_bytes(), &BTreeSet::new());
        assert!(matches!(symbols, Err(Error::AddressesHidden)));
        assert!(matches!(Symbols::read(&b""[..], &BTreeSet::new()), Err(Error::AddressesHidden)));
    }

    #[test]
    fn a_strange_line_is_an_error() {
        for line in ["zzz T name", "ffff T", "ffff T name\tloop", "ffff"] {
            let symbols = Symbols::read(line.as_bytes(), &BTreeSet::new());
            assert!(matches!(symbols, Err(Error::KernelFile(..))), "{line}");
        }
    }
}
