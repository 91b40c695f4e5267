//! Sizes of structures and forms of functions, from the kernel's type information (BTF).

use std::collections::BTreeMap;

use super::wrong::Wrong;

const MAGIC: u16 = 0xeb9f;

/// The sizes in bytes of those structures whose names are in `names`.
pub fn struct_sizes(section: &[u8], names: &[&str]) -> Result<BTreeMap<String, u64>, Wrong> {
    read(section, names).ok_or_else(|| "its type information is malformed".into())
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prototype {
    /// Its parameters; all that are possible when it takes any number.
    pub parameters: usize,
    /// It returns something.
    pub returns: bool,
}

/// How the functions are called, by name. Of several functions of one name what holds for all.
pub fn prototypes(section: &[u8]) -> Result<BTreeMap<String, Prototype>, Wrong> {
    read_prototypes(section).ok_or_else(|| "its type information is malformed".into())
}

fn read_prototypes(section: &[u8]) -> Option<BTreeMap<String, Prototype>> {
    let (types, strings) = parts(section)?;
    let all: Vec<Type<'_>> = Types { types, at: 0 }.collect::<Option<_>>()?;
    let mut found: BTreeMap<String, Prototype> = BTreeMap::new();
    for function in all.iter().filter(|one| one.kind == FUNCTION) {
        // Types are counted from 1; 0 is `void`.
        let form = function.size.checked_sub(1).and_then(|index| all.get(index))?;
        // Without a type the last parameter stands for any number of others.
        let last = form.rest.len().checked_sub(8).map(|at| word(form.rest, at + 4));
        let parameters = if last == Some(Some(0)) { usize::MAX } else { form.count };
        let prototype = Prototype { parameters, returns: form.size != 0 };
        let entry = found.entry(text(strings, function.name)?).or_insert(prototype);
        entry.parameters = entry.parameters.max(prototype.parameters);
        entry.returns |= prototype.returns;
    }
    Some(found)
}

fn read(section: &[u8], names: &[&str]) -> Option<BTreeMap<String, u64>> {
    let (types, strings) = parts(section)?;
    let mut sizes = BTreeMap::new();
    for one in (Types { types, at: 0 }) {
        let one = one?;
        if one.kind == STRUCT {
            let name = text(strings, one.name)?;
            if names.contains(&name.as_str()) {
                sizes.insert(name, u64::try_from(one.size).ok()?);
            }
        }
    }
    Some(sizes)
}

/// The types and the texts.
fn parts(section: &[u8]) -> Option<(&[u8], &[u8])> {
    let word = |at: usize| word(section, at);
    if section.get(..2)? != MAGIC.to_le_bytes() {
        return None;
    }
    let header = word(4)?;
    let types = header.checked_add(word(8)?)?;
    let types = section.get(types..types.checked_add(word(12)?)?)?;
    let strings = header.checked_add(word(16)?)?;
    Some((types, section.get(strings..strings.checked_add(word(20)?)?)?))
}

fn text(strings: &[u8], at: usize) -> Option<String> {
    let text = strings.get(at..)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// A type.
struct Type<'a> {
    /// Where its name is.
    name: usize,
    kind: usize,
    count: usize,
    /// Its size, or the type that it is made of.
    size: usize,
    /// What follows.
    rest: &'a [u8],
}

/// The types in their order; `None` where they are malformed.
struct Types<'a> {
    types: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Types<'a> {
    type Item = Option<Type<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.types.len() {
            return None;
        }
        let one = self.read();
        self.at = one.as_ref().map_or(self.types.len(), |one| self.at + 12 + one.rest.len());
        Some(one)
    }
}

impl<'a> Types<'a> {
    fn read(&self) -> Option<Type<'a>> {
        let word = |at: usize| word(self.types, self.at + at);
        let (name, info, size) = (word(0)?, word(4)?, word(8)?);
        let (count, kind) = (info & 0xffff, info >> 24 & 0x1f);
        let start = self.at + 12;
        let rest = self.types.get(start..start.checked_add(following(kind, count)?)?)?;
        Some(Type { name, kind, count, size, rest })
    }
}

const STRUCT: usize = 4;
const FUNCTION: usize = 12;

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
    fn functions_have_parameters_and_perhaps_a_result() {
        let strings = b"\0f\0g\0";
        // int; int (int, int); void (int, ...); f; g.
        let words: Vec<u32> = [
            [0, 1 << 24, 4, 0x20].as_slice(),
            &[0, 13 << 24 | 2, 1, 0, 1, 0, 1],
            &[0, 13 << 24 | 2, 0, 0, 1, 0, 0],
            &[1, 12 << 24, 2],
            &[3, 12 << 24, 3],
        ]
        .concat();
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut section = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len(), types.len(), strings.len()] {
            section.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        section.extend(types);
        section.extend(strings);
        let found = prototypes(&section).unwrap();
        assert_eq!(found["f"], Prototype { parameters: 2, returns: true });
        assert_eq!(found["g"], Prototype { parameters: usize::MAX, returns: false });
    }

    #[test]
    fn every_truncation_is_an_error() {
        let sample = sample();
        for end in 0..sample.len() {
            assert!(struct_sizes(&sample[..end], &["bug_entry"]).is_err(), "{end}");
        }
    }
}
