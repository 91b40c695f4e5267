//! Which function and which data of one object is which of the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::naming;
use crate::refusal::Reason;
use crate::view::{Target, View};

/// Pairs of entities of the two objects.
#[derive(Debug, Default)]
pub(crate) struct Correlation {
    to_patched: BTreeMap<usize, usize>,
    to_original: BTreeMap<usize, usize>,
    /// Names that stand for several things.
    pub(crate) ambiguous: BTreeMap<String, Reason>,
}

impl Correlation {
    /// Pairs what belongs together.
    pub(crate) fn new(original: &View<'_>, patched: &View<'_>) -> Self {
        let mut correlation = Self::default();
        correlation.pair_clones_of_equal_code(original, patched);
        correlation.pair_equal_names(original, patched);
        correlation.pair_functions_by_order(original, patched);
        correlation.pair_numbered_data(original, patched);
        correlation
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

    /// Takes a pair apart again.
    pub(crate) fn part(&mut self, before: usize) {
        if let Some(after) = self.to_patched.remove(&before) {
            self.to_original.remove(&after);
        }
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
            if let Some(found) = found {
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

    /// Static variables of functions: the function that uses one tells which it is.
    fn pair_numbered_data(&mut self, original: &View<'_>, patched: &View<'_>) {
        let numbered = |view: &View<'_>| {
            groups(view, |name, is_code| {
                !is_code && is_numbered(name) && !naming::is_content_only(name)
            })
        };
        let mut befores = numbered(original);
        let mut afters = numbered(patched);
        let single: Vec<String> = befores
            .iter()
            .filter(|(name, list)| {
                list.len() == 1 && afters.get(*name).is_some_and(|list| list.len() == 1)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in single {
            if let (Some(before), Some(after)) = (befores.remove(&name), afters.remove(&name)) {
                before.iter().zip(&after).for_each(|(before, after)| {
                    self.pair(*before, *after);
                });
            }
        }
        self.pair_by_user(original, patched);
        self.pair_by_content(original, patched, &befores, &afters);
        for (name, list) in &befores {
            let left = |list: &[usize], known: &BTreeMap<usize, usize>| {
                list.iter().filter(|index| !known.contains_key(index)).count()
            };
            let empty = Vec::new();
            let others = afters.get(name).unwrap_or(&empty);
            let (before, after) = (left(list, &self.to_patched), left(others, &self.to_original));
            if before > 0 && after > 0 && !naming::is_expendable(name) {
                let reason = Reason::Ambiguous { name: name.clone(), before, after };
                self.ambiguous.insert(name.clone(), reason);
            }
        }
    }

    /// Functions that use equally many variables of a name use them in the same order.
    fn pair_by_user(&mut self, original: &View<'_>, patched: &View<'_>) {
        let users: Vec<(usize, usize)> = self.pairs().collect();
        for (before, after) in users {
            let befores = variables_used(original, before);
            let afters = variables_used(patched, after);
            for (name, list) in befores {
                let Some(others) = afters.get(&name).filter(|others| others.len() == list.len())
                else {
                    continue;
                };
                for (before, after) in list.iter().zip(others) {
                    let size = |view: &View<'_>, index| {
                        view.entity(index).map(|entity| entity.end - entity.start)
                    };
                    if size(original, *before) == size(patched, *after) {
                        self.pair(*before, *after);
                    }
                }
            }
        }
    }

    /// What no user tells apart is the same when name and content are.
    fn pair_by_content(
        &mut self,
        original: &View<'_>,
        patched: &View<'_>,
        befores: &BTreeMap<String, Vec<usize>>,
        afters: &BTreeMap<String, Vec<usize>>,
    ) {
        for (name, list) in befores {
            for before in list {
                let Some(entity) = original.entity(*before) else { continue };
                let same = afters.get(name).and_then(|others| {
                    others.iter().find(|index| {
                        patched.entity(**index).is_some_and(|other| {
                            other.name == entity.name
                                && original.bytes(entity) == patched.bytes(other)
                                && original.section_name(entity) == patched.section_name(other)
                        })
                    })
                });
                if let Some(after) = same {
                    self.pair(*before, *after);
                }
            }
        }
    }
}

/// The compiler or a macro put a number into the name.
pub(crate) fn is_numbered(name: &str) -> bool {
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

/// The numbered variables that an entity and the table entries about it refer to, by name, each
/// once, in the order of use.
fn variables_used(view: &View<'_>, user: usize) -> BTreeMap<String, Vec<usize>> {
    let mut used: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let Some(entity) = view.entity(user) else { return used };
    let own =
        view.links_of(entity).iter().map(|link| (link.offset as i64 - entity.entry as i64, link));
    let entries = view.entries_of(user).iter().flat_map(|entry| {
        view.links(entry.section, entry.start, entry.end).iter().map(|link| (entry.at, link))
    });
    let mut links: Vec<_> = own.chain(entries).collect();
    links.sort_by_key(|(at, _)| *at);
    for (_, link) in links {
        let Target::Entity(index, _) = link.target else { continue };
        let Some(found) = view.entity(index).filter(|found| !found.is_code) else { continue };
        let is_wanted = is_numbered(found.name) && !naming::is_content_only(found.name);
        if is_wanted && seen.insert(index) {
            used.entry(naming::without_numbers(found.name)).or_default().push(index);
        }
    }
    used
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
