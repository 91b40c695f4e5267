//! Which variable of one object is which of the other, where the symbol's name does not say: those
//! whose name carries a number of the compiler's or a macro's.
//!
//! What the compiler knows of them tells: where each is declared, and where it is used. A line of the
//! source that stays is the same line, one that moved too ([`source_lines`]). So the number in a name
//! decides nothing, nor does the order of use.

mod candidates;
mod evidence;
pub(crate) mod source_lines;

use std::collections::{BTreeMap, BTreeSet};

use crate::comparison::Rule;
use crate::debug_info::DebugInfo;
use crate::view::View;
pub(crate) use candidates::references;
use candidates::{Candidate, Groups};
use evidence::Evidence;
use source_lines::SourceLines;

/// An object with what its debug information says.
#[derive(Clone, Copy)]
pub(crate) struct Side<'s, 'a> {
    pub(crate) view: &'s View<'a>,
    pub(crate) debug: &'s DebugInfo,
}

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// Variables of the original and of the patched object that are the same.
    pub(crate) pairs: Vec<(usize, usize, Rule)>,
    /// Variables of the patched object that may be one of these of the original, or new.
    pub(crate) unclear: BTreeMap<usize, Vec<usize>>,
}

/// Tells which variables are the same, of those that `is_open` names in the original (`true`) and in
/// the patched object.
pub(crate) fn find(
    original: Side<'_, '_>,
    patched: Side<'_, '_>,
    sources: &SourceLines,
    is_open: impl Fn(bool, usize) -> bool,
) -> Identities {
    let olds = Groups::new(original, |index| is_open(true, index), |place| sources.before(place));
    let news = Groups::new(patched, |index| is_open(false, index), |place| sources.after(place));
    let mut identities = Identities::default();
    for (name, old) in &olds.by_name {
        if let Some(new) = news.by_name.get(name) {
            Group::new(name, old, new, sources).settle(&mut identities);
        }
    }
    identities
}

/// The variables of one name, as the source has it.
struct Group<'g> {
    name: &'g str,
    old: &'g [Candidate],
    new: &'g [Candidate],
    sources: &'g SourceLines,
    evidence: Evidence,
    /// Those of `old` and `new` that are settled.
    done: [BTreeSet<usize>; 2],
}

/// A pair of a group: numbers in [`Group::old`] and [`Group::new`].
type Pair = (usize, usize);

impl<'g> Group<'g> {
    fn new(
        name: &'g str,
        old: &'g [Candidate],
        new: &'g [Candidate],
        sources: &'g SourceLines,
    ) -> Self {
        let evidence = Evidence::new(old, new, sources);
        Self { name, old, new, sources, evidence, done: Default::default() }
    }

    fn settle(mut self, identities: &mut Identities) {
        let mut found: Vec<(Pair, Rule)> = Vec::new();
        for (rule, choose) in [
            (Rule::Declaration, Self::by_declaration as fn(&Self) -> Vec<Pair>),
            (Rule::Use, Self::by_use),
            (Rule::Edit, Self::by_edit),
        ] {
            loop {
                let pairs = choose(&self);
                if pairs.is_empty() {
                    break;
                }
                for (old, new) in pairs {
                    if self.is_open((old, new)) {
                        self.take((old, new));
                        found.push(((old, new), rule));
                    }
                }
            }
        }
        for ((old, new), rule) in found {
            let entities = (self.old.get(old), self.new.get(new));
            // One that the compiler left out has no value to keep.
            if let (
                Some(Candidate { entity: Some(old), .. }),
                Some(Candidate { entity: Some(new), .. }),
            ) = entities
            {
                identities.pairs.push((*old, *new, rule));
            }
        }
        self.find_unclear(identities);
    }

    fn is_open(&self, (old, new): Pair) -> bool {
        !self.done[0].contains(&old) && !self.done[1].contains(&new)
    }

    fn take(&mut self, (old, new): Pair) {
        self.done[0].insert(old);
        self.done[1].insert(new);
    }

    fn open(&self) -> Vec<Pair> {
        let all =
            (0..self.old.len()).flat_map(|old| (0..self.new.len()).map(move |new| (old, new)));
        all.filter(|pair| self.is_open(*pair)).collect()
    }

    fn both(&self, (old, new): Pair) -> Option<(&'g Candidate, &'g Candidate)> {
        Some((self.old.get(old)?, self.new.get(new)?))
    }

