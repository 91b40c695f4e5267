//! The kernel's own symbol table, which is in every image that has `/proc/kallsyms`.
//!
//! `scripts/kallsyms.c` writes it: the names are sequences of tokens, whose texts are in a table.
//! Nothing in the image says where the parts begin, so they are found by their form: the tokens
//! for the ten digits stand side by side, the index of the tokens follows their texts, and the
//! number of symbols, the names and the markers (the place of every 256th name) come before. What
//! is between the markers and the tokens differs between versions.

use std::collections::BTreeMap;

use super::wrong::Wrong;

/// A symbol of the kernel image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Its address as linked; small for a per-CPU variable.
    pub address: u64,
    /// Its type, as `nm` writes it: `t`, `T`, `d` and so on.
    pub kind: u8,
    /// Its name.
    pub name: String,
}

/// All symbols of an image.
#[derive(Debug, Default)]
pub struct Symbols {
    /// In ascending order of addresses; those of one address as the kernel has them.
    all: Vec<Symbol>,
    /// Addresses by name, ascending and different.
    by_name: BTreeMap<String, Vec<u64>>,
}

impl Symbols {
    /// Puts symbols in order.
    #[must_use]
    pub fn new(mut all: Vec<Symbol>) -> Self {
        all.sort_by_key(|symbol| symbol.address);
        let mut by_name: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for symbol in &all {
            let addresses = by_name.entry(symbol.name.clone()).or_default();
            if addresses.last() != Some(&symbol.address) {
                addresses.push(symbol.address);
            }
        }
        Self { all, by_name }
    }

    /// The addresses of the symbols of this name, ascending.
    #[must_use]
    pub fn addresses(&self, name: &str) -> &[u64] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The names at an address. The first is the one that the kernel shows.
    pub fn names_at(&self, address: u64) -> impl Iterator<Item = &str> {
        let start = self.all.partition_point(|symbol| symbol.address < address);
        self.all
            .iter()
            .skip(start)
            .take_while(move |symbol| symbol.address == address)
            .map(|symbol| symbol.name.as_str())
    }

    /// Whether the symbol of this name at an address is visible outside of its object.
    #[must_use]
    pub fn is_global(&self, name: &str, address: u64) -> bool {
        let start = self.all.partition_point(|symbol| symbol.address < address);
        let mut there = self.all.iter().skip(start).take_while(|symbol| symbol.address == address);
        there.any(|symbol| symbol.name == name && symbol.kind.is_ascii_uppercase())
    }

    /// Where the next symbol of code is behind an address.
    #[must_use]
    pub fn next_code(&self, address: u64) -> Option<u64> {
        let start = self.all.partition_point(|symbol| symbol.address <= address);
        let mut behind = self.all.iter().skip(start);
        let is_code = |symbol: &&Symbol| matches!(symbol.kind, b't' | b'T' | b'w' | b'W');
        behind.find(is_code).map(|symbol| symbol.address)
    }

    /// All symbols, in ascending order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Symbol> {
        self.all.iter()
    }

    /// Finds and reads the table in the kernel's read-only data.
    pub(super) fn decode(data: &[u8]) -> Result<Self, Wrong> {
        let parts = Parts::find(data).ok_or("its symbol table was not found")?;
        let symbols = parts.symbols(data).ok_or("its symbol table is malformed")?;
        Ok(Self::new(symbols))
    }
}

/// Where the parts begin, as offsets.
struct Parts {
    tokens: usize,
    token_index: usize,
    count: usize,
    names: usize,
    offsets: usize,
    base: u64,
}

/// What the addresses are relative to lies at the start of the kernel's half.
const KERNEL_HALF: u64 = 0xffff_ffff_8000_0000;
const TOKENS: usize = 256;
const NAMES_PER_MARKER: usize = 256;

impl Parts {
    fn find(data: &[u8]) -> Option<Self> {
        let digits: Vec<u8> = (b'0'..=b'9').flat_map(|digit| [digit, 0]).collect();
        let mut from = 0;
        loop {
            let rest = data.get(from..)?;
            let found =
                from + rest.windows(digits.len()).position(|window| window == digits.as_slice())?;
            if let Some(parts) = Self::around(data, found) {
                return Some(parts);
            }
            from = found + 1;
        }
    }

    /// The parts if the tokens of the digits are at `digits`.
    fn around(data: &[u8], digits: usize) -> Option<Self> {
        const SEARCHED: usize = 0x4000;
        let (token_index, tokens) =
            (digits..digits + SEARCHED).filter(|at| at.is_multiple_of(8)).find_map(|at| {
                let index = token_offsets(data, at)?;
                let tokens = digits.checked_sub(*index.get(usize::from(b'0'))?)?;
                let last = tokens + index.last()?;
                let length = data.get(last..)?.iter().position(|byte| *byte == 0)?;
                let end = (last + length + 1).next_multiple_of(8);
                (end == at).then_some((at, tokens))
            })?;
        let (count, names) = names_before(data, tokens)?;
        let (offsets, base) = offsets(data, names, token_index, count)?;
        Some(Self { tokens, token_index, count, names, offsets, base })
    }

