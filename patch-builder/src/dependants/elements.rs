//! The text of an included file before the preprocessor, cut into directives and what stands between
//! them.

use std::collections::BTreeSet;

use super::items::takes_arguments;
use crate::change::raw_tokens;

/// A directive, or what stands between others up to a `;` or the end of braces.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Element<'a> {
    tokens: Vec<&'a str>,
    is_directive: bool,
    /// It is no whole by itself: a directive stands in it, or the file ends.
    is_cut: bool,
    /// A directive that defines a macro with parameters.
    is_call: bool,
}

/// An element with its lines, from 1.
pub(super) type Placed<'a> = (Element<'a>, (u32, u32));

/// All elements of a text, in its order.
pub(super) fn elements(text: &str) -> Vec<Placed<'_>> {
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
    found.extend(open.map(|(element, place)| (Element { is_cut: true, ..element }, place)));
    found
}

impl<'a> Element<'a> {
    fn new() -> Self {
        Self { tokens: Vec::new(), is_directive: false, is_cut: false, is_call: false }
    }

    pub(super) fn is_directive(&self) -> bool {
        self.is_directive
    }

    /// Whether what it makes begins and ends in it.
    pub(super) fn is_whole(&self) -> bool {
        let count = |bracket: &str| self.tokens.iter().filter(|token| **token == bracket).count();
        !self.is_cut
            && [("(", ")"), ("[", "]"), ("{", "}")].iter().all(|(a, b)| count(a) == count(b))
    }

    /// What stands before braces that end the element.
    pub(super) fn head(&self) -> Option<&[&'a str]> {
        let open = self.tokens.iter().position(|token| *token == "{")?;
        let head = self.tokens.get(..open)?;
        let count = |bracket: &str| head.iter().filter(|token| **token == bracket).count();
        let is_outside = count("(") == count(")") && count("[") == count("]");
        (is_outside && open > 0 && self.tokens.last() == Some(&"}")).then_some(head)
    }

    /// The macro that it defines, with its parameters; `None` in front of these for one without.
    pub(super) fn definition(&self) -> Option<(&'a str, bool, &[&'a str])> {
        let ["#", "define", name, rest @ ..] = self.tokens.as_slice() else { return None };
        let end = rest.iter().position(|token| *token == ")").filter(|_| self.is_call);
        Some((name, self.is_call, end.and_then(|end| rest.get(..end)).unwrap_or_default()))
    }

    /// Whether there is nothing in it: the end of what stands before it.
    pub(super) fn is_empty(&self) -> bool {
        self.tokens == [";"]
    }

    /// The function or type that it declares for whoever names it, if that is plain to see: macros in
    /// capitals and attributes may make anything.
    pub(super) fn declared(&self) -> Option<&'a str> {
        if self.is_directive || !self.is_whole() {
            return None;
        }
        match self.tokens.as_slice() {
            ["struct" | "union", name, ";"] => Some(name),
            ["struct" | "union", name, "{", .., "}"] => self.is_plain_type().then_some(*name),
            _ => self.function(),
        }
    }

    /// Whether nothing in it is named by a macro, or is a type or a value of its own.
    fn is_plain_type(&self) -> bool {
        let inner = self.tokens.get(3..).unwrap_or_default();
        let braces = inner.iter().filter(|token| **token == "{").count();
        braces == 0 && inner.iter().all(|token| *token != "(")
    }

    /// `long f(int a);` or `static inline long f(int a) { ... }`
    fn function(&self) -> Option<&'a str> {
        const WITHOUT_TYPE: [&str; 7] =
            ["extern", "static", "inline", "const", "noinline", "__always_inline", "__must_check"];
        let open = self.tokens.iter().position(|token| *token == "(")?;
        let head = self.tokens.get(..open)?;
        let (name, before) = head.split_last()?;
        let words = before.iter().filter(|word| !WITHOUT_TYPE.contains(word));
        let is_plain = |word: &&str| {
            word.chars().any(|c| c.is_ascii_lowercase() || c == '*')
                && !takes_arguments(word)
                && !word.contains("used")
                && !word.contains("section")
                && *word != "typedef"
        };
        let types: BTreeSet<&str> = words.copied().collect();
        if types.is_empty() || !head.iter().all(is_plain) {
            return None;
        }
        let behind = behind_brackets(self.tokens.get(open..)?)?;
        let is_function = match behind {
            [";"] => true,
            ["{", .., "}"] => head.contains(&"static"),
            _ => false,
        };
        is_function.then_some(*name)
    }
}

fn behind_brackets<'t, 'a>(tokens: &'t [&'a str]) -> Option<&'t [&'a str]> {
    let mut depth = 0_usize;
    let end = tokens.iter().position(|token| {
        match *token {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })?;
    tokens.get(end + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Option<&str> {
        let all: Vec<Element<'_>> =
            elements(text).into_iter().map(|one| one.0).filter(|one| !one.is_empty()).collect();
        let first = all.first()?.declared();
        first.filter(|_| all.len() == 1)
    }

    #[test]
    fn what_is_declared_plainly_has_its_name() {
        for (text, expected) in [
            ("extern struct vma *copy(struct vma **, bool *need);", "copy"),
            ("int g(int (*done)(void));", "g"),
            ("static inline struct a *f(struct b *b) { return g(b); }", "f"),
            ("struct a;", "a"),
            ("struct a { int b; struct c *d; };", "a"),
        ] {
            assert_eq!(declared(text), Some(expected), "{text}");
        }
        for text in [
            "int f(void) { return 1; }",
            "BUFFER_FNS(1, uptodate);",
            "static DEFINE_MUTEX(lock);",
            "struct BUFFER_FNS(1, uptodate);",
            "__printf(1, 2) int f(const char *);",
            "static int __used f(void) { return 1; }",
            "int f(void) __attribute__((alias(\"g\")));",
            "struct a { int b; } c;",
            "struct a { int b; } __packed;",
            "struct a { struct c { int d; } e; };",
            "struct a { struct_group_tagged(c, d, int e;); };",
            "enum { ONE };",
            "int a;",
            "extern int a;",
            "int f(void), g;",
            "typedef int (*f)(void);",
            "typedef int f(void);",
            "int f(void) {",
        ] {
            assert_eq!(declared(text), None, "{text}");
        }
    }
}
