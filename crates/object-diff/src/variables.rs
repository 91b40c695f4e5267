//! What becomes of the variables that can be written to.

use crate::compare::{Subject, data_kind, is_ordinary_data};
use crate::comparison::{DataKind, State, Variable};
use crate::debug_info::{DebugInfo, StaticVariable};
use crate::naming;
use crate::view::View;

/// Those that new code uses, those that are new, and those that are gone.
pub(crate) fn of(subject: &Subject<'_>) -> Vec<Variable> {
    let used = subject.used_by_new_code();
    let mut list = Vec::new();
    for (after, entity) in subject.patched.entities.iter().enumerate() {
        let state = match subject.correlation.original(after) {
            Some(before) if used.contains(&after) => State::Kept(subject.correlation.rule(before)),
            None if !entity.is_code => State::New,
            _ => continue,
        };
        list.extend(variable(subject, false, after, state));
    }
    for before in 0..subject.original.entities.len() {
        if subject.correlation.patched(before).is_none() {
            list.extend(variable(subject, true, before, State::Gone));
        }
    }
    list
}

/// A variable's name, and where it is declared.
pub(crate) fn describe(subject: &Subject<'_>, is_original: bool, index: usize) -> String {
    let (view, debug) = side(subject, is_original);
    let name = view.entity(index).map_or("", |entity| entity.name);
    let declared = declared(view, debug, index);
    let function = declared.and_then(|found| found.function.as_deref());
    match (function, declared.and_then(place)) {
        (Some(function), Some(place)) => format!("{name} (of {function}, {place})"),
        (None, Some(place)) => format!("{name} ({place})"),
        _ => name.to_owned(),
    }
}

fn side<'s, 'a>(subject: &'s Subject<'a>, is_original: bool) -> (&'s View<'a>, &'s DebugInfo) {
    if is_original {
        (&subject.original, &subject.original_debug)
    } else {
        (&subject.patched, &subject.patched_debug)
    }
}

fn variable(
    subject: &Subject<'_>,
    is_original: bool,
    index: usize,
    state: State,
) -> Option<Variable> {
    let (view, debug) = side(subject, is_original);
    let entity = view.entity(index)?;
    let home = view.section(entity.section)?;
    let is_constant = [DataKind::ReadOnly, DataKind::Init].contains(&data_kind(home))
        || naming::is_content_only(entity.name)
        || naming::is_index_entry(entity.name);
    if entity.is_code || is_constant || !is_ordinary_data(home.name) {
        return None;
    }
    let declared = declared(view, debug, index);
    let before = if is_original { Some(index) } else { subject.correlation.original(index) };
    Some(Variable {
        name: entity.name.to_owned(),
        original_name: before
            .and_then(|before| subject.original.entity(before))
            .map(|before| before.name.to_owned()),
        function: declared.and_then(|found| found.function.clone()),
        place: declared.and_then(place),
        section: home.name.to_owned(),
        size: entity.end - entity.entry,
        state,
    })
}

fn declared<'d>(view: &View<'_>, debug: &'d DebugInfo, index: usize) -> Option<&'d StaticVariable> {
    let entity = view.entity(index)?;
    let home = Some((entity.section, entity.entry));
    debug.variables.iter().find(|variable| variable.home == home)
}

fn place(variable: &StaticVariable) -> Option<String> {
    variable.place.as_ref().map(|place| format!("{}:{}", place.file, place.line))
}
