//! Functions that the kernel calls once, while it boots or loads the module.

use std::collections::BTreeSet;

use crate::compare::Subject;
use crate::naming;
use crate::tables;
use crate::view::{Target, View};

/// Names of functions of the patched object that would be called during boot and were not.
pub(crate) fn new(subject: &Subject<'_>) -> Vec<String> {
    let before = called(&subject.original);
    let is_new = |index: &usize| {
        subject.correlation.original(*index).is_none_or(|before_it| !before.contains(&before_it))
    };
    let new = called(&subject.patched).into_iter().filter(is_new);
    new.filter_map(|index| Some(subject.patched.entity(index)?.name.to_owned())).collect()
}

/// The functions that lists of initcalls lead to, and the entry of a module.
fn called(view: &View<'_>) -> BTreeSet<usize> {
    let lists = view.file.sections.iter().filter(|section| tables::is_initcalls(section.name));
    let targets = lists
        .flat_map(|section| &section.relocations)
        .filter_map(|relocation| match view.target(relocation, relocation.addend) {
            Target::Entity(index, _) => Some(index),
            _ => None,
        })
        .chain(view.named(naming::MODULE_ENTRY));
    targets.filter(|index| view.entity(*index).is_some_and(|entity| entity.is_code)).collect()
}
