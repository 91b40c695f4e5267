//! What an item of the preprocessor's text is when nothing names it, and what it names.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::items::{Item, Token, Tokens, takes_arguments};
use crate::change::enumerators;

/// Attributes that keep what nothing names, or give it another name.
const KEEPERS: [&str; 9] = [
    "used",
    "externally_visible",
    "constructor",
    "destructor",
    "alias",
    "ifunc",
    "weakref",
    "retain",
    "symver",
];

#[rustfmt::skip]
const KEYWORDS: [&str; 33] = [
    "auto", "char", "const", "double", "enum", "extern", "float", "inline", "int", "long", "register",
    "restrict", "short", "signed", "static", "struct", "typedef", "union", "unsigned", "void",
    "volatile", "_Bool", "_Noreturn", "_Thread_local", "__inline", "__inline__", "__extension__",
    "__const", "__volatile__", "__restrict", "__signed__", "__int128", "__thread",
];

/// What an item gives a meaning to, each with a digest of what it means; none for what makes code or
/// nothing.
pub(super) fn definitions<'a>(item: &Item<'a>) -> Vec<(&'a str, u64)> {
    let Meaning::Names(names) = Meaning::of(item.text) else { return Vec::new() };
    let values = values(item.text);
    let digest = values.as_ref().map_or(item.digest, |values| values.rest);
    let value = |name: &str| values.as_ref().and_then(|all| all.of.get(name).copied());
    names.into_iter().map(|name| (name, value(name).unwrap_or(digest))).collect()
}

/// The words with which an item may use something. An enumeration does not use the values that it
/// defines: those are compared one by one.
pub(super) fn uses(text: &str) -> BTreeSet<&str> {
    let own: Vec<String> = enumerators(text).into_iter().flatten().map(|(name, _)| name).collect();
    words(text).filter(|word| !own.iter().any(|own| own == word)).collect()
}

/// The values of an enumeration's names, and what is left of it.
struct Values {
    of: HashMap<String, u64>,
    /// Of what is outside of its braces and of the values that are written down.
    rest: u64,
}

fn values(text: &str) -> Option<Values> {
    let of = enumerators(text)?;
    let (head, body) = text.split_once('{')?;
    let (body, tail) = body.rsplit_once('}')?;
    let mut hasher = DefaultHasher::new();
    for part in [head, tail] {
        words(part).for_each(|word| word.hash(&mut hasher));
    }
    for one in body.split(',') {
        if let Some((_, value)) = one.split_once('=') {
            words(value).for_each(|word| word.hash(&mut hasher));
        }
    }
    Some(Values { of: of.into_iter().collect(), rest: hasher.finish() })
}

/// The identifiers of an item, and the words of strings, which name symbols in assembly and aliases.
fn words(text: &str) -> impl Iterator<Item = &str> {
    Tokens::new(text).flat_map(|token| {
        let text = match token {
            Token::Word(text) | Token::Literal(text) => text,
            Token::Other(_) | Token::Directive(_) => "",
        };
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$')
            .filter(|word| !word.is_empty())
    })
}

/// What there is of an item when nothing names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// Nothing in any case: an assertion.
    Nothing,
    /// Code or data.
    Code,
    /// Only what others use by these names.
    Names(BTreeSet<&'a str>),
}

impl<'a> Meaning<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let tokens: Vec<&str> = Tokens::new(text)
            .filter_map(|token| match token {
                Token::Word(text) | Token::Literal(text) | Token::Other(text) => Some(text),
                Token::Directive(_) => None,
            })
            .collect();
        let outline = Outline::of(&tokens);
        let first = outline.words.iter().find(|word| **word != "__extension__");
        if first.is_some_and(|word| *word == "_Static_assert") {
            return Self::Nothing;
        }
        let is_asm = tokens.iter().find(|word| **word != "__extension__");
        if is_asm.is_some_and(|word| word.starts_with("asm") || word.starts_with("__asm"))
            || outline.is_kept
        {
            return Self::Code;
        }
        let opens = outline.words.iter().find(|word| matches!(**word, "{" | "(" | "=")).copied();
        let is_function = opens == Some("(") && outline.words.contains(&"{");
        if is_function {
            return outline.function(&tokens);
        }
        outline.declaration(&tokens)
    }
}

