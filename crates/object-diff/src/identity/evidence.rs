//! What speaks for two variables being the same.

use std::collections::{BTreeMap, BTreeSet};

use similar::TextDiff;

use super::candidates::Candidate;
use super::source_lines::{SourceLines, Spot, TELLING, letters};
use crate::debug_info::SourcePlace;

/// Two lines of which so much is equal (1: all) are one line that was edited.
pub(crate) const ALIKE: f32 = 0.6;

/// What speaks for each pair of a group, by its number among the old and the new ones.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    declared: BTreeSet<(usize, usize)>,
    uses: BTreeMap<(usize, usize), usize>,
    /// The statements that declare the old ones and the new ones, where they are known.
    texts: [Vec<Option<String>>; 2],
}

impl Evidence {
    pub(crate) fn new(old: &[Candidate], new: &[Candidate], sources: &SourceLines) -> Self {
        let mut evidence = Self::default();
        evidence.find_declared(old, new, sources);
        evidence.find_uses(old, new, sources);
        let own = |text: &str| text.to_owned();
        let texts = |side: &[Candidate], text: &dyn Fn(&SourcePlace) -> Option<String>| {
            side.iter().map(|one| one.place.as_ref().and_then(text)).collect()
        };
        evidence.texts = [
            texts(old, &|place| sources.statement_before(place).map(own)),
            texts(new, &|place| sources.statement_after(place).map(own)),
        ];
        evidence
    }

    /// One line declares both.
    pub(crate) fn is_declared_alike(&self, pair: (usize, usize)) -> bool {
        self.declared.contains(&pair)
    }

    /// How many lines use both.
    pub(crate) fn uses(&self, pair: (usize, usize)) -> usize {
        self.uses.get(&pair).copied().unwrap_or(0)
    }

    /// How much of the statements that declare them is equal, from 0 to 1.
    pub(crate) fn likeness(&self, (old, new): (usize, usize)) -> f32 {
        let [olds, news] = &self.texts;
        let text = |side: &[Option<String>], at: usize| side.get(at).cloned().flatten();
        match (text(olds, old), text(news, new)) {
            (Some(old), Some(new)) => TextDiff::from_chars(&old, &new).ratio(),
            _ => 0.0,
        }
    }

    fn find_declared(&mut self, old: &[Candidate], new: &[Candidate], sources: &SourceLines) {
        let mut by_spot: BTreeMap<&Spot, Vec<usize>> = BTreeMap::new();
        for (index, candidate) in new.iter().enumerate() {
            if let Some(spot) = &candidate.spot {
                by_spot.entry(spot).or_default().push(index);
            }
        }
        for (before, old) in old.iter().enumerate() {
            let spot = old.spot.as_ref().and_then(|spot| sources.moved_to(spot));
            let there = spot.and_then(|spot| by_spot.get(&spot)).into_iter().flatten();
            for after in there {
                let Some(new) = new.get(*after) else { continue };
                let column = |one: &Candidate| one.place.as_ref().map(|place| place.column);
                let is_same_place = if old.nth.1 == new.nth.1 {
                    old.nth == new.nth
                } else {
                    column(old) == column(new)
                };
                if is_same_place {
                    self.declared.insert((before, *after));
                }
            }
        }
    }

    fn find_uses(&mut self, old: &[Candidate], new: &[Candidate], sources: &SourceLines) {
        let (mut by_spot, mut by_text) = (BTreeMap::new(), BTreeMap::new());
        for (index, candidate) in new.iter().enumerate() {
            for spot in &candidate.uses {
                by_spot.insert(spot, index);
                if let Some(text) = sources.text_after(spot).filter(|_| !sources.is_old(spot)) {
                    by_text.entry(text).or_insert_with(BTreeSet::new).insert(index);
                }
            }
        }
        for (before, old) in old.iter().enumerate() {
            // Letters of lines that moved to another place, by variable.
            let mut moved: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
            for spot in &old.uses {
                if let Some(there) = sources.moved_to(spot) {
                    if let Some(after) = by_spot.get(&there) {
                        *self.uses.entry((before, *after)).or_default() += 1;
                    }
                    continue;
                }
                let Some(text) = sources.text_before(spot) else { continue };
                for after in by_text.get(text).into_iter().flatten() {
                    let (lines, count) = moved.entry(*after).or_default();
                    *lines += 1;
                    *count += letters(text);
                }
            }
            for (after, (lines, count)) in moved {
                let is_near = new.get(after).is_some_and(|new| new.function == old.function);
                if is_near || count >= TELLING {
                    *self.uses.entry((before, after)).or_default() += lines;
                }
            }
        }
    }
}
