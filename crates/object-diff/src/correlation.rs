//! Which function and which data of one object is which of the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::comparison::Rule;
use crate::identity::source_lines::SourceLines;
use crate::identity::{self, Side};
use crate::input::Decision;
use crate::naming;
use crate::view::{Target, View};

/// Pairs of entities of the two objects.
#[derive(Debug, Default)]
pub(crate) struct Correlation {
    to_patched: BTreeMap<usize, usize>,
    to_original: BTreeMap<usize, usize>,
    /// What tells that data is the same, by its place in the original.
    rules: BTreeMap<usize, Rule>,
    /// Data of the patched object that may be one of these of the original, or new.
    pub(crate) unclear: BTreeMap<usize, Vec<usize>>,
    /// Data of the patched object that the author calls new.
    new: BTreeSet<usize>,
    /// Which of the author's decisions are about these objects.
    pub(crate) decided: Vec<usize>,
}

impl Correlation {
    /// Pairs what belongs together.
    pub(crate) fn new(
        original: Side<'_, '_>,
        patched: Side<'_, '_>,
        sources: &SourceLines,
        decisions: &[Decision],
    ) -> Self {
        let mut correlation = Self::default();
        correlation.obey(original.view, patched.view, decisions);
        correlation.pair_clones_of_equal_code(original.view, patched.view);
        correlation.pair_equal_names(original.view, patched.view);
        correlation.pair_functions_by_order(original.view, patched.view);
        correlation.pair_numbered_data(original, patched, sources);
        correlation
    }

    /// What tells that data of the original is the same in the patched object.
    pub(crate) fn rule(&self, original: usize) -> Rule {
        self.rules.get(&original).copied().unwrap_or(Rule::Name)
    }

