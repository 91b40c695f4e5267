//! What is known of the preprocessor's texts of a kernel's objects: an item that many of them have, of a
//! header, is kept once.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::includes::plain;
use super::items::{Cut, Item};
use super::meaning::{Meaning, definitions, uses};

/// All items that were seen. Numbers stand for them and for words.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    words: Vec<String>,
    items: Vec<KnownItem>,
    #[serde(skip)]
    word_numbers: HashMap<String, u32>,
    #[serde(skip)]
    item_numbers: HashMap<Key, u32>,
}

/// Digest and place.
type Key = (u64, Vec<(u32, u32, u32)>);

#[derive(Debug, Serialize, Deserialize)]
struct KnownItem {
    key: Key,
    kind: Kind,
    /// The words that it has.
    uses: Vec<u32>,
}

/// What there is of an item when nothing names it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Nothing in any case.
    Nothing,
    /// Code or data.
    Code,
    /// Only what others use by these names, each with a digest of what it means.
    Names(Vec<(u32, u64)>),
}

/// A text, as numbers of its items and of the macros that it depends on.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    pub(super) items: Vec<u32>,
    pub(super) macros: Vec<u32>,
}

impl Known {
    /// Finds the numbers again, which are not kept.
    pub(super) fn index(&mut self) {
        self.word_numbers = (0..).zip(&self.words).map(|(at, word)| (word.clone(), at)).collect();
        self.item_numbers =
            (0..).zip(&self.items).map(|(at, item)| (item.key.clone(), at)).collect();
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether all numbers of a text stand for something.
    pub(super) fn has(&self, text: &Text) -> bool {
        let is_in = |numbers: &[u32], length: usize| {
            numbers.iter().all(|number| usize::try_from(*number).is_ok_and(|at| at < length))
        };
        is_in(&text.items, self.items.len()) && is_in(&text.macros, self.words.len())
    }

    /// The number of a word if any text has it.
    pub(super) fn number(&self, word: &str) -> Option<u32> {
        self.word_numbers.get(word).copied()
    }

    pub(super) fn digest(&self, item: u32) -> u64 {
        self.get(item).map_or(0, |item| item.key.0)
    }

    pub(super) fn kind(&self, item: u32) -> &Kind {
        self.get(item).map_or(&Kind::Code, |item| &item.kind)
    }

    pub(super) fn uses(&self, item: u32) -> &[u32] {
        self.get(item).map_or(&[], |item| &item.uses)
    }

    /// Whether something of an item comes from lines of a file, from 1.
    pub(super) fn is_from(&self, item: u32, file: u32, lines: (u32, u32)) -> bool {
        let spans = self.get(item).map_or(&[][..], |item| item.key.1.as_slice());
        spans.iter().any(|span| span.0 == file && span.1 <= lines.1 && lines.0 <= span.2)
    }

    fn get(&self, item: u32) -> Option<&KnownItem> {
        self.items.get(usize::try_from(item).ok()?)
    }

    /// Takes in a text of the preprocessor's.
    pub(super) fn text(&mut self, cut: &Cut<'_>) -> Text {
        let items = cut.items.iter().map(|item| self.item(item)).collect();
        let macros = cut.macros.iter().map(|name| self.word(name)).collect();
        Text { items, macros }
    }

    fn item(&mut self, item: &Item<'_>) -> u32 {
        let spans = item.spans.iter().map(|span| (self.file(span.file), span.first, span.last));
        let key = (item.digest, spans.collect());
        if let Some(number) = self.item_numbers.get(&key) {
            return *number;
        }
        let mut numbers = |names: Vec<(&str, u64)>| {
            names.into_iter().map(|(name, digest)| (self.word(name), digest)).collect()
        };
        let kind = match Meaning::of(item.text) {
            Meaning::Nothing => Kind::Nothing,
            Meaning::Code => Kind::Code,
            Meaning::Names(_) => Kind::Names(numbers(definitions(item))),
        };
        let uses = uses(item.text).into_iter().map(|word| self.word(word)).collect();
        let number = next(self.items.len());
        self.item_numbers.insert(key.clone(), number);
        self.items.push(KnownItem { key, kind, uses });
        number
    }

    fn file(&mut self, path: &str) -> u32 {
        match self.number(path) {
            Some(number) if !path.contains("./") => number,
            _ => self.word(&plain(path)),
        }
    }

    fn word(&mut self, word: &str) -> u32 {
        if let Some(number) = self.number(word) {
            return number;
        }
        let number = next(self.words.len());
        self.word_numbers.insert(word.to_owned(), number);
        self.words.push(word.to_owned());
        number
    }
}

/// A kernel's source is far smaller than what numbers there are.
fn next(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::items::cut;
    use super::*;

    #[test]
    fn what_is_kept_says_the_same() {
        let text =
            "# 1 \"./a/../a.h\" 1\n#define M 1\nenum e { ONE = M };\nint f(void) { return ONE; }\n";
        let mut known = Known::default();
        let numbers = known.text(&cut(text));
        let kept = postcard::to_allocvec(&known).unwrap();
        let mut read: Known = postcard::from_bytes(&kept).unwrap();
        read.index();
        assert_eq!(read.text(&cut(text)), numbers);
        assert_eq!(read.len(), known.len());
        let file = read.number("a.h").unwrap();
        let from = |lines| -> Vec<bool> {
            numbers.items.iter().map(|one| read.is_from(*one, file, lines)).collect()
        };
        assert_eq!(from((2, 2)), [true, false]);
        assert_eq!(from((3, 9)), [false, true]);
        assert!(read.has(&numbers) && !Known::default().has(&numbers));
    }
}
