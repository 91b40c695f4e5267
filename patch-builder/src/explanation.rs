//! What was found and made, for a person and for machines.

use std::fmt;
use std::path::PathBuf;

use lucos_object_diff::{Cause, Comparison, Rule, State, Superseded, Variable};
use serde::Serialize;

use crate::kept::Kept;
use crate::progress::Stage;
use crate::used::Used;

/// The result of a build.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The kernel's release.
    pub kernel: String,
    /// Version of the kernel's source package.
    pub version: String,
    /// The kernel's build id, in hexadecimal digits.
    pub build_id: String,
    /// Where the change comes from.
    pub origin: String,
    /// The changed files.
    pub files: Vec<String>,
    /// The objects.
    pub objects: Vec<ObjectExplanation>,
    /// What the kernel may go on using after a rollback.
    pub kept: Vec<Kept>,
    /// The module; `None` when the change has no effect on this kernel.
    pub module: Option<PathBuf>,
    /// Why there is no module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_module: Option<WithoutModule>,
    /// How long each stage took.
    pub stages: Vec<Stage>,
}

/// Why a change needs no module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutModule {
    /// No file that this kernel compiles uses what changes.
    NotUsed,
    /// The code that was compiled with the change is the same.
    SameCode,
}

impl WithoutModule {
    /// Of a build that compiled that many objects, none of which differs.
    #[must_use]
    pub fn of(compiled: usize) -> Self {
        if compiled == 0 { Self::NotUsed } else { Self::SameCode }
    }
}

impl fmt::Display for WithoutModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUsed => "no file that this kernel compiles uses what changes",
            Self::SameCode => "the change has no effect on this kernel",
        })
    }
}

/// What was found in one object.
#[derive(Debug, Serialize)]
pub struct ObjectExplanation {
    /// Its path in the source tree.
    pub object: String,
    /// `vmlinux` or the module it is part of.
    pub part_of: String,
    /// What differs.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// How many functions were compared with the code that runs.
    pub matched: usize,
    /// Functions with new versions that need no redirection.
    pub superseded: Vec<Superseded>,
    /// What the new code uses.
    pub uses: Vec<Used>,
    /// How many constants (texts, `__func__`, tables of the compiler) it shares with the code that
    /// runs, rather than having copies.
    pub kernel_constants: usize,
}

impl Explanation {
    /// The functions that change, in all objects.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.objects.iter().map(|object| object.comparison.functions.len()).sum()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Kernel    {} ({}), build id {}", self.kernel, self.version, self.build_id)?;
        writeln!(f, "Change    {}", self.origin)?;
        writeln!(f, "Files     {}", self.files.join(", "))?;
        for object in &self.objects {
            write!(f, "{object}")?;
        }
        for kept in &self.kept {
            let harmless = if kept.harmless { " (harmless)" } else { "" };
            writeln!(f, "Kept      {}{harmless}: {}", kept.what, kept.how.join(", "))?;
        }
        if self.kept.iter().any(|kept| !kept.harmless) {
            writeln!(
                f,
                "          the kernel may use this after a rollback: the module stays loaded"
            )?;
        }
        if let Some(path) = &self.module {
            writeln!(f, "Module    {}", path.display())?;
        }
        if let Some(reason) = &self.without_module {
            writeln!(f, "No module: {reason}")?;
        }
        let stages: Vec<String> = self
            .stages
            .iter()
            .map(|stage| format!("{} {:.1} s", stage.name, stage.time.as_secs_f64()))
            .collect();
        writeln!(f, "Time      {}", stages.join(", "))
    }
}

impl fmt::Display for ObjectExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison {
            functions,
            new_functions,
            removed_functions,
            layouts,
            new_data,
            variables,
            notes,
            ..
        } = &self.comparison;
        // New functions may be there for other objects.
        let is_same = new_functions.is_empty() && new_data.is_empty() && self.comparison.is_empty();
        write!(f, "Object    {} ({})", self.object, self.part_of)?;
        if is_same && layouts.is_empty() {
            return writeln!(f, ": nothing differs");
        }
        if is_same {
            writeln!(f, ": no code differs")?;
        } else {
            writeln!(f, "; {} functions are those that run", self.matched)?;
        }
        for function in functions {
            let kind = if function.is_static { "static " } else { "" };
            writeln!(
                f,
                "  changed   {kind}{} ({} -> {} bytes): {}, first at {}",
                function.name,
                function.size,
                function.patched_size,
                cause(&function.cause),
                function.first_difference
            )?;
        }
        let is_listed = |name: &&String| variables.iter().any(|variable| variable.name == **name);
        let constants: Vec<String> =
            new_data.iter().filter(|name| !is_listed(name)).cloned().collect();
        for (what, names) in
            [("new", new_functions), ("gone", removed_functions), ("new data", &constants)]
        {
            for name in names {
                writeln!(f, "  {what:<9} {name}")?;
            }
        }
        for variable in variables {
            writeln!(f, "  variable  {}", described(variable))?;
        }
        for layout in layouts {
            writeln!(f, "  layout    {}: {}", layout.name, layout.fields.join(", "))?;
        }
        for superseded in &self.superseded {
            writeln!(f, "  beside    {}: {}", superseded.name, superseded.reason)?;
        }
        for note in notes {
            writeln!(f, "  note      {note:?}")?;
        }
        let names: Vec<&str> = self.uses.iter().map(|used| used.name.as_str()).collect();
        if !names.is_empty() {
            writeln!(f, "  uses      {}", names.join(" "))?;
        }
        if self.kernel_constants > 0 {
            writeln!(f, "  constants {} are the kernel's own", self.kernel_constants)?;
        }
        Ok(())
    }
}

