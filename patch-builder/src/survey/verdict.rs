//! What was found out of a file.

use std::collections::BTreeMap;

use lucos_object_diff::{Comparison, Reason, Rule, State};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::{patch_module, running};

/// What an error of the compiler says about the versions.
pub const CHANGED: &str = "with the change and the old headers";

/// Sorts of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// What is compiled without the change is what runs, and there is a module.
    Built,
    /// The kernel does not change by it.
    NoEffect,
    /// Data that exists already would have to change.
    Data,
    /// There is no module for another reason.
    Refused,
}

/// What was found out of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Path in the source tree.
    pub file: String,
    /// Its sort.
    pub class: Class,
    /// Both versions compile with the old headers, and neither named data nor a structure's layout
    /// differs.
    pub is_code_only: bool,
    /// Files refused for the same reason have the same one.
    pub group: Option<String>,
    /// What the builder said.
    pub reason: Option<String>,
    /// Functions that differ.
    pub functions: usize,
    /// The parts of the kernel that the module needs: those but the image.
    pub parts: Vec<String>,
    /// Name of the module.
    pub module: Option<String>,
    /// How many variables are kept by which rule, new and gone.
    #[serde(default)]
    pub variables: BTreeMap<String, usize>,
}

impl Verdict {
    /// One without details.
    pub fn new(file: &str, class: Class, is_code_only: bool) -> Self {
        Self {
            file: file.to_owned(),
            class,
            is_code_only,
            group: None,
            reason: None,
            functions: 0,
            parts: Vec::new(),
            module: None,
            variables: BTreeMap::new(),
        }
    }

    /// Counts what becomes of the variables of objects.
    #[must_use]
    pub fn with_variables<'c>(mut self, objects: impl Iterator<Item = &'c Comparison>) -> Self {
        for variable in objects.flat_map(|comparison| &comparison.variables) {
            *self.variables.entry(fate(variable.state).to_owned()).or_default() += 1;
        }
        self
    }

    /// The builder refuses the file.
    pub fn refused(file: &str, is_code_only: bool, error: &Error) -> Self {
        let class = match error {
            Error::Refused(refusal) if refusal.reasons.iter().any(needs_data) => Class::Data,
            _ => Class::Refused,
        };
        Self {
            group: Some(group(error)),
            reason: Some(error.to_string()),
            ..Self::new(file, class, is_code_only)
        }
    }
}

/// What becomes of a variable, and by which rule.
fn fate(state: State) -> &'static str {
    match state {
        State::Kept(Rule::Author) => "kept, the author says so",
        State::Kept(Rule::Name) => "kept by its name, which has no number",
        State::Kept(Rule::Declaration) => "kept by its declaration",
        State::Kept(Rule::Use) => "kept by its uses",
        State::Kept(Rule::Edit) => "kept, its declaration is edited",
        State::Kept(Rule::Code) => "kept by the code that uses it",
        State::New => "new",
        State::Gone => "gone",
    }
}

fn needs_data(reason: &Reason) -> bool {
    matches!(reason, Reason::Data(_) | Reason::Layout(_) | Reason::Table { .. })
}

/// What the message says without names.
fn group(error: &Error) -> String {
    match error {
        Error::Compile { with: CHANGED, .. } => {
            String::from("does not compile with the old headers")
        }
        Error::Compile { .. } => String::from("does not compile without the change"),
        Error::NotPatchable { why, .. } => first_clause(why),
        Error::Refused(refusal) => {
            let chosen = refusal.reasons.iter().find(|reason| needs_data(reason));
            match chosen.or(refusal.reasons.first()) {
                Some(reason) => group_of_reason(reason),
                None => String::from("no reason"),
            }
        }
        Error::NotRunning(error) => String::from(match error {
            running::Error::Malformed { .. } => "the object is malformed",
            running::Error::Differs { .. } => "what was compiled is not what runs",
            running::Error::Absent { .. } => "a function or variable is not in the kernel",
            running::Error::Ambiguous { .. } => "nothing tells which of several symbols is meant",
            running::Error::NotASymbol { .. } => "a reference leads to no symbol",
            running::Error::TwoPlaces { .. } => "what was compiled is not what runs",
            running::Error::Unordered { .. } => "a name is not unique in the module",
        }),
        Error::TakenGlobal { .. } => String::from("a global moves between files"),
        Error::TwoGlobals { .. } => String::from("two objects get a global of one name"),
        Error::Module(error) => String::from(match error {
            patch_module::Error::Name(_) | patch_module::Error::LongName(_) => "a name is too long",
            patch_module::Error::TakenName { .. } => "a module has the name",
            patch_module::Error::TooMany(_) => "more functions than a patch can have",
            patch_module::Error::Link(_) => "the module does not link",
        }),
        Error::Program { program, .. } => format!("{program} fails"),
        Error::File { .. } => String::from("a file cannot be read"),
        other => first_clause(&other.to_string()),
    }
}

fn group_of_reason(reason: &Reason) -> String {
    match reason {
        Reason::Malformed(_) => String::from("not an object as the kernel's build makes it"),
        Reason::SharedSection(_) => String::from("functions share a section"),
        Reason::Data(change) => format!("data changes ({})", sort_of(&change.section)),
        Reason::Layout(_) => String::from("a structure's layout changes"),
        Reason::InitFunction(_) => String::from("boot-time code (__init) changes"),
        Reason::NewInitcall(_) => String::from("a function that is called during boot is new"),
        Reason::CalledDifferently { .. } => String::from("a function is called in another way"),
        Reason::Assembly { .. } => String::from("assembly changes"),
        Reason::Table { section, .. } => format!("a table changes ({})", sort_of(section)),
        Reason::Ambiguous { .. } => String::from("nothing tells which variable is which"),
        Reason::Outside(what) => format!("{} is not patched", what.trim_end_matches(',')),
        Reason::Unsupported { what, .. } => first_clause(what),
    }
}

/// A section's name without that of what is in it.
fn sort_of(section: &str) -> String {
    let families = [
        ".data..percpu",
        ".data..ro_after_init",
        ".data..read_mostly",
        ".data",
        ".bss",
        ".rodata",
        ".init.data",
        ".init.rodata",
    ];
    let family = families.iter().find(|family| section.starts_with(**family));
    family.map_or(section, |family| family).to_owned()
}

fn first_clause(text: &str) -> String {
    text.split([';', '\n']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucos_object_diff::Refusal;

    #[test]
    fn reasons_for_data_decide_the_class() {
        let init = Reason::InitFunction("f".into());
        let table = Reason::Table { section: ".rodata.x".into(), what: String::new() };
        let refuse = |reasons| Error::Refused(Refusal { object: "a.o".into(), reasons });
        let verdict = Verdict::refused("a.c", true, &refuse(vec![init.clone()]));
        assert_eq!(verdict.class, Class::Refused);
        assert_eq!(verdict.group.as_deref(), Some("boot-time code (__init) changes"));
        let verdict = Verdict::refused("a.c", true, &refuse(vec![init, table]));
        assert_eq!(verdict.class, Class::Data);
        assert_eq!(verdict.group.as_deref(), Some("a table changes (.rodata)"));
    }
}