    /// What the author says goes first.
    fn obey(&mut self, original: &View<'_>, patched: &View<'_>, decisions: &[Decision]) {
        let data = |view: &View<'_>, name: &str| {
            let is_data = |index: &usize| view.entity(*index).is_some_and(|found| !found.is_code);
            view.named(name).filter(is_data)
        };
        for (number, decision) in decisions.iter().enumerate() {
            let is_obeyed = match decision {
                Decision::Same { old, new } => data(original, old)
                    .zip(data(patched, new))
                    .is_some_and(|(old, new)| self.pair_data(old, new, Rule::Author)),
                Decision::New(name) => {
                    data(patched, name).is_some_and(|index| self.new.insert(index))
                }
            };
            if is_obeyed {
                self.decided.push(number);
            }
        }
    }

    pub(crate) fn patched(&self, original: usize) -> Option<usize> {
        self.to_patched.get(&original).copied()
    }

    pub(crate) fn original(&self, patched: usize) -> Option<usize> {
        self.to_original.get(&patched).copied()
    }

    /// The pairs in the order of the original.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.to_patched.iter().map(|(before, after)| (*before, *after))
    }

    fn pair(&mut self, before: usize, after: usize) -> bool {
        if self.to_patched.contains_key(&before) || self.to_original.contains_key(&after) {
            return false;
        }
        self.to_patched.insert(before, after);
        self.to_original.insert(after, before);
        true
    }

    fn pair_data(&mut self, before: usize, after: usize, rule: Rule) -> bool {
        let is_paired = !self.new.contains(&after) && self.pair(before, after);
        if is_paired {
            self.rules.insert(before, rule);
        }
        is_paired
    }

    /// Clones are numbered anew when one goes: the same code is the same clone.
    fn pair_clones_of_equal_code(&mut self, original: &View<'_>, patched: &View<'_>) {
        let clones = |view: &View<'_>| {
            groups(view, |name, is_code| {
                is_code && (naming::is_clone(name) || naming::without_numbers(name) != name)
            })
        };
        let after = clones(patched);
        for (name, befores) in clones(original) {
            let afters = after.get(&name).map_or(&[][..], Vec::as_slice);
            for before in &befores {
                let code = code_without_links(original, *before);
                let is_same = |index: &&usize| {
                    !self.to_original.contains_key(index)
                        && code_without_links(patched, **index) == code
                };
                // The same name first, for clones that are alike.
                let name_of = |view: &View<'_>, index: usize| {
                    view.entity(index).map_or(String::new(), |entity| entity.name.to_owned())
                };
                let wanted = name_of(original, *before);
                let mut candidates: Vec<usize> = afters.iter().filter(is_same).copied().collect();
                candidates.sort_by_key(|index| name_of(patched, *index) != wanted);
                if let Some(found) = candidates.first() {
                    self.pair(*before, *found);
                }
            }
        }
    }

    fn pair_equal_names(&mut self, original: &View<'_>, patched: &View<'_>) {
        for (index, entity) in original.entities.iter().enumerate() {
            let is_numbered = !entity.is_code && is_numbered(entity.name);
            if is_numbered || naming::is_content_only(entity.name) {
                continue;
            }
            let found = entity.names.iter().find_map(|name| patched.named(name));
            let found = found.filter(|found| {
                patched.entity(*found).is_some_and(|found| found.is_code == entity.is_code)
            });
            if let Some(found) = found.filter(|found| !self.new.contains(found)) {
                self.pair(index, found);
            }
        }
    }

    fn pair_functions_by_order(&mut self, original: &View<'_>, patched: &View<'_>) {
        let after = groups(patched, |_, is_code| is_code);
        for (name, befores) in groups(original, |_, is_code| is_code) {
            let afters = after.get(&name).map_or(&[][..], Vec::as_slice);
            let befores: Vec<usize> =
                befores.into_iter().filter(|index| self.patched(*index).is_none()).collect();
            let afters: Vec<usize> =
                afters.iter().copied().filter(|index| self.original(*index).is_none()).collect();
            for (before, after) in befores.iter().zip(&afters) {
                self.pair(*before, *after);
            }
        }
    }

    /// Data whose name carries a number, and what else has no counterpart of its name.
    fn pair_numbered_data(
        &mut self,
        original: Side<'_, '_>,
        patched: Side<'_, '_>,
        sources: &SourceLines,
    ) {
        let is_candidate = |view: &View<'_>, index: usize| {
            view.entity(index).is_some_and(|entity| {
                let is_constant =
                    naming::is_content_only(entity.name) || naming::is_index_entry(entity.name);
                !entity.is_code && !is_constant
            })
        };
        let found = identity::find(original, patched, sources, |is_original, index| {
            if is_original {
                is_candidate(original.view, index) && self.patched(index).is_none()
            } else {
                is_candidate(patched.view, index)
                    && self.original(index).is_none()
                    && !self.new.contains(&index)
            }
        });
        for (before, after, rule) in found.pairs {
            self.pair_data(before, after, rule);
        }
        let mut unclear = found.unclear;
        // What is paired tells more.
        while self.pair_by_equal_code(original.view, patched.view, &unclear) {}
        unclear.retain(|after, candidates| {
            candidates.retain(|before| self.patched(*before).is_none());
            // A copy of a constant does as well.
            let is_variable = is_writable(patched.view, *after);
            is_variable && self.original(*after).is_none() && !candidates.is_empty()
        });
        self.unclear = unclear;
    }

    /// What is unclear otherwise is the same where code or data that is the same uses it. Whether
    /// something was found.
    fn pair_by_equal_code(
        &mut self,
        original: &View<'_>,
        patched: &View<'_>,
        unclear: &BTreeMap<usize, Vec<usize>>,
    ) -> bool {
        let mut has_found = false;
        let users: Vec<(usize, usize)> = self.pairs().collect();
        for (before, after) in users.into_iter().filter(|_| !unclear.is_empty()) {
            if code_without_links(original, before) != code_without_links(patched, after) {
                continue;
            }
            let (Some(old), Some(new)) = (original.entity(before), patched.entity(after)) else {
                continue;
            };
            for (one, other) in original.links_of(old).iter().zip(patched.links_of(new)) {
                let (Target::Entity(variable, at), Target::Entity(now, there)) =
                    (one.target, other.target)
                else {
                    continue;
                };
                let is_candidate =
                    unclear.get(&now).is_some_and(|candidates| candidates.contains(&variable));
                if is_candidate && at == there && one.offset - old.start == other.offset - new.start
                {
                    has_found |= self.pair_data(variable, now, Rule::Code);
                }
            }
        }
        has_found
    }
}

fn is_writable(view: &View<'_>, index: usize) -> bool {
    let home = view.entity(index).and_then(|entity| view.section(entity.section));
    home.is_some_and(|home| home.has(object::elf::SHF_WRITE) && !home.name.starts_with(".rodata"))
}

/// The compiler or a macro put a number into the name.
fn is_numbered(name: &str) -> bool {
    naming::without_numbers(name) != name
}

/// Entities by name without numbers, each group in the order of the object.
fn groups(view: &View<'_>, wanted: impl Fn(&str, bool) -> bool) -> BTreeMap<String, Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, entity) in view.entities.iter().enumerate() {
        if wanted(entity.name, entity.is_code) {
            groups.entry(naming::without_numbers(entity.name)).or_default().push(index);
        }
    }
    groups
}

/// Code with every field that a relocation fills in as zero.
fn code_without_links(view: &View<'_>, index: usize) -> Vec<u8> {
    let Some(entity) = view.entity(index) else { return Vec::new() };
    let mut code = view.bytes(entity).to_vec();
    blank_links(&mut code, entity.start, view.links_of(entity));
    code
}

/// Zeroes the fields of links in bytes that begin at `start` of their section.
pub(crate) fn blank_links(bytes: &mut [u8], start: u64, links: &[crate::view::Link]) {
    for link in links {
        let from = link.offset.saturating_sub(start) as usize;
        let field = bytes.get_mut(from..from.saturating_add(link.width as usize));
        field.into_iter().for_each(|field| field.fill(0));
    }
}
