//! Sizes of structures, from the kernel's type information (BTF).

use std::collections::BTreeMap;

use super::Wrong;

const MAGIC: u16 = 0xeb9f;

/// The sizes in bytes of those structures whose names are in `names`.
pub fn struct_sizes(section: &[u8], names: &[&str]) -> Result<BTreeMap<String, u64>, Wrong> {
    read(section, names).ok_or_else(|| "its type information is malformed".into())
}

fn read(section: &[u8], names: &[&str]) -> Option<BTreeMap<String, u64>> {
    let word = |at: usize| word(section, at);
    if section.get(..2)? != MAGIC.to_le_bytes() {
        return None;
    }
    let header = word(4)?;
    let types = header.checked_add(word(8)?)?;
    let types = section.get(types..types.checked_add(word(12)?)?)?;
    let strings = header.checked_add(word(16)?)?;
    let strings = section.get(strings..strings.checked_add(word(20)?)?)?;

    let mut sizes = BTreeMap::new();
    let mut at = 0;
    while at < types.len() {
        let (name, info, size) =
            (self::word(types, at)?, self::word(types, at + 4)?, self::word(types, at + 8)?);
        let (count, kind) = (info & 0xffff, info >> 24 & 0x1f);
        if kind == STRUCT {
            let name = strings.get(name..)?.split(|byte| *byte == 0).next()?;
            if let Some(name) = names.iter().find(|known| known.as_bytes() == name) {
                sizes.insert((*name).to_owned(), u64::try_from(size).ok()?);
            }
        }
        at += 12 + following(kind, count)?;
    }
    Some(sizes)
}

const STRUCT: usize = 4;

/// Bytes that follow a type's first twelve.
fn following(kind: usize, count: usize) -> Option<usize> {
    let bytes = match kind {
        // Integer, variable, tag of a declaration.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Structure, union, section, enumeration of 64 bits.
        STRUCT | 5 | 15 | 19 => count * 12,
        // Enumeration, prototype.
        6 | 13 => count * 8,
        // Pointer, forward declaration, typedef, qualifiers, function, float, tag of a type.
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    };
    Some(bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let strings = b"\0int\0bug_entry\0";
        let words =
            [[1, 1 << 24, 4, 0x20].as_slice(), &[5, 4 << 24 | 1, 12, 0, 1, 0], &[0, 2 << 24, 2]]
                .concat();
        let types: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let mut section = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len(), types.len(), strings.len()] {
            section.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        section.extend(types);
        section.extend(strings);
        section
    }

    #[test]
    fn a_structure_is_found() {
        let sizes = struct_sizes(&sample(), &["bug_entry", "absent"]).unwrap();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [("bug_entry".to_owned(), 12)]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let sample = sample();
        for end in 0..sample.len() {
            assert!(struct_sizes(&sample[..end], &["bug_entry"]).is_err(), "{end}");
        }
    }
}
