//! Keys of jump labels.

use object::elf;

use super::cutter::{Cutter, Use};
use crate::extraction::CopiedKey;
use crate::view::{Entry, Link, Target};
use crate::writer::{Naming, Placed};

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

impl<'s> Cutter<'s, '_> {
    /// The kernel's loader would write to a key that is read-only.
    pub(super) fn has_read_only_key(&self, link: &Link) -> bool {
        self.key_name(link).is_some_and(|name| self.links.read_only_keys.contains(name))
    }

    /// The variable that a field of a table refers to.
    fn key_name(&self, link: &Link) -> Option<&'s str> {
        let patched = &self.subject.patched;
        match link.target {
            Target::External(symbol, _) => patched.file.symbols.get(symbol).map(|found| found.name),
            Target::Entity(index, _) => {
                patched.entity(index).filter(|found| !found.is_code).map(|found| found.name)
            }
            _ => None,
        }
    }

    /// Gives a jump label a key of the patch's own instead of one that must not be written to.
    pub(super) fn copy_key(&mut self, entry: &Entry, link: &Link, at: u64, placed: Placed) {
        let (Target::External(_, distance) | Target::Entity(_, distance)) = link.target else {
            return;
        };
        let Some(name) = self.key_name(link) else { return };
        let bits = KeyBits::of(distance);
        let Some(is_true) = bits.and_then(|bits| Some(bits.is_true_at_first(self.code_at(entry)?)))
        else {
            self.fail(format!("has a jump label that depends on a part of {name}"));
            return;
        };
        let tag = super::object_tag(self.subject.input.name);
        let copy = match self.keys.get(name) {
            Some((copy, _)) => *copy,
            None => {
                let Some((symbol, _)) = self.destination(link.target, Use::Address) else { return };
                let original = self.writer.name(symbol);
                let new = format!("lucos_key_{name}{tag}");
                let flags = elf::SHF_ALLOC.0 | elf::SHF_WRITE.0;
                let bytes = key(is_true);
                let placed = self.writer.place(".data", flags, &bytes, 8);
                let size = bytes.len() as u64;
                let copy = self.writer.define(&new, placed, size, Naming::Data, false);
                self.keys.insert(name.to_owned(), (copy, CopiedKey { original, copy: new }));
                copy
            }
        };
        let addend = distance.wrapping_sub(link.bias);
        if let Err(error) = self.writer.relocate(placed, at, link.kind, copy, addend) {
            self.fail(error.to_string());
        }
    }

    /// The first byte of the instruction that an entry of a table is about.
    fn code_at(&self, entry: &Entry) -> Option<u8> {
        let patched = &self.subject.patched;
        let link = patched.links(entry.section, entry.start, entry.end).first()?;
        let Target::Entity(index, distance) = link.target else { return None };
        let entity = patched.entity(index)?;
        let start = entity.entry.checked_add_signed(distance)?;
        patched.section(entity.section)?.bytes(start, start + 1).first().copied()
    }
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
