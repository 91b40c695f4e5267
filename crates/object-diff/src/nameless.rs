//! Sections in which nothing has a name: code in assembly, and lists that the kernel walks from one
//! end to the other.

use std::collections::BTreeMap;

use crate::compare::{Subject, is_ordinary_data};
use crate::refusal::Reason;
use crate::tables;
use crate::view::{Role, View};

/// What they are compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Assembly,
    List,
}

/// Sections by name, those of one name in the order of the object.
type Sections<'a> = BTreeMap<&'a str, Vec<(usize, Sort)>>;

/// Why no patch can be made of what differs in them.
pub(crate) fn changes(subject: &Subject<'_>) -> Vec<Reason> {
    let (before, after) = (sections(&subject.original), sections(&subject.patched));
    let mut reasons = Vec::new();
    for (name, news) in &after {
        let olds = before.get(name).map_or(&[][..], Vec::as_slice);
        for (nth, (new, sort)) in news.iter().enumerate() {
            let what = match olds.get(nth) {
                None => Some("it is new".to_owned()),
                Some((old, _)) => {
                    let difference = subject.matcher().section_difference(*old, *new);
                    difference.map(|difference| difference.to_string())
                }
            };
            reasons.extend(what.map(|what| reason(*sort, name, what)));
        }
    }
    // Nothing leads to assembly that is gone; who walks a list sees that an entry is.
    for (name, olds) in &before {
        let left = after.get(name).map_or(0, Vec::len);
        let gone = olds.iter().skip(left).filter(|(_, sort)| *sort == Sort::List);
        reasons.extend(gone.map(|(_, sort)| reason(*sort, name, "it goes".to_owned())));
    }
    reasons
}

fn reason(sort: Sort, section: &str, what: String) -> Reason {
    let section = section.to_owned();
    match sort {
        Sort::Assembly => Reason::Assembly { section },
        Sort::List => Reason::Table { section, what },
    }
}

fn sections<'a>(view: &View<'a>) -> Sections<'a> {
    let mut found: Sections<'a> = BTreeMap::new();
    for (index, section) in view.file.sections.iter().enumerate() {
        let is_nameless = section.size > 0 && view.entities_in(index).is_empty();
        if !is_nameless || tables::is_boot_only(section.name) {
            continue;
        }
        let sort = match view.roles.get(index) {
            Some(Role::Code) if !section.name.starts_with(".altinstr_") => Sort::Assembly,
            // Ordinary data without a name is compared with the code that uses it.
            Some(Role::Data)
                if !is_ordinary_data(section.name) && section.name != tables::TYPE_NUMBERS =>
            {
                Sort::List
            }
            _ => continue,
        };
        found.entry(section.name).or_default().push((index, sort));
    }
    found
}
