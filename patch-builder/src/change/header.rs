//! What a header says: its declarations, with what each one names.
//!
//! Two versions of a header are compared declaration by declaration, to tell which edits a cut of the
//! distribution's source needs. So it does not matter how a change is cut into edits, and comments and
//! spaces are no change. Which objects are compiled is for the compiler to say (`dependants`).

use std::collections::BTreeSet;
use std::ops::Range;

use super::c_tokens::{Token, tokens};
use super::declared::{Outline, enumerators};

/// A declaration, a definition or a macro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its tokens.
    pub text: String,
    /// The conditions that it stands under.
    pub conditions: Vec<String>,
    /// What others use it by.
    pub names: BTreeSet<String>,
    /// Its lines, from 0.
    pub lines: Range<usize>,
}

/// What declarations name that are new, gone or others in another version of a header.
#[must_use]
pub fn difference(before: &str, after: &str) -> BTreeSet<String> {
    let (old, new) = (items(before), items(after));
    let mut names = BTreeSet::new();
    for (these, others) in [(&old, &new), (&new, &old)] {
        let known: BTreeSet<(&str, &[String], &BTreeSet<String>)> =
            others.iter().map(key).collect();
        for item in these.iter().filter(|item| !known.contains(&key(item))) {
            names.extend(item.names.iter().cloned());
        }
    }
    // An event is made as its class says.
    for item in new.iter().filter(|item| item.text.starts_with("DEFINE_EVENT")) {
        if !item.names.is_disjoint(&names) {
            names.extend(item.names.iter().cloned());
        }
    }
    names
}

fn key(item: &Item) -> (&str, &[String], &BTreeSet<String>) {
    (&item.text, &item.conditions, &item.names)
}

/// The declarations of a header, one for each enumerator, without what is no code.
#[must_use]
pub fn items(text: &str) -> Vec<Item> {
    let tokens = tokens(text);
    let mut reader = Reader::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.text == "#" && token.is_first {
            let rest = tokens.get(at + 1..).unwrap_or_default();
            let length = 1 + rest.iter().take_while(|token| !token.is_first).count();
            reader.directive(tokens.get(at..at + length).unwrap_or_default());
            at += length;
        } else {
            reader.token(*token, tokens.get(at + 1));
            at += 1;
        }
    }
    reader.end();
    reader.items
}

#[derive(Default)]
struct Reader<'a> {
    items: Vec<Item>,
    /// The tokens of the declaration that is being read.
    open: Vec<Token<'a>>,
    /// The brackets that are open.
    depth: usize,
    conditions: Vec<Condition>,
}

struct Condition {
    text: String,
    /// The brackets that were open before it.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn token(&mut self, token: Token<'a>, next: Option<&Token<'a>>) {
        // Whatever was not understood ends here.
        if token.text == "}" && token.in_first_column {
            self.depth = 1;
        }
        self.open.push(token);
        match token.text {
            "{" | "(" | "[" => self.depth += 1,
            "}" | ")" | "]" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > 0 {
            return;
        }
        let is_end = match token.text {
            ";" => true,
            // Behind a type's or a variable's body comes a semicolon.
            "}" => Outline::of(&self.open).is_function(),
            // A macro that stands alone needs no semicolon.
            ")" => {
                Outline::of(&self.open).is_macro_call()
                    && next.is_none_or(|next| next.is_first && next.is_name())
            }
            _ => false,
        };
        if is_end {
            self.end();
        }
    }

    /// Ends the declaration that is being read.
    fn end(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.depth = 0;
        if open.iter().any(|token| token.text != ";") {
            let conditions: Vec<String> =
                self.conditions.iter().map(|condition| condition.text.clone()).collect();
            self.items.extend(items_of(&open, &conditions));
        }
    }