/// Its name, what becomes of it, and where it is declared.
fn described(variable: &Variable) -> String {
    let Variable { name, original_name, function, place, state, .. } = variable;
    let declared = match (function, place) {
        (Some(function), Some(place)) => format!(" (of {function}, {place})"),
        (None, Some(place)) => format!(" ({place})"),
        _ => String::new(),
    };
    let fate = match state {
        State::Kept(rule) => {
            let now = original_name.as_ref().filter(|original| *original != name);
            let called = now.map_or(String::new(), |original| format!(", the kernel's {original}"));
            let reason = match rule {
                Rule::Author => "the author says so",
                Rule::Name => "by its name",
                Rule::Declaration => "by its declaration",
                Rule::Use => "by its uses",
                Rule::Edit => "its declaration is edited",
                Rule::Code => "by the code that uses it",
            };
            format!("kept{called}, {reason}")
        }
        State::New => String::from("new"),
        State::Gone => String::from("gone"),
    };
    format!("{name}{declared}: {fate}")
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Direct => String::from("its source changes"),
        Cause::Inlined(names) => format!("{} changes, inlined into it", names.join(", ")),
        Cause::Indirect => String::from("something that it uses changes"),
    }
}

#[cfg(test)]
mod tests {
    use lucos_object_diff::LayoutChange;

    use super::*;

    #[test]
    fn an_object_with_new_functions_for_others_is_not_the_same() {
        let mut object = ObjectExplanation {
            object: "mm/a.o".into(),
            part_of: "vmlinux".into(),
            comparison: Comparison::default(),
            matched: 3,
            superseded: Vec::new(),
            uses: Vec::new(),
            kernel_constants: 0,
        };
        assert_eq!(object.to_string(), "Object    mm/a.o (vmlinux): nothing differs\n");
        object.comparison.new_functions = vec!["helper".into()];
        let expected =
            "Object    mm/a.o (vmlinux); 3 functions are those that run\n  new       helper\n";
        assert_eq!(object.to_string(), expected);
    }

    #[test]
    fn variables_are_listed_with_what_becomes_of_them() {
        let variable = |name: &str, original: Option<&str>, state| Variable {
            name: name.into(),
            original_name: original.map(str::to_owned),
            function: Some("f".into()),
            place: Some("mm/a.c:7".into()),
            section: ".bss".into(),
            size: 4,
            state,
        };
        let variables = vec![
            variable("count.1", Some("count.0"), State::Kept(Rule::Declaration)),
            variable("count.0", None, State::New),
            variable("told.2", Some("told.2"), State::Gone),
        ];
        let object = ObjectExplanation {
            object: "mm/a.o".into(),
            part_of: "vmlinux".into(),
            comparison: Comparison {
                new_data: vec!["count.0".into(), "table".into()],
                variables,
                ..Comparison::default()
            },
            matched: 3,
            superseded: Vec::new(),
            uses: Vec::new(),
            kernel_constants: 0,
        };
        let expected = "Object    mm/a.o (vmlinux); 3 functions are those that run\n  \
                        new data  table\n  \
                        variable  count.1 (of f, mm/a.c:7): kept, the kernel's count.0, by its \
                        declaration\n  \
                        variable  count.0 (of f, mm/a.c:7): new\n  \
                        variable  told.2 (of f, mm/a.c:7): gone\n";
        assert_eq!(object.to_string(), expected);
    }

    #[test]
    fn a_layout_that_no_code_depends_on_is_shown() {
        let layout = LayoutChange {
            name: "struct x".into(),
            fields: vec!["y is added at byte 4 (1 byte)".into(), "z goes".into()],
        };
        let object = ObjectExplanation {
            object: "mm/a.o".into(),
            part_of: "vmlinux".into(),
            comparison: Comparison { layouts: vec![layout], ..Comparison::default() },
            matched: 0,
            superseded: Vec::new(),
            uses: Vec::new(),
            kernel_constants: 0,
        };
        let expected = "Object    mm/a.o (vmlinux): no code differs\n  \
                        layout    struct x: y is added at byte 4 (1 byte), z goes\n";
        assert_eq!(object.to_string(), expected);
    }

    #[test]
    fn a_change_that_nothing_uses_says_so() {
        let mut explanation = Explanation {
            kernel: "6.1.0-1".into(),
            version: "6.1.1-1".into(),
            build_id: "00".into(),
            origin: "x.diff".into(),
            files: vec!["include/x.h".into()],
            objects: Vec::new(),
            kept: Vec::new(),
            module: None,
            without_module: Some(WithoutModule::of(0)),
            stages: Vec::new(),
        };
        let text = explanation.to_string();
        assert!(text.contains("No module: no file that this kernel compiles uses"), "{text}");
        let json = serde_json::to_value(&explanation).unwrap();
        assert_eq!(json["without_module"], "not-used");
        explanation.without_module = Some(WithoutModule::of(1));
        assert!(explanation.to_string().contains("No module: the change has no effect"));
    }
}