/// An item without what is in its brackets.
struct Outline<'a> {
    /// The tokens outside of all brackets, and the opening ones; no attributes.
    words: Vec<&'a str>,
    /// For each of them the token behind it, whatever that is.
    places: Vec<usize>,
    /// An attribute keeps it.
    is_kept: bool,
    is_gnu_inline: bool,
}

impl<'a> Outline<'a> {
    fn of(tokens: &[&'a str]) -> Self {
        let mut outline =
            Self { words: Vec::new(), places: Vec::new(), is_kept: false, is_gnu_inline: false };
        let mut depth = 0_usize;
        // The depth outside of the attribute that is being read.
        let mut attribute: Option<usize> = None;
        let mut was_attribute = false;
        for (at, token) in tokens.iter().enumerate() {
            if matches!(*token, ")" | "]" | "}") {
                depth = depth.saturating_sub(1);
                if attribute == Some(depth) {
                    attribute = None;
                }
            } else if attribute.is_some() {
                let name = token.trim_matches('_');
                outline.is_kept |= KEEPERS.contains(&name);
                outline.is_gnu_inline |= name == "gnu_inline";
            } else if depth == 0 {
                let opens_attribute = was_attribute && *token == "(";
                was_attribute = takes_arguments(token) && *token != "_Static_assert";
                if opens_attribute {
                    attribute = Some(0);
                } else if !was_attribute {
                    outline.words.push(token);
                    outline.places.push(at + 1);
                }
            }
            if matches!(*token, "(" | "[" | "{") {
                depth += 1;
            }
        }
        outline
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn word(&self, at: usize) -> &'a str {
        self.words.get(at).copied().unwrap_or_default()
    }

    /// What stands in brackets first.
    fn inside<'t>(&self, at: usize, tokens: &'t [&'a str]) -> &'t [&'a str] {
        self.places.get(at).and_then(|place| tokens.get(*place..)).unwrap_or_default()
    }

    fn function(&self, tokens: &[&'a str]) -> Meaning<'a> {
        let open = self.words.iter().position(|word| *word == "(").unwrap_or_default();
        let name = open.checked_sub(1).map(|at| self.word(at)).unwrap_or_default();
        let is_inline = ["inline", "__inline", "__inline__"].iter().any(|word| self.has(word));
        let is_for_callers =
            self.has("static") || self.has("extern") && is_inline && self.is_gnu_inline;
        let is_plain = is_name(name) && self.inside(open, tokens).first() != Some(&"*");
        if is_for_callers && is_plain {
            return Meaning::Names(BTreeSet::from([name]));
        }
        Meaning::Code
    }

    fn declaration(&self, tokens: &[&'a str]) -> Meaning<'a> {
        let mut names = types(tokens);
        let mut declares_object = self.has("=");
        let mut has_parameters = false;
        let mut is_value = false;
        for (at, word) in self.words.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| self.word(at)).unwrap_or_default();
            is_value = *word == "=" || is_value && *word != ",";
            if is_value {
                continue;
            }
            if *word == "(" {
                let inside = self.inside(at, tokens);
                if inside.first() == Some(&"*") {
                    // int (*name)(void)
                    declares_object = true;
                    names.extend(inside.iter().find(|word| is_name(word)).copied());
                } else if is_name(before) {
                    has_parameters = true;
                    names.insert(before);
                }
                continue;
            }
            let ends = matches!(self.word(at + 1), ";" | "," | "=" | "[" | ":" | "");
            let is_tag = matches!(before, "struct" | "union" | "enum");
            if ends && is_name(word) && !is_tag {
                declares_object |= !has_parameters;
                names.insert(word);
            }
            // Another function or variable behind a first one.
            declares_object |= *word == "," && has_parameters;
        }
        if is_forward(&self.words) {
            names.insert(self.word(1));
        }
        let has_storage = self.has("typedef") || self.has("static");
        let is_elsewhere = self.has("extern") && !self.has("=");
        if declares_object && !has_storage && !is_elsewhere {
            return Meaning::Code;
        }
        Meaning::Names(names)
    }
}

/// `struct name;`
fn is_forward(words: &[&str]) -> bool {
    matches!(words, ["struct" | "union" | "enum", name, ";"] if is_name(name))
}

/// The tags that are defined anywhere in an item, and the names of enumerations' values.
fn types<'a>(tokens: &[&'a str]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, word) in tokens.iter().enumerate() {
        if !matches!(*word, "struct" | "union" | "enum") {
            continue;
        }
        let behind = skip_attributes(tokens.get(at + 1..).unwrap_or_default());
        let (tag, behind) = match behind {
            [tag, behind @ ..] if is_name(tag) => (Some(*tag), skip_attributes(behind)),
            behind => (None, behind),
        };
        if behind.first() != Some(&"{") {
            continue;
        }
        names.extend(tag);
        if *word == "enum" {
            names.extend(values_of(behind));
        }
    }
    names
}

fn skip_attributes<'t, 'a>(mut tokens: &'t [&'a str]) -> &'t [&'a str] {
    while let [word, "(", rest @ ..] = tokens
        && takes_arguments(word)
    {
        let mut depth = 1_usize;
        let end = rest.iter().position(|token| {
            match *token {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        tokens = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
    }
    tokens
}

/// The names in an enumeration's braces.
fn values_of<'a>(body: &[&'a str]) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut is_next = false;
    for token in body {
        match *token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            word if depth == 1 && is_next => names.push(word),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        is_next = depth == 1 && matches!(*token, "{" | ",");
    }
    names
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && !KEYWORDS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<&str>> {
        match Meaning::of(text) {
            Meaning::Names(names) => Some(names.into_iter().collect()),
            Meaning::Code | Meaning::Nothing => None,
        }
    }

    #[test]
    fn what_others_use_by_name_makes_no_code() {
        for (text, expected) in [
            (
                "static inline __attribute__((unused)) struct a *f(struct b *b) { return g(b); }",
                vec!["f"],
            ),
            ("extern inline __attribute__((gnu_inline)) int f(void) { return 1; }", vec!["f"]),
            (
                "extern struct vma *copy(struct vma **, _Bool *need) __attribute__((cold));",
                vec!["copy"],
            ),
            ("int f(int a, int (*g)(int));", vec!["f"]),
            (
                "struct a { int b; struct c { int d; } e; enum { ONE, TWO = 2 } f; };",
                vec!["ONE", "TWO", "a", "c"],
            ),
            ("struct __attribute__((packed)) a { int b; } __attribute__((aligned(8)));", vec!["a"]),
            ("typedef struct { int b; } a_t;", vec!["a_t"]),
            ("typedef u32 (*call_t)(void *data);", vec!["call_t"]),
            ("extern unsigned long a __attribute__((section(\"x\"))), b[4];", vec!["a", "b"]),
            ("static const struct a table[] = { { first }, second };", vec!["table"]),
            ("static int (*call)(int) = f;", vec!["call"]),
            ("struct later;", vec!["later"]),
            ("enum kind { ONE = f(1, 2), TWO };", vec!["ONE", "TWO", "kind"]),
        ] {
            assert_eq!(names(text).as_deref(), Some(expected.as_slice()), "{text}");
        }
    }

    #[test]
    fn what_makes_code_by_itself_is_known() {
        for text in [
            "int f(void) { return 1; }",
            "inline __attribute__((gnu_inline)) int f(void) { return 1; }",
            "static __attribute__((__used__)) int f(void) { return 1; }",
            "static int x __attribute__((used, section(\".init\"))) = 1;",
            "int x;",
            "struct a x, y;",
            "struct a { int b; } x;",
            "int (*call)(int);",
            "u32 (*call)(int) = f;",
            "extern int x = 1;",
            "static int (*f(void))(int) { return g; }",
            "asm(\"nop\");",
            "int init_module(void) __attribute__((alias(\"start\")));",
        ] {
            assert_eq!(Meaning::of(text), Meaning::Code, "{text}");
        }
        assert_eq!(Meaning::of("_Static_assert(sizeof(int) == 4, \"x\");"), Meaning::Nothing);
    }
}