    fn directive(&mut self, tokens: &[Token<'a>]) {
        if self.depth > 0 {
            self.open.extend(tokens);
        } else {
            self.end();
        }
        let text = joined(tokens);
        match tokens.get(1).map_or("", |token| token.text) {
            "if" | "ifdef" | "ifndef" => {
                self.conditions.push(Condition { text, depth: self.depth });
            }
            "else" | "elif" => {
                if let Some(condition) = self.conditions.last_mut() {
                    condition.text = format!("{} {text}", condition.text);
                    self.depth = condition.depth;
                }
            }
            "endif" => {
                let ended = self.conditions.pop();
                // The kernel is no C++.
                if let Some(condition) = ended.filter(|one| one.text.contains("__cplusplus")) {
                    self.open.clear();
                    self.depth = condition.depth;
                }
            }
            "define" | "undef" => {
                let lines = lines_of(tokens);
                let name = tokens.get(2).map(|token| token.text.to_owned());
                let conditions =
                    self.conditions.iter().map(|condition| condition.text.clone()).collect();
                let names = name.into_iter().collect();
                self.items.push(Item { text, conditions, names, lines });
            }
            _ => {}
        }
    }
}

fn joined(tokens: &[Token<'_>]) -> String {
    let texts: Vec<&str> = tokens.iter().map(|token| token.text).collect();
    texts.join(" ")
}

fn lines_of(tokens: &[Token<'_>]) -> Range<usize> {
    let first = tokens.first().map_or(0, |token| token.line);
    first..tokens.last().map_or(first, |token| token.line + 1)
}

/// The items that a declaration makes.
fn items_of(tokens: &[Token<'_>], conditions: &[String]) -> Vec<Item> {
    // An assertion makes no code.
    if matches!(tokens.first().map(|token| token.text), Some("static_assert" | "_Static_assert")) {
        return Vec::new();
    }
    let outline = Outline::of(tokens);
    let names = outline.names();
    let item = |text: String, names: BTreeSet<String>| Item {
        text,
        conditions: conditions.to_vec(),
        names,
        lines: lines_of(tokens),
    };
    let Some(enumerators) = enumerators(tokens) else {
        return vec![item(joined(tokens), names)];
    };
    let one = |(name, value): (String, u64)| item(format!("{value:x}"), BTreeSet::from([name]));
    let mut items: Vec<Item> = enumerators.into_iter().map(one).collect();
    if !names.is_empty() {
        items.push(item(joined(tokens), names));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "#ifndef X_H\n#define X_H\n/* f(), as it was */\n#include <linux/types.h>\n\n\
        struct a {\n\tint one;\n\n\tint two;\n};\n\n\
        static inline int f(struct a *a)\n{\n\tint b = 1;\n\n\tif (a)\n\t\tb = 2;\n\n\treturn b;\n}\n\n\
        enum {\n\tONE,\n\n\tTWO,\n};\n\n\
        static inline void g(void) { }\n\n\
        #define M(x) \\\n\tdo { \\\n\t\tx; \\\n\t} while (0)\n\
        TRACE_EVENT(wake,\n\n\tTP_PROTO(int a),\n\n\tTP_ARGS(a)\n);\n\
        LSM_HOOK(int, 0, first, int a)\nLSM_HOOK(int, 0, second, int a)\n\
        DECLARE_EVENT_CLASS(base,\n\tTP_PROTO(int b)\n);\n\
        DEFINE_EVENT(base, derived,\n\tTP_PROTO(int b)\n);\n\
        #ifdef CONFIG_A\nint only(void);\n#else\nstatic inline int only(void) { return 0; }\n#endif\n\
        #endif\n";

    fn changed(from: &str, to: &str) -> Vec<String> {
        assert!(HEADER.contains(from), "{from}");
        let found = difference(HEADER, &HEADER.replacen(from, to, 1));
        found.into_iter().collect()
    }

    #[test]
    fn a_change_behind_a_blank_line_has_the_name_of_what_it_is_in() {
        assert_eq!(changed("\treturn b;\n", "\tb++;\n\treturn b;\n"), ["f"]);
        assert_eq!(changed("\tint two;\n", "\tlong two;\n"), ["a"]);
        assert_eq!(changed("\tTP_ARGS(a)\n", "\tTP_ARGS(a + 1)\n"), ["trace_wake", "wake"]);
        assert_eq!(changed("\t\tx; \\\n", "\t\tx; x; \\\n"), ["M"]);
    }

    #[test]
    fn each_declaration_stands_for_itself() {
        assert_eq!(changed("void g(void) { }", "void g(void) { h(); }"), ["g"]);
        assert_eq!(changed("0, second,", "1, second,"), ["second"]);
        assert_eq!(changed("int only(void);", "long only(void);"), ["only"]);
        assert_eq!(changed("return 0;", "return 1;"), ["only"]);
        assert_eq!(changed("CONFIG_A", "CONFIG_B"), ["only"]);
    }

    #[test]
    fn enumerators_are_named_by_an_enum_without_a_tag() {
        assert_eq!(changed("\tONE,\n", "\tZERO,\n\tONE,\n"), ["ONE", "TWO", "ZERO"]);
        assert_eq!(changed("\tTWO,\n", "\tTWO,\n\tTHREE,\n"), ["THREE"]);
    }

    #[test]
    fn an_event_changes_with_its_class() {
        let names = changed(
            "base,\n\tTP_PROTO(int b)\n);\nDEFINE",
            "base,\n\tTP_PROTO(long b)\n);\nDEFINE",
        );
        assert_eq!(names, ["base", "derived", "trace_base", "trace_derived"]);
    }

    #[test]
    fn comments_spaces_and_includes_are_no_change() {
        for (from, to) in [
            ("as it was", "as it is"),
            ("\tint b = 1;\n", "\tint b   =\n\t\t1;\n"),
            ("<linux/types.h>", "<linux/mm.h>"),
            ("#define M", "static_assert(1);\n#define M"),
        ] {
            assert_eq!(changed(from, to), [""; 0], "{from}");
        }
    }
}
