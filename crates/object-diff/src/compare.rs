//! The comparison of two builds of an object.

use std::collections::{BTreeMap, BTreeSet};

use crate::calling::{self, Calling};
use crate::comparison::{
    Cause, Comparison, DataChange, DataDifference, DataKind, FunctionChange, Note,
};
use crate::correlation::Correlation;
use crate::debug_info::DebugInfo;
use crate::identity::source_lines::SourceLines;
use crate::identity::{self, Side};
use crate::initcalls;
use crate::input::Input;
use crate::layouts;
use crate::matching::{Difference, Matcher};
use crate::nameless;
use crate::naming;
use crate::object_file::Section;
use crate::refusal::{Reason, Refusal};
use crate::tables;
use crate::variables;
use crate::view::{Entity, View};

/// Places whose objects are built with the kernel and are no part of what runs in it.
const OUTSIDE: [(&str, &str); 7] = [
    ("arch/x86/entry/vdso/", "the vDSO, which programs have mapped already,"),
    ("arch/x86/boot/", "boot code"),
    ("arch/x86/realmode/", "real-mode code"),
    ("arch/x86/purgatory/", "the purgatory"),
    ("drivers/firmware/efi/libstub/", "the EFI stub"),
    ("scripts/", "a build program"),
    ("tools/", "a program"),
];

/// Tells what differs between two builds of an object.
///
/// # Errors
/// [`Refusal`] when the objects cannot be compared at all. What can be compared and not be made a
/// patch of is in [`Comparison::refusals`].
pub fn compare(input: &Input<'_>) -> Result<Comparison, Refusal> {
    Subject::new(input).map(|subject| subject.compare())
}

