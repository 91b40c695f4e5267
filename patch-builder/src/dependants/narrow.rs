//! Where a change of an included file can show at all.
//!
//! Of many changes the text without it says which objects may be reached. A macro whose text changes
//! shows only where it is expanded or asked for, and the preprocessor names these macros. What stands on
//! changed lines is used by the names that it has without the change, and a new function or type by its
//! own. All else may show anywhere (a new macro: a condition may ask for it, and the preprocessor names
//! only those that are defined), and both texts are compared.

use std::collections::HashSet;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::elements::{Element, Placed, elements};
use super::known::{Kind, Known, Text};
use super::reach::is_used;
use crate::change::{FileChange, replaced};

/// A part of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// What stands on these lines, from 1, without the change.
    Lines { file: String, lines: (u32, u32) },
    /// The text of a macro.
    Macro(String),
    /// A function or a type that is declared newly or in another way.
    Declared(String),
}

/// The parts of a file's change when all are of the known kinds.
#[derive(Debug)]
pub(super) struct Narrow(Option<Vec<Part>>);

impl Narrow {
    /// Of the change of an included file.
    pub(super) fn of(change: &FileChange) -> Self {
        // Without the directives that only keep the numbers of lines.
        let after = replaced(&change.before, &change.edits);
        Self(parts(&change.path, &change.before, &after))
    }

    /// Whether an object that includes the file may be reached, by its text without the change.
    pub(super) fn may_reach(&self, known: &Known, text: &Text) -> bool {
        let Some(parts) = &self.0 else { return true };
        let mut names = HashSet::new();
        for part in parts {
            match part {
                Part::Macro(name) => {
                    if known.number(name).is_some_and(|name| text.macros.contains(&name)) {
                        return true;
                    }
                }
                Part::Declared(name) => {
                    let Some(name) = known.number(name) else { continue };
                    if text.macros.contains(&name) {
                        return true;
                    }
                    names.insert(name);
                }
                Part::Lines { file, lines } => {
                    let Some(file) = known.number(file) else { continue };
                    let here = text.items.iter().filter(|item| known.is_from(**item, file, *lines));
                    for item in here {
                        match known.kind(*item) {
                            Kind::Code => return true,
                            Kind::Nothing => {}
                            Kind::Names(own) => names.extend(own.iter().map(|(name, _)| *name)),
                        }
                    }
                }
            }
        }
        is_used(known, text, names)
    }
}

fn parts(path: &str, before: &str, after: &str) -> Option<Vec<Part>> {
    let (old, new) = (elements(before), elements(after));
    let (these, those): (Vec<&Element<'_>>, Vec<&Element<'_>>) =
        (old.iter().map(|one| &one.0).collect(), new.iter().map(|one| &one.0).collect());
    let mut found = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &these, &those) {
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        let (gone, come) = (old.get(op.old_range())?, new.get(op.new_range())?);
        if gone.len() == come.len() {
            for (old, new) in gone.iter().zip(come) {
                found.extend(changed(path, old, new)?);
            }
            continue;
        }
        for old in gone {
            found.push(removed(path, old)?);
        }
        for (new, _) in come.iter().filter(|one| !one.0.is_empty()) {
            found.push(added(new)?);
        }
    }
    Some(found)
}

fn changed(path: &str, old: &Placed<'_>, (new, _): &Placed<'_>) -> Option<Vec<Part>> {
    let is_in_braces = old.0.head().is_some_and(|head| new.head() == Some(head));
    if is_in_braces && old.0.is_whole() && new.is_whole() {
        return Some(vec![removed(path, old)?]);
    }
    match (old.0.definition(), new.definition()) {
        (Some(macro_), Some(other)) if macro_ == other => {
            Some(vec![Part::Macro(macro_.0.to_owned())])
        }
        _ => Some(vec![removed(path, old)?, added(new)?]),
    }
}

fn removed(path: &str, (old, lines): &Placed<'_>) -> Option<Part> {
    if old.is_directive() {
        return old.definition().map(|(name, ..)| Part::Macro(name.to_owned()));
    }
    old.is_whole().then(|| Part::Lines { file: path.to_owned(), lines: *lines })
}