    /// The line that declares it stays, and no use speaks against it.
    fn by_declaration(&self) -> Vec<Pair> {
        let is_it = |pair: &Pair| {
            self.evidence.is_declared_alike(*pair)
                && self.is_likely(*pair)
                && !self.is_denied(*pair)
        };
        self.open().into_iter().filter(is_it).collect()
    }

    /// A declaration says little by itself: another one may look the same. What a macro makes is
    /// declared by the line that is all that uses it.
    fn is_likely(&self, pair: Pair) -> bool {
        let Some((old, new)) = self.both(pair) else { return false };
        let Some(spot) = &old.spot else { return false };
        let is_in_place = old.function == new.function && self.sources.stays(spot);
        let Some(text) = self.sources.text_before(spot) else { return true };
        let is_telling = || source_lines::letters(text) >= source_lines::TELLING;
        is_in_place || self.evidence.uses(pair) > 0 || !self.is_named(pair) && is_telling()
    }

    /// What used the one uses another one now. Nothing of a file that does not change does, and the
    /// line that uses a macro is what the macro's variable is about.
    fn is_denied(&self, pair: Pair) -> bool {
        let spot = self.both(pair).and_then(|(old, _)| old.spot.as_ref());
        let is_edited = spot.is_some_and(|spot| self.sources.text_before(spot).is_some());
        if !is_edited || !self.is_named(pair) || self.evidence.uses(pair) > 0 {
            return false;
        }
        let mut others = self.open().into_iter();
        others.any(|other| {
            (other.0 == pair.0) != (other.1 == pair.1) && self.evidence.uses(other) > 0
        })
    }

    /// The same lines use them, more than use any other.
    fn by_use(&self) -> Vec<Pair> {
        let open = self.open();
        let is_best = |pair: &Pair| {
            let uses = self.evidence.uses(*pair);
            let mut rivals = open.iter().filter(|other| (other.0 == pair.0) != (other.1 == pair.1));
            uses > 0 && rivals.all(|other| self.evidence.uses(*other) < uses)
        };
        open.iter().filter(|pair| is_best(pair)).copied().collect()
    }

    /// One edit takes the one declaration away and brings the other, in the same function.
    fn by_edit(&self) -> Vec<Pair> {
        let open = self.open();
        let edited: Vec<Pair> = open.into_iter().filter(|pair| self.is_edited(*pair)).collect();
        let is_best = |pair: &&Pair| {
            let mut rivals =
                edited.iter().filter(|other| (other.0 == pair.0) != (other.1 == pair.1)).peekable();
            let likeness = self.evidence.likeness(**pair);
            let is_alone = rivals.peek().is_none();
            let is_named = self.is_named(**pair);
            (is_alone && is_named || likeness >= evidence::ALIKE)
                && rivals.all(|other| self.evidence.likeness(*other) < likeness)
        };
        edited.iter().filter(is_best).copied().collect()
    }

    fn is_edited(&self, pair: Pair) -> bool {
        let Some((old, new)) = self.both(pair) else { return false };
        let (Some(before), Some(after)) = (&old.spot, &new.spot) else { return false };
        old.function == new.function && self.sources.is_one_edit(before, after)
    }

    /// The source has the variable's name there; otherwise a macro made it, and the line that uses
    /// the macro is what it is about.
    fn is_named(&self, pair: Pair) -> bool {
        let Some((old, new)) = self.both(pair) else { return true };
        let before = old.spot.as_ref().and_then(|spot| self.sources.text_before(spot));
        let after = new.spot.as_ref().and_then(|spot| self.sources.text_after(spot));
        match before.or(after) {
            Some(text) => source_lines::has_word(text, self.name),
            // The kernel's macros name what they make so.
            None => !self.name.starts_with('_'),
        }
    }

    /// What is left and could be the same.
    fn find_unclear(&self, identities: &mut Identities) {
        for pair in self.open() {
            let Some((old, new)) = self.both(pair) else { continue };
            let (Some(before), Some(after)) = (old.entity, new.entity) else { continue };
            let is_unknown = old.spot.is_none() || new.spot.is_none();
            let is_possible = is_unknown
                || self.evidence.uses(pair) > 0
                || self.evidence.is_declared_alike(pair)
                || old.function == new.function && self.is_named(pair)
                || self.is_edited(pair) && self.evidence.likeness(pair) >= evidence::ALIKE;
            if is_possible {
                identities.unclear.entry(after).or_default().push(before);
            }
        }
    }
}
