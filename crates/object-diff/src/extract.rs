//! The cut-out: changed and new functions with what belongs to them.

mod boot_constant;
mod constant;
mod cutter;
mod entries;
mod jump_label;
mod origin;

use std::collections::{BTreeMap, BTreeSet};

use crate::calling::{self, Calling, callers};
use crate::compare::Subject;
use crate::comparison::Comparison;
use crate::extraction::{Extract, Links, Replacement, Superseded};
use crate::input::Input;
use crate::naming;
use crate::refusal::Refusal;
use crate::tables;
use crate::view::View;

use cutter::{Cut, Cutter};

/// What new versions of functions are called, in front of their old names.
const NEW: &str = "lucos_new_";

/// What becomes of a function of the patched object that goes into the patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Included {
    /// Symbol in the cut-out.
    pub(crate) symbol: String,
    pub(crate) is_local: bool,
    pub(crate) fate: Fate,
}

/// How a function of the cut-out is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The old one, this entity of the original, is redirected to it.
    Replaces(usize),
    /// New code calls it; the old one stays as it is.
    Supersedes(usize),
    /// There is no old one.
    New,
    /// It is jumped to from the function it was split off.
    Part,
}

/// Cuts the changed and new functions out of the patched object.
///
/// # Errors
/// [`Refusal`] with all reasons why that cannot be, those of the comparison included.
pub fn extract(
    input: &Input<'_>,
    comparison: &Comparison,
    links: &Links,
) -> Result<Extract, Refusal> {
    let refuse = |reasons| Refusal { object: input.name.to_owned(), reasons };
    if !comparison.refusals.is_empty() {
        return Err(refuse(comparison.refusals.clone()));
    }
    let subject = Subject::new(input)?;
    let included = included(&subject, comparison);
    let replacements = replacements(&subject, &included);
    let superseded = superseded(&subject, &included);
    let cut = Cutter::new(&subject, links, included).cut().map_err(refuse)?;
    let Cut { elf, references, constants, copied_keys, shifts } = cut;
    Ok(Extract { elf, replacements, superseded, copied_keys, shifts, references, constants })
}

/// The changed functions, with the parts split off them, and the new ones that others may call.
fn included(subject: &Subject<'_>, comparison: &Comparison) -> BTreeMap<usize, Included> {
    let mut included = BTreeMap::new();
    let names: BTreeSet<&str> =
        comparison.functions.iter().map(|function| function.name.as_str()).collect();
    let mut changed = BTreeMap::new();
    for (before, (after, _)) in subject.changed_functions() {
        let name = subject.original.entity(before).map_or("", |entity| entity.name);
        if names.contains(name) {
            changed.insert(before, after);
        }
    }
    let changed_before = changed.keys().copied().collect();
    for (before, after) in &changed {
        let Some(entity) = subject.original.entity(*before) else { continue };
        let tag = if entity.is_local { object_tag(subject.input.name) } else { String::new() };
        let symbol = format!("{NEW}{}{tag}", entity.name);
        let fate = match calling::of(subject, &changed_before, *before, *after) {
            Calling::Beside => Fate::Supersedes(*before),
            Calling::AsBefore | Calling::Refused(_) => Fate::Replaces(*before),
        };
        included.insert(*after, Included { symbol, is_local: false, fate });
    }
    for index in subject.new_functions() {
        let Some(entity) = subject.patched.entity(index) else { continue };
        if !entity.is_local && !tables::is_boot_only(subject.patched.section_name(entity)) {
            included.insert(index, new_function(&subject.patched, index));
        }
    }
    include_parts(&subject.patched, &mut included);
    included
}

/// How a function that has no old version goes into the patch.
pub(crate) fn new_function(patched: &View<'_>, index: usize) -> Included {
    let entity = patched.entity(index);
    let symbol = entity.map_or("", |entity| entity.name).to_owned();
    let is_local = entity.is_none_or(|entity| entity.is_local);
    Included { symbol, is_local, fate: Fate::New }
}

/// Adds the parts that were split off functions that go into the patch.
pub(crate) fn include_parts(patched: &View<'_>, included: &mut BTreeMap<usize, Included>) {
    for (index, entity) in patched.entities.iter().enumerate() {
        if !entity.is_code || included.contains_key(&index) {
            continue;
        }
        let Some(parent) = naming::parent_of_split_part(entity.name) else { continue };
        let parent = patched.named(parent).and_then(|parent| included.get(&parent));
        if let Some(parent) = parent {
            let symbol = format!("{}.cold", parent.symbol);
            included.insert(index, Included { symbol, is_local: true, fate: Fate::Part });
        }
    }
}

fn replacements(subject: &Subject<'_>, included: &BTreeMap<usize, Included>) -> Vec<Replacement> {
    let mut list = Vec::new();
    for (after, function) in included {
        let Fate::Replaces(before) = function.fate else { continue };
        let Some(old) = subject.original.entity(before) else { continue };
        let same_name = subject.original.entities.iter().take(before);
        let nth = same_name.filter(|other| other.is_code && other.name == old.name).count();
        list.push(Replacement {
            name: old.name.to_owned(),
            is_static: old.is_local,
            nth_in_object: nth,
            size: old.end - old.entry,
            new_symbol: function.symbol.clone(),
            address_taken: !old.is_private || callers(&subject.patched, *after).is_none(),
        });
    }
    list
}

fn superseded(subject: &Subject<'_>, included: &BTreeMap<usize, Included>) -> Vec<Superseded> {
    let mut list = Vec::new();
    for function in included.values() {
        let Fate::Supersedes(before) = function.fate else { continue };
        let Some(old) = subject.original.entity(before) else { continue };
        list.push(Superseded {
            name: old.name.to_owned(),
            is_static: old.is_local,
            new_symbol: function.symbol.clone(),
            reason: "its callers change with it, so each version keeps its own".to_owned(),
        });
    }
    list
}

/// Tells static functions of one name in several objects of a patch apart (FNV-1a of the path).
fn object_tag(name: &str) -> String {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!(".{hash:08x}")
}
