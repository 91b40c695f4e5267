//! Where a change of an included file can show at all.
//!
//! Of two kinds of change the text without it says which objects may be reached. A macro whose text
//! changes shows only where it is expanded or asked for, and the preprocessor names these macros. What
//! changes between the braces of a function or a type stays there: what uses it does so by the names
//! that it has without the change. All else may show anywhere, and both texts are compared.

use std::collections::HashSet;

use super::known::{Kind, Known, Text};
use super::reach::is_used;
use crate::change::{FileChange, raw_tokens};

/// A part of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Between the braces of what stands on these lines, from 1, without the change.
    Braces { file: String, lines: (u32, u32) },
    /// The text of a macro.
    Macro(String),
}

/// The parts of a change when all are of the known kinds.
#[derive(Debug)]
pub(super) struct Narrow(Option<Vec<Part>>);

impl Narrow {
    /// Of changes of included files.
    pub(super) fn of<'a>(changes: impl Iterator<Item = &'a FileChange>) -> Self {
        let parts: Option<Vec<Vec<Part>>> =
            changes.map(|change| parts(&change.path, &change.before, &change.after())).collect();
        Self(parts.map(|parts| parts.concat()))
    }

    /// Whether an object may be reached, by its text without the change.
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
                Part::Braces { file, lines } => {
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

/// A directive, or what stands between others up to a `;` or the end of braces.
#[derive(Debug, PartialEq, Eq)]
struct Element<'a> {
    tokens: Vec<&'a str>,
    is_directive: bool,
    /// A directive stands in it.
    is_cut: bool,
    /// A directive that defines a macro with parameters.
    is_call: bool,
}

/// An element with its lines, from 1.
type Placed<'a> = (Element<'a>, (u32, u32));

fn parts(path: &str, before: &str, after: &str) -> Option<Vec<Part>> {
    let (old, new) = (elements(before), elements(after));
    if old.len() != new.len() {
        return None;
    }
    let pairs = old.iter().zip(&new).filter(|(old, new)| old.0 != new.0);
    pairs.map(|(old, new)| part(path, old, new)).collect()
}

fn part(path: &str, (old, lines): &Placed<'_>, (new, _): &Placed<'_>) -> Option<Part> {
    if old.is_cut || new.is_cut || old.is_directive != new.is_directive {
        return None;
    }
    if !old.is_directive {
        return (head(old)? == head(new)?)
            .then(|| Part::Braces { file: path.to_owned(), lines: *lines });
    }
    let (name, parameters) = macro_head(old)?;
    (macro_head(new)? == (name, parameters) && old.is_call == new.is_call)
        .then(|| Part::Macro(name.to_owned()))
}

/// What stands before braces that end the element.
fn head<'e, 'a>(element: &'e Element<'a>) -> Option<&'e [&'a str]> {
    let open = element.tokens.iter().position(|token| *token == "{")?;
    let head = element.tokens.get(..open)?;
    let count = |bracket: &str| head.iter().filter(|token| **token == bracket).count();
    let is_outside = count("(") == count(")") && count("[") == count("]");
    (is_outside && open > 0 && element.tokens.last() == Some(&"}")).then_some(head)
}

/// A macro's name and its parameters.
fn macro_head<'e, 'a>(element: &'e Element<'a>) -> Option<(&'a str, &'e [&'a str])> {
    let ["#", "define", name, rest @ ..] = element.tokens.as_slice() else { return None };
    let end = rest.iter().position(|token| *token == ")").filter(|_| element.is_call);
    Some((name, end.and_then(|end| rest.get(..end)).unwrap_or_default()))
}

fn elements(text: &str) -> Vec<Placed<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found: Vec<Placed<'_>> = Vec::new();
    let mut open: Option<Placed<'_>> = None;
    let mut in_directive = false;
    let mut depth = 0_usize;
    for token in raw_tokens(text) {
        let line = u32::try_from(token.line).map_or(u32::MAX, |line| line.saturating_add(1));
        in_directive = token.is_first && token.text == "#" || in_directive && !token.is_first;
        if in_directive {
            if token.is_first {
                if let Some((open, _)) = &mut open {
                    open.is_cut = true;
                }
                found.push((Element { is_directive: true, ..Element::new() }, (line, line)));
            }
            if let Some((directive, lines_of)) = found.last_mut() {
                directive.tokens.push(token.text);
                lines_of.1 = line;
                if let ["#", "define", name] = directive.tokens.as_slice() {
                    let source = lines.get(token.line).copied().unwrap_or_default();
                    directive.is_call = source.contains(&format!("{name}("));
                }
            }
            continue;
        }
        let (element, place) = open.get_or_insert_with(|| (Element::new(), (line, line)));
        element.tokens.push(token.text);
        place.1 = line;
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(token.text, ";" | "}") {
            found.extend(open.take());
        }
    }
    found.extend(open);
    found
}

impl Element<'_> {
    fn new() -> Self {
        Self { tokens: Vec::new(), is_directive: false, is_cut: false, is_call: false }
    }
}

#[cfg(test)]
mod tests {
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

    fn braces(first: u32, last: u32) -> Option<Vec<Part>> {
        Some(vec![Part::Braces { file: "a.h".into(), lines: (first, last) }])
    }

    #[test]
    fn what_changes_in_one_place_is_told() {
        assert_eq!(changed("first", "other words\n */\n/*"), Some(Vec::new()));
        assert_eq!(changed("ONE 1", "ONE 2"), Some(vec![Part::Macro("ONE".into())]));
        assert_eq!(changed("x + 2", "x +\\\n 3"), Some(vec![Part::Macro("TWO".into())]));
        assert_eq!(changed("int b;", "int b;\n\tstruct c { int d; } e;"), braces(4, 6));
        assert_eq!(changed("return 2;\n}\nint g", "a++;\n\treturn 2;\n}\nint g"), braces(7, 13));
    }

    #[test]
    fn all_else_may_show_anywhere() {
        for (from, to) in [
            ("int g(int a)", "int g(long a)"),
            ("int g", "int fresh(void);\nint g"),
            ("int f(int a)", "long f(int a)"),
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
            let text = known.text(&format!("{text}{code}"));
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
        assert!(may("ONE 1", "ONE 2", ""));
        assert!(!may("TWO 2", "TWO 3", "int x(void) { return f(); }"));
        assert!(may("TWO 2", "TWO 3\n#define NEW", ""));
        assert!(!may("TWO 2", "TWO /* same */ 2", "int x(void) { return f(); }"));
    }
}
