//! Functions that are called in another way than before.

use std::collections::BTreeSet;

use crate::compare::Subject;
use crate::debug_info::Signature;
use crate::input::Input;
use crate::naming;
use crate::refusal::{Reason, Refusal};
use crate::tables;
use crate::view::{Target, View};

/// What becomes of a changed function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Calling {
    /// The old one can be redirected to the new one.
    AsBefore,
    /// The old one stays as it is for threads that are in its old callers, which all change.
    Beside,
    /// Some callers would reach the wrong one.
    Refused(Reason),
}

/// Tells it of a function of both objects. `changed` has all functions of the original that change.
pub(crate) fn of(
    subject: &Subject<'_>,
    changed: &BTreeSet<usize>,
    before: usize,
    after: usize,
) -> Calling {
    let (Some(old), Some(new)) = (subject.original.entity(before), subject.patched.entity(after))
    else {
        return Calling::AsBefore;
    };
    let signatures = signatures(subject, old.name);
    let is_compatible =
        signatures.as_ref().is_none_or(|(before, after)| after.takes_calls_of(before));
    let refuse = |why: String| match &signatures {
        // Nobody knows what parameters the compiler has left a clone.
        Some((before, after)) if !is_compatible && !naming::is_clone(old.name) => {
            let function = old.name.to_owned();
            let (before, after) = (before.to_string(), after.to_string());
            Calling::Refused(Reason::CalledDifferently { function, before, after, why })
        }
        _ => Calling::AsBefore,
    };
    let callers = callers(&subject.original, before);
    let Some(callers) = callers.filter(|_| self::callers(&subject.patched, after).is_some()) else {
        return refuse("its address is taken".to_owned());
    };
    let is_left = |caller: &usize| *caller != before && !changes(subject, changed, *caller);
    let left = callers.iter().copied().find(is_left);
    let is_private = old.is_private && new.is_private;
    let is_called_by_new = callers.iter().any(|caller| changes(subject, changed, *caller));
    let may_differ = naming::is_clone(old.name)
        || signatures.as_ref().is_some_and(|(before, after)| !before.is_like(after));
    match left {
        None if is_private && may_differ => Calling::Beside,
        // Nobody can call it as before who is not compiled anew.
        None if !is_private && !is_compatible => Calling::Beside,
        // All who can call it do so as before: what they pass or look at has not changed.
        Some(_) if is_private && !is_called_by_new => Calling::AsBefore,
        Some(caller) => {
            let name = subject.original.entity(caller).map_or("", |entity| entity.name);
            refuse(format!("{name}, which stays as it is, calls it"))
        }
        None => Calling::AsBefore,
    }
}

/// What of an object uses functions of others with these names and stays as it is: names of the user
/// and of the function.
///
/// # Errors
/// [`Refusal`] when the objects cannot be compared at all.
pub fn users_left(
    input: &Input<'_>,
    names: &BTreeSet<String>,
) -> Result<Vec<(String, String)>, Refusal> {
    let subject = Subject::new(input)?;
    let changed = subject.changed_functions().into_keys().collect();
    let mut left = Vec::new();
    for (index, entity) in subject.original.entities.iter().enumerate() {
        if changes(&subject, &changed, index) {
            continue;
        }
        for link in subject.original.links_of(entity) {
            let Target::External(symbol, _) = link.target else { continue };
            let Some(symbol) = subject.original.file.symbols.get(symbol) else { continue };
            if names.contains(symbol.name) {
                left.push((entity.name.to_owned(), symbol.name.to_owned()));
            }
        }
    }
    Ok(left)
}

/// A caller is there no more, or is a new one.
fn changes(subject: &Subject<'_>, changed: &BTreeSet<usize>, caller: usize) -> bool {
    let entity = subject.original.entity(caller);
    let parent = entity.and_then(|entity| naming::parent_of_split_part(entity.name));
    let caller = parent.and_then(|name| subject.original.named(name)).unwrap_or(caller);
    let is_over = subject
        .original
        .entity(caller)
        .is_some_and(|entity| tables::is_boot_only(subject.original.section_name(entity)));
    is_over || subject.correlation.patched(caller).is_none() || changed.contains(&caller)
}

/// The parameters of a function before and after.
fn signatures(subject: &Subject<'_>, name: &str) -> Option<(Signature, Signature)> {
    let name = naming::source_name(name);
    let before = subject.original_debug.signatures.get(name)?.clone();
    Some((before, subject.patched_debug.signatures.get(name)?.clone()))
}

/// The functions that call a function; `None` when its address is taken.
pub(crate) fn callers(view: &View<'_>, function: usize) -> Option<BTreeSet<usize>> {
    let mut callers = BTreeSet::new();
    for (index, entity) in view.entities.iter().enumerate() {
        for link in view.links_of(entity) {
            if !matches!(link.target, Target::Entity(target, 0) if target == function) {
                continue;
            }
            if !entity.is_code || !link.is_branch {
                return None;
            }
            callers.insert(index);
        }
    }
    Some(callers)
}
