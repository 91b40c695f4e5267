//! The variables that are to be told apart.

use std::collections::{BTreeMap, BTreeSet};

use super::Side;
use super::source_lines::Spot;
use crate::debug_info::SourcePlace;
use crate::naming;
use crate::view::{Target, View};

/// A variable.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// `None`: the compiler left it out.
    pub(crate) entity: Option<usize>,
    pub(crate) function: Option<String>,
    pub(crate) place: Option<SourcePlace>,
    /// The line that declares it.
    pub(crate) spot: Option<Spot>,
    /// Which of those of its name that the line declares, from 0, and of how many.
    pub(crate) nth: (usize, usize),
    /// The lines of its file that use it and no other of its name.
    pub(crate) uses: BTreeSet<Spot>,
}

/// All variables of an object by the name that they have in the source.
pub(crate) struct Groups {
    pub(crate) by_name: BTreeMap<String, Vec<Candidate>>,
}

impl Groups {
    pub(crate) fn new(
        side: Side<'_, '_>,
        is_open: impl Fn(usize) -> bool,
        spot: impl Fn(&SourcePlace) -> Option<Spot>,
    ) -> Self {
        let mut by_name: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
        let mut uses = uses(side, &is_open, &spot);
        let mut known = BTreeSet::new();
        for variable in &side.debug.variables {
            let entity = match variable.home {
                None => None,
                Some((section, offset)) => match side.view.at_offset(section, offset as i64) {
                    Target::Entity(index, 0) if is_open(index) && known.insert(index) => {
                        Some(index)
                    }
                    _ => continue,
                },
            };
            let place = variable.place.clone();
            let spot = place.as_ref().and_then(&spot);
            let uses = entity.and_then(|entity| uses.remove(&entity)).unwrap_or_default();
            let function = variable.function.clone();
            let candidate = Candidate { entity, function, place, spot, nth: (0, 1), uses };
            by_name.entry(naming::declared_name(&variable.name)).or_default().push(candidate);
        }
        for (index, entity) in side.view.entities.iter().enumerate() {
            if !is_open(index) || known.contains(&index) {
                continue;
            }
            let uses = uses.remove(&index).unwrap_or_default();
            let name = naming::declared_name(entity.name);
            by_name.entry(name).or_default().push(Candidate {
                entity: Some(index),
                function: None,
                place: None,
                spot: None,
                nth: (0, 1),
                uses,
            });
        }
        for group in by_name.values_mut() {
            count_on_lines(group);
            forget_shared_uses(group);
        }
        Self { by_name }
    }
}

/// The lines that use each variable.
fn uses(
    side: Side<'_, '_>,
    is_open: impl Fn(usize) -> bool,
    spot: impl Fn(&SourcePlace) -> Option<Spot>,
) -> BTreeMap<usize, BTreeSet<Spot>> {
    let mut uses: BTreeMap<usize, BTreeSet<Spot>> = BTreeMap::new();
    for (user, at, variable) in references(side.view) {
        let place = side.view.entity(user).and_then(|user| {
            let offset = user.entry.checked_add_signed(at)?;
            side.debug.lines.place(user.section, offset)
        });
        if let Some(spot) = place.filter(|_| is_open(variable)).and_then(&spot) {
            uses.entry(variable).or_default().insert(spot);
        }
    }
    uses
}

/// Which function refers to which data, in itself or in a table about it, and where from its symbol.
pub(crate) fn references(view: &View<'_>) -> Vec<(usize, i64, usize)> {
    let mut list = Vec::new();
    for (user, function) in view.entities.iter().enumerate().filter(|(_, entity)| entity.is_code) {
        let own = view
            .links_of(function)
            .iter()
            .map(|link| (link.offset as i64 - function.entry as i64, link));
        let tables = view.entries_of(user).iter().flat_map(|entry| {
            view.links(entry.section, entry.start, entry.end).iter().map(|link| (entry.at, link))
        });
        for (at, link) in own.chain(tables) {
            let Target::Entity(data, _) = link.target else { continue };
            if view.entity(data).is_some_and(|data| !data.is_code) {
                list.push((user, at, data));
            }
        }
    }
    list
}

/// Several of one name on one line stand there in the order of the source.
fn count_on_lines(group: &mut [Candidate]) {
    let mut lines: BTreeMap<Spot, Vec<(u64, usize)>> = BTreeMap::new();
    for (index, candidate) in group.iter().enumerate() {
        if let Some(spot) = candidate.spot.clone() {
            let column = candidate.place.as_ref().map_or(0, |place| place.column);
            lines.entry(spot).or_default().push((column, index));
        }
    }
    for mut line in lines.into_values() {
        line.sort_unstable();
        let count = line.len();
        for (nth, (_, index)) in line.into_iter().enumerate() {
            if let Some(candidate) = group.get_mut(index) {
                candidate.nth = (nth, count);
            }
        }
    }
}

/// A line that uses several says nothing of any, nor does one of another file, such as that of a
/// function that is inlined everywhere.
fn forget_shared_uses(group: &mut [Candidate]) {
    let mut counts: BTreeMap<Spot, usize> = BTreeMap::new();
    for spot in group.iter().flat_map(|candidate| &candidate.uses) {
        *counts.entry(spot.clone()).or_default() += 1;
    }
    for candidate in group {
        let file = candidate.spot.as_ref().map(|spot| spot.file.clone());
        candidate
            .uses
            .retain(|spot| counts.get(spot) == Some(&1) && file.as_ref() == Some(&spot.file));
    }
}