fn added(new: &Element<'_>) -> Option<Part> {
    new.declared().map(|name| Part::Declared(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::items::cut;
    use super::*;

    const HEADER: &str = "#define ONE 1 /* first */\n#define TWO(x) \\\n\t(x + 2)\n\
        struct a {\n\tint b;\n} __packed;\n\
        static inline int f(int a)\n{\n\tif (a) {\n\t\treturn ONE;\n\t}\n\treturn 2;\n}\n\
        int g(int a);\n\
        static inline int h(void)\n{\n#ifdef ONE\n\treturn 1;\n#endif\n\treturn 2;\n}\n\
        MAKE(x, {\n\ta;\n})\n";

    fn changed(from: &str, to: &str) -> Option<Vec<Part>> {
        assert!(HEADER.contains(from), "{from}");
        parts("a.h", HEADER, &HEADER.replacen(from, to, 1))
    }

    fn lines(first: u32, last: u32) -> Option<Vec<Part>> {
        Some(vec![Part::Lines { file: "a.h".into(), lines: (first, last) }])
    }

    #[test]
    fn what_changes_in_one_place_is_told() {
        assert_eq!(changed("first", "other words\n */\n/*"), Some(Vec::new()));
        assert_eq!(changed("ONE 1", "ONE 2"), Some(vec![Part::Macro("ONE".into())]));
        assert_eq!(changed("x + 2", "x +\\\n 3"), Some(vec![Part::Macro("TWO".into())]));
        assert_eq!(changed("int b;", "int b;\n\tstruct c { int d; } e;"), lines(4, 6));
        assert_eq!(changed("return 2;\n}\nint g", "a++;\n\treturn 2;\n}\nint g"), lines(7, 13));
    }

    #[test]
    fn more_lines_are_no_other_change() {
        let after = HEADER.replacen("return 2;\n}\nint g", "a++;\n\treturn 2;\n}\nint g", 1);
        let edits = crate::change::between(HEADER, &after);
        let change = FileChange { path: "a.h".into(), before: HEADER.into(), edits };
        assert!(change.after().contains("#line"));
        assert_eq!(Narrow::of(&change).0, lines(7, 13));
    }

    #[test]
    fn what_is_declared_newly_or_in_another_way_is_told() {
        let declared = |name: &str| Part::Declared(name.into());
        let lines = |first, last| Part::Lines { file: "a.h".into(), lines: (first, last) };
        let fresh = Some(vec![declared("fresh")]);
        assert_eq!(changed("int g", "int fresh(void);\nint g"), fresh);
        assert_eq!(changed("int g", "struct fresh { int a; };\nint g"), fresh);
        assert_eq!(
            changed("int g(int a)", "int g(long a)"),
            Some(vec![lines(14, 14), declared("g")])
        );
        assert_eq!(
            changed("int f(int a)", "long f(int a)"),
            Some(vec![lines(7, 13), declared("f")])
        );
        assert_eq!(changed("int g(int a);\n", ""), Some(vec![lines(14, 14)]));
        assert_eq!(changed("#define ONE 1", ""), Some(vec![Part::Macro("ONE".into())]));
    }

    #[test]
    fn all_else_may_show_anywhere() {
        for (from, to) in [
            ("int g(int a);", "int g(int a) { return 1; }"),
            ("int g", "int fresh;\nint g"),
            ("int g", "MAKE(fresh);\nint g"),
            ("int g", "#define NEW 1\nint g"),
            ("ONE 1", "OTHER 1"),
            ("ONE 1", "ONE(x) 1"),
            ("TWO(x)", "TWO(y)"),
            ("TWO(x)", "TWO (x)"),
            ("#define ONE", "#undef ONE"),
            // What is chosen by a condition inside, and what is a macro's argument.
            ("return 1", "return 3"),
            ("\ta;", "\tb;"),
            ("struct a", "struct __packed a"),
            ("__packed", "__aligned"),
        ] {
            assert_eq!(changed(from, to), None, "{from:?} {to:?}");
        }
    }

    #[test]
    fn users_are_found_without_the_changed_text() {
        let text = "# 1 \"a.h\"\n#define ONE 1\nstatic inline int f(void)\n{\n return 1;\n}\n\
                    static inline int g(void) { return 2; }\n# 1 \"a.c\"\n";
        let may = |from: &str, to: &str, code: &str| {
            let header = "#define TWO 2\nstatic inline int f(void)\n{\n return 1;\n}\n\
                          static inline int g(void) { return 2; }\n#define ONE 1\n";
            let found = parts("a.h", header, &header.replacen(from, to, 1));
            let mut known = Known::default();
            let text = known.text(&cut(&format!("{text}{code}")));
            Narrow(found).may_reach(&known, &text)
        };
        assert!(may("return 1", "return 3", "int x(void) { return f(); }"));
        assert!(!may("return 1", "return 3", "int x(void) { return g(); }"));
        assert!(may(
            "return 1",
            "return 3",
            "static int y(void) { return f(); } int (*x)(void) = y;"
        ));
        assert!(!may("return 1", "return 3", "static int y(void) { return f(); }"));
        let new = "int fresh(void);\n#define ONE";
        assert!(may("#define ONE", new, "int x(void) { int fresh = 1; return fresh; }"));
        assert!(!may("#define ONE", new, "int x(void) { return f(); }"));
        assert!(may("int g(void)", "long g(void)", "int x(void) { return g(); }"));
        assert!(!may("int g(void)", "long g(void)", "int x(void) { return f(); }"));
        assert!(may("ONE 1", "ONE 2", ""));
        assert!(!may("TWO 2", "TWO 3", "int x(void) { return f(); }"));
        assert!(may("TWO 2", "TWO 3\n#define NEW", ""));
        assert!(!may("TWO 2", "TWO /* same */ 2", "int x(void) { return f(); }"));
    }
}