    fn symbols(&self, data: &[u8]) -> Option<Vec<Symbol>> {
        let index = token_offsets(data, self.token_index)?;
        let tokens: Vec<&[u8]> = index
            .iter()
            .map(|offset| data.get(self.tokens + offset..)?.split(|byte| *byte == 0).next())
            .collect::<Option<_>>()?;
        let mut symbols = Vec::with_capacity(self.count);
        let mut at = self.names;
        for number in 0..self.count {
            let (length, start) = name_length(data, at)?;
            let mut text = Vec::new();
            for token in data.get(start..start + length)? {
                text.extend(*tokens.get(usize::from(*token))?);
            }
            at = start + length;
            let (kind, name) = text.split_first()?;
            symbols.push(Symbol {
                address: self.address(data, number)?,
                kind: *kind,
                name: String::from_utf8(name.to_vec()).ok()?,
            });
        }
        Some(symbols)
    }

    /// CONFIG_KALLSYMS_ABSOLUTE_PERCPU: what is not negative is absolute.
    fn address(&self, data: &[u8], number: usize) -> Option<u64> {
        let offset = word(data, self.offsets + number * 4)?.cast_signed();
        if offset >= 0 {
            return u64::try_from(offset).ok();
        }
        Some(self.base.wrapping_sub(1).wrapping_sub(i64::from(offset).cast_unsigned()))
    }
}

/// The offsets of the tokens' texts, when an index stands at `at`.
fn token_offsets(data: &[u8], at: usize) -> Option<Vec<usize>> {
    let bytes = data.get(at..at + TOKENS * 2)?;
    let index: Vec<usize> =
        bytes.as_chunks().0.iter().map(|pair| usize::from(u16::from_le_bytes(*pair))).collect();
    let ascends = index.first() == Some(&0) && index.is_sorted_by(|a, b| a < b);
    ascends.then_some(index)
}

/// How many names there are and where they begin: the last place before the tokens where a number
/// is followed by so many names and by their markers.
fn names_before(data: &[u8], tokens: usize) -> Option<(usize, usize)> {
    let last = tokens.checked_sub(8)? / 8;
    (1..=last).rev().map(|at| at * 8).find_map(|names| {
        let count = usize::try_from(word(data, names - 8)?).ok()?;
        let padded = word(data, names - 4)? == 0;
        if !padded || count < NAMES_PER_MARKER || count > (tokens - names) / 2 {
            return None;
        }
        are_names(data, names, count, tokens).then_some((count, names))
    })
}

/// Whether so many names stand there, with the places of every 256th behind them.
fn are_names(data: &[u8], names: usize, count: usize, tokens: usize) -> bool {
    let mut markers = Vec::with_capacity(count / NAMES_PER_MARKER + 1);
    let mut at = names;
    for number in 0..count {
        if number.is_multiple_of(NAMES_PER_MARKER) {
            markers.push(at - names);
        }
        match name_length(data, at) {
            Some((length, start)) if length > 1 && start + length < tokens => at = start + length,
            _ => return false,
        }
    }
    let found = at.next_multiple_of(8);
    markers.iter().enumerate().all(|(index, marker)| {
        word(data, found + index * 4).is_some_and(|word| word as usize == *marker)
    })
}

/// Where the addresses are, and what they are relative to: before the names until Linux 6.9,
/// behind the tokens since.
fn offsets(data: &[u8], names: usize, token_index: usize, count: usize) -> Option<(usize, u64)> {
    let length = (count * 4).next_multiple_of(8);
    let behind = token_index + TOKENS * 2;
    let before = names.checked_sub(16 + length);
    [before.map(|at| (at, at + length)), Some((behind, behind + length))]
        .into_iter()
        .flatten()
        .find_map(|(offsets, base)| {
            let bytes: [u8; 8] = data.get(base..base + 8)?.try_into().ok()?;
            let base = u64::from_le_bytes(bytes);
            (base >= KERNEL_HALF && base.is_multiple_of(0x1000)).then_some((offsets, base))
        })
}

/// The length of a name's tokens, and where they begin.
fn name_length(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = *data.get(at)?;
    if first & 0x80 == 0 {
        return Some((usize::from(first), at + 1));
    }
    let second = *data.get(at + 1)?;
    Some((usize::from(first & 0x7f) | usize::from(second) << 7, at + 2))
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