/// Both objects with all that is known of them.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) input: Input<'a>,
    pub(crate) original: View<'a>,
    pub(crate) patched: View<'a>,
    pub(crate) correlation: Correlation,
    pub(crate) original_debug: DebugInfo,
    pub(crate) patched_debug: DebugInfo,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(input: &Input<'a>) -> Result<Self, Refusal> {
        let refuse = |reason| Refusal { object: input.name.to_owned(), reasons: vec![reason] };
        let original = View::new(input.original, &input.sizes).map_err(refuse)?;
        let patched = View::new(input.patched, &input.sizes).map_err(refuse)?;
        let original_debug = DebugInfo::read(&original.file);
        let patched_debug = DebugInfo::read(&patched.file);
        let correlation = Correlation::new(
            Side { view: &original, debug: &original_debug },
            Side { view: &patched, debug: &patched_debug },
            &SourceLines::new(input.sources, &original_debug.functions, &patched_debug.functions),
            input.decisions,
        );
        let input = *input;
        Ok(Self { input, original, patched, correlation, original_debug, patched_debug })
    }

    pub(crate) fn matcher(&self) -> Matcher<'_, 'a> {
        let Self { original, patched, correlation, .. } = self;
        Matcher { original, patched, correlation }
    }

    /// The functions that differ, split parts counted to their parents: entities of the original
    /// and of the patched object, with the first difference.
    pub(crate) fn changed_functions(&self) -> BTreeMap<usize, (usize, Difference)> {
        let mut changed = BTreeMap::new();
        for (before, after) in self.correlation.pairs() {
            if !self.original.entity(before).is_some_and(|entity| entity.is_code) {
                continue;
            }
            let Some(difference) = self.matcher().difference(before, after) else { continue };
            let parent = self.parent(before);
            let whole = parent.and_then(|parent| Some((parent, self.correlation.patched(parent)?)));
            let (before, after) = whole.unwrap_or((before, after));
            changed.entry(before).or_insert((after, difference));
        }
        changed
    }

    /// Functions that only the patched object has, without split parts.
    pub(crate) fn new_functions(&self) -> Vec<usize> {
        let is_new = |(index, entity): &(usize, &Entity<'_>)| {
            entity.is_code
                && self.correlation.original(*index).is_none()
                && naming::parent_of_split_part(entity.name).is_none()
        };
        let list = self.patched.entities.iter().enumerate().filter(is_new);
        list.map(|(index, _)| index).collect()
    }

    fn parent(&self, before: usize) -> Option<usize> {
        let name = self.original.entity(before)?.name;
        self.original.named(naming::parent_of_split_part(name)?)
    }

    fn compare(&self) -> Comparison {
        let mut result = Comparison::default();
        self.compare_functions(&mut result);
        self.compare_data(&mut result);
        self.compare_initcalls(&mut result);
        result.refusals.extend(nameless::changes(self));
        self.compare_exports(&mut result);
        self.find_ambiguous(&mut result);
        result.variables = variables::of(self);
        result.decided.clone_from(&self.correlation.decided);
        result.layouts = layouts::changes(&self.original_debug, &self.patched_debug);
        if !result.functions.is_empty() {
            result.refusals.extend(result.layouts.iter().cloned().map(Reason::Layout));
        }
        let outside = OUTSIDE.iter().find(|(folder, _)| self.input.name.contains(folder));
        if let Some((_, what)) = outside.filter(|_| !result.is_empty()) {
            result.refusals.push(Reason::Outside(what));
        }
        result
    }

    fn compare_functions(&self, result: &mut Comparison) {
        let mut changed = BTreeMap::new();
        for (before, (after, difference)) in self.changed_functions() {
            let (Some(old), Some(new)) = (self.original.entity(before), self.patched.entity(after))
            else {
                continue;
            };
            let section = self.original.section_name(old);
            let cause = self.cause(old);
            if tables::is_boot_only(section) {
                match cause {
                    Cause::Direct => {
                        result.refusals.push(Reason::InitFunction(old.name.to_owned()));
                    }
                    _ => result.notes.push(Note::InitFunction(old.name.to_owned())),
                }
                continue;
            }
            if tables::is_exit_only(section) && !self.input.module {
                result.notes.push(Note::ExitFunction(old.name.to_owned()));
                continue;
            }
            changed.insert(before, after);
            result.functions.push(FunctionChange {
                name: old.name.to_owned(),
                patched_name: new.name.to_owned(),
                is_static: old.is_local,
                section: section.to_owned(),
                size: old.end - old.entry,
                patched_size: new.end - new.entry,
                cause,
                first_difference: difference.to_string(),
            });
        }
        let all = changed.keys().copied().collect();
        for (before, after) in &changed {
            if let Calling::Refused(reason) = calling::of(self, &all, *before, *after) {
                result.refusals.push(reason);
            }
        }
        for index in self.new_functions() {
            let Some(entity) = self.patched.entity(index) else { continue };
            if tables::is_boot_only(self.patched.section_name(entity)) {
                result.notes.push(Note::InitFunction(entity.name.to_owned()));
            } else {
                result.new_functions.push(entity.name.to_owned());
            }
        }
        let gone = self.original.entities.iter().enumerate().filter(|(index, entity)| {
            entity.is_code
                && self.correlation.patched(*index).is_none()
                && naming::parent_of_split_part(entity.name).is_none()
        });
        result.removed_functions = gone.map(|(_, entity)| entity.name.to_owned()).collect();
    }

    fn cause(&self, function: &Entity<'_>) -> Cause {
        let edited = self.input.edited;
        let names = || function.names.iter().map(|name| naming::source_name(name));
        if edited.is_empty() || names().any(|name| edited.iter().any(|edited| edited == name)) {
            return Cause::Direct;
        }
        let debug = [&self.original_debug, &self.patched_debug];
        let inlined: BTreeSet<&String> = names()
            .flat_map(|name| debug.map(|debug| debug.inlined.get(name)))
            .flatten()
            .flatten()
            .collect();
        let from: Vec<String> =
            inlined.into_iter().filter(|name| edited.contains(name)).cloned().collect();
        if from.is_empty() { Cause::Indirect } else { Cause::Inlined(from) }
    }

    fn compare_data(&self, result: &mut Comparison) {
        for (before, after) in self.correlation.pairs() {
            let (Some(old), Some(new)) = (self.original.entity(before), self.patched.entity(after))
            else {
                continue;
            };
            let section = self.original.section_name(old);
            let is_counted = section != tables::TYPE_NUMBERS && !naming::is_index_entry(old.name);
            if old.is_code || !is_counted {
                continue;
            }
            let now = self.patched.section_name(new);
            let kind = self.original.section(old.section).map_or(DataKind::Variable, data_kind);
            let moved = self.patched.section(new.section).is_none_or(|now| data_kind(now) != kind);
            let difference = if moved {
                Some(DataDifference::Section { after: now.to_owned() })
            } else {
                self.matcher().difference(before, after).and_then(data_difference)
            };
            let Some(difference) = difference else { continue };
            // The message's text is in the code; the kernel goes on showing the old one.
            let is_content = !matches!(difference, DataDifference::Size { .. });
            if naming::is_debug_message(old.name) && is_content && !moved {
                continue;
            }
            let (name, section) = (old.name.to_owned(), section.to_owned());
            let change = DataChange { name, section, kind, difference };
            result.refusals.push(Reason::Data(change.clone()));
            result.data.push(change);
        }
        for (index, entity) in self.patched.entities.iter().enumerate() {
            let is_new = !entity.is_code && self.correlation.original(index).is_none();
            if !is_new
                || naming::is_content_only(entity.name)
                || naming::is_index_entry(entity.name)
            {
                continue;
            }
            let section = self.patched.section_name(entity);
            if tables::is_boot_only(section) || section == tables::TYPE_NUMBERS {
                result.notes.push(Note::Table(section.to_owned()));
            } else if is_ordinary_data(section) {
                result.new_data.push(entity.name.to_owned());
            } else {
                let (section, what) = (section.to_owned(), format!("{} is new", entity.name));
                result.refusals.push(Reason::Table { section, what });
            }
        }
    }

    /// What the kernel calls once will not be called for a patch.
    fn compare_initcalls(&self, result: &mut Comparison) {
        let new = initcalls::new(self).into_iter();
        if result.functions.is_empty() {
            let known = result.notes.clone();
            let notes = new.map(Note::InitFunction).filter(|note| !known.contains(note));
            result.notes.extend(notes);
        } else {
            result.refusals.extend(new.map(Reason::NewInitcall));
        }
    }

    fn compare_exports(&self, result: &mut Comparison) {
        let exports = |view: &View<'_>| -> Vec<String> {
            let names = view.file.symbols.iter().map(|symbol| symbol.name);
            names.filter_map(|name| name.strip_prefix("__ksymtab_")).map(str::to_owned).collect()
        };
        let before = exports(&self.original);
        let new = exports(&self.patched).into_iter().filter(|name| !before.contains(name));
        result.notes.extend(new.map(Note::NewExport));
    }

    /// Variables of which nobody knows which is which matter when changed code uses them.
    fn find_ambiguous(&self, result: &mut Comparison) {
        let used = self.used_by_new_code();
        let unclear = &self.correlation.unclear;
        for (after, candidates) in unclear.iter().filter(|(after, _)| used.contains(after)) {
            let described = |before: &usize| variables::describe(self, true, *before);
            result.refusals.push(Reason::Ambiguous {
                name: self.patched.entity(*after).map_or("", |entity| entity.name).to_owned(),
                variable: variables::describe(self, false, *after),
                candidates: candidates.iter().map(described).collect(),
            });
        }
    }

    /// The data of the patched object that changed and new functions use.
    pub(crate) fn used_by_new_code(&self) -> BTreeSet<usize> {
        let parts = |index: usize| {
            let entity = self.patched.entity(index);
            entity.and_then(|entity| naming::parent_of_split_part(entity.name))
        };
        let changed = self.changed_functions().into_values().map(|(after, _)| after);
        let functions: BTreeSet<usize> = changed.chain(self.new_functions()).collect();
        let is_new = |user: usize| {
            let parent = parts(user).and_then(|parent| self.patched.named(parent));
            functions.contains(&parent.unwrap_or(user))
        };
        let references = identity::references(&self.patched).into_iter();
        references.filter(|(user, ..)| is_new(*user)).map(|(_, _, data)| data).collect()
    }
}

fn data_difference(difference: Difference) -> Option<DataDifference> {
    let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
    Some(match difference {
        Difference::Size(before, after) => DataDifference::Size { before, after },
        Difference::Byte(offset, before, after) => {
            DataDifference::Value { offset: unsigned(offset), before, after }
        }
        Difference::Reference(offset, before, after) => {
            DataDifference::Pointer { offset: unsigned(offset), before, after }
        }
        Difference::Table(_) => return None,
    })
}

pub(crate) fn data_kind(section: &Section<'_>) -> DataKind {
    let name = section.name;
    if tables::is_boot_only(name) {
        DataKind::Init
    } else if name.starts_with(".data..percpu") {
        DataKind::PerCpu
    } else if name.starts_with(".data..ro_after_init") {
        DataKind::ReadOnlyAfterInit
    } else if !section.has(object::elf::SHF_WRITE) || name.starts_with(".rodata") {
        DataKind::ReadOnly
    } else {
        DataKind::Variable
    }
}

/// Data that means nothing to the kernel by being where it is.
pub(crate) fn is_ordinary_data(section: &str) -> bool {
    let families = [".data", ".bss", ".rodata", "__dyndbg", ".tbss"];
    families.iter().any(|family| section.starts_with(family))
}
