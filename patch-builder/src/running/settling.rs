//! Which of several functions with the same name and code is the object's.

use std::collections::{BTreeMap, BTreeSet};

use super::found::Match;
use super::object_code::{Code, ObjectCode};
use crate::image::Symbols;

/// What the kernel shows in front of functions with room for a call before them.
const ROOM: &str = "__pfx_";

/// Functions that are certain, by name.
type Settled = BTreeMap<String, Match>;

/// Adds those that what is certain tells: first by what it refers to, then by its place.
pub(super) fn settle(
    settled: &mut Settled,
    mut several: Vec<(&str, Vec<Match>)>,
    code: &ObjectCode,
    symbols: &Symbols,
) {
    let count = |several: &[(&str, Vec<Match>)]| -> usize {
        several.iter().map(|(_, matches)| matches.len()).sum()
    };
    loop {
        let before = count(&several);
        several = narrow(several, settled, |name, matches, settled| {
            by_references(name, matches, settled, code);
        });
        if count(&several) != before {
            continue;
        }
        several = narrow(several, settled, |name, matches, settled| {
            by_place(name, matches, settled, code, symbols);
        });
        if count(&several) == before {
            return;
        }
    }
}

/// Takes matches away; what has one left is certain.
fn narrow<'n>(
    several: Vec<(&'n str, Vec<Match>)>,
    settled: &mut Settled,
    choose: impl Fn(&str, &mut Vec<Match>, &Settled),
) -> Vec<(&'n str, Vec<Match>)> {
    let mut open = Vec::new();
    for (name, mut matches) in several {
        choose(name, &mut matches, settled);
        match (matches.len(), matches.pop()) {
            (1, Some(only)) => {
                settled.insert(name.to_owned(), only);
            }
            (_, Some(last)) => {
                matches.push(last);
                open.push((name, matches));
            }
            (_, None) => {}
        }
    }
    open
}

/// Those that the object's other functions refer to, and that refer to those.
fn by_references(name: &str, matches: &mut Vec<Match>, settled: &Settled, code: &ObjectCode) {
    let is_certain = |name: &str| !code.functions.get(name).is_none_or(Code::is_uncertain);
    matches.retain(|found| {
        found.leads.iter().filter(|lead| is_certain(&lead.function)).all(|lead| {
            settled.get(&lead.function).is_none_or(|known| known.address == lead.address)
        })
    });
    let leads = settled
        .iter()
        .filter(|(caller, _)| is_certain(caller))
        .flat_map(|(_, found)| &found.leads)
        .filter(|lead| lead.function == name);
    let addresses: BTreeSet<u64> = leads.map(|lead| lead.address).collect();
    if !addresses.is_empty() {
        matches.retain(|found| addresses.contains(&found.address));
    }
}

/// The only one between the object's first and last function, or else between the functions of
/// other objects that surround it: a linker puts what is in sections of one name side by side.
fn by_place(
    name: &str,
    matches: &mut Vec<Match>,
    settled: &Settled,
    code: &ObjectCode,
    symbols: &Symbols,
) {
    let family = |name: &str| code.functions.get(name).map(|code| family(&code.section));
    let known = settled.iter().filter(|(other, _)| {
        family(other) == family(name) && !code.functions.get(*other).is_none_or(Code::is_uncertain)
    });
    let known: Vec<u64> = known.map(|(_, found)| found.address).collect();
    let (Some(&first), Some(&last)) = (known.iter().min(), known.iter().max()) else {
        return;
    };
    let is_inside = |found: &Match| (first..=last).contains(&found.address);
    if matches.iter().any(is_inside) {
        return matches.retain(is_inside);
    }
    let foreign = || {
        symbols
            .iter()
            .filter(|symbol| matches!(symbol.kind, b't' | b'T' | b'w' | b'W'))
            .filter(|symbol| {
                let name = symbol.name.strip_prefix(ROOM).unwrap_or(&symbol.name);
                !code.functions.contains_key(name)
            })
            .map(|symbol| symbol.address)
    };
    let below = foreign().filter(|address| *address < first).max().unwrap_or(0);
    let above = foreign().filter(|address| *address > last).min().unwrap_or(u64::MAX);
    let is_between = |found: &Match| below < found.address && found.address < above;
    if matches.iter().filter(|found| is_between(found)).count() == 1 {
        matches.retain(is_between);
    }
}

/// The name of the section that a function's own section becomes a part of when the kernel is
/// built, which has none for each function.
fn family(section: &str) -> &str {
    const SPLIT: [&str; 4] = [".text.unlikely", ".text.hot", ".text.startup", ".text.exit"];
    let is_in = |family: &str| {
        section.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some(family) = SPLIT.into_iter().find(|family| is_in(family)) {
        return family;
    }
    if section.starts_with(".text..") || !is_in(".text") { section } else { ".text" }
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn functions_with_a_section_of_their_own_are_in_the_text() {
        assert_eq!(family(".text.pgd_alloc"), ".text");
        assert_eq!(family(".text"), ".text");
        assert_eq!(family(".text.unlikely.pgd_alloc"), ".text.unlikely");
        assert_eq!(family(".text.unlikely_path"), ".text");
        assert_eq!(family(".text..refcount"), ".text..refcount");
        assert_eq!(family(".init.text"), ".init.text");
    }
}
