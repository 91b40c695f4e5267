//! What a declaration names.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::c_tokens::Token;

/// Words of a declaration that name nothing of its own.
#[rustfmt::skip]
const KEYWORDS: [&str; 37] = [
    "NULL", "true", "false",
    "asm", "asmlinkage", "bool", "char", "const", "double", "enum", "extern", "float", "inline", "int",
    "long", "noinline", "register", "restrict", "s16", "s32", "s64", "s8", "short", "signed",
    "size_t", "static", "struct", "typedef", "u16", "u32", "u64", "u8", "union", "unsigned",
    "void", "volatile", "__always_inline",
];

/// What may take arguments in a declaration and is not what it declares.
#[rustfmt::skip]
const ATTRIBUTES: [&str; 48] = [
    "__initconst",
    "__acquire", "__acquires", "__aligned", "__alloc_size", "__asm__", "__assume_aligned",
    "__attribute__", "__attribute_const__", "__bitwise", "__cold", "__cond_acquires",
    "__cond_lock", "__counted_by", "__deprecated", "__designated_init", "__diagnose_as",
    "__error", "__exit", "__init", "__initdata", "__iomem", "__latent_entropy", "__malloc",
    "__maybe_unused", "__must_check", "__must_hold", "__no_sanitize", "__nonnull", "__noreturn",
    "__packed", "__percpu", "__printf", "__pure", "__randomize_layout", "__rcu", "__read_mostly",
    "__refdata", "__releases", "__ro_after_init", "__scanf", "__section", "__target",
    "__typeof__", "__used", "__user", "__warning", "typeof",
];

/// Whether a word looks like a macro: in capitals.
pub(super) fn is_macro(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(allowed) && word.contains(|c: char| c.is_ascii_uppercase())
}

/// A declaration, without what is in its brackets.
pub(super) struct Outline<'t, 'a> {
    tokens: &'t [Token<'a>],
    /// Where the tokens outside of all brackets are, and the opening brackets; no attributes.
    outside: Vec<usize>,
}

impl<'t, 'a> Outline<'t, 'a> {
    pub(super) fn of(tokens: &'t [Token<'a>]) -> Self {
        let mut depth = 0_usize;
        let mut outside = Vec::new();
        let mut is_attribute = false;
        for (at, token) in tokens.iter().enumerate() {
            if matches!(token.text, "}" | ")" | "]") {
                depth = depth.saturating_sub(1);
            } else if depth == 0 {
                let was_attribute = is_attribute;
                is_attribute = is_mark(token.text);
                if !(is_attribute || was_attribute && token.text == "(") {
                    outside.push(at);
                }
            }
            if matches!(token.text, "{" | "(" | "[") {
                depth += 1;
            }
        }
        Self { tokens, outside }
    }

    fn get(&self, at: usize) -> Option<&'t Token<'a>> {
        self.outside.get(at).and_then(|at| self.tokens.get(*at))
    }

    fn text(&self, at: usize) -> &'a str {
        self.get(at).map_or("", |token| token.text)
    }

    fn position(&self, wanted: &[&str]) -> Option<usize> {
        (0..self.outside.len()).find(|at| wanted.contains(&self.text(*at)))
    }

    /// Where the keyword is of a type that is defined here.
    pub(super) fn aggregate(&self) -> Option<usize> {
        let body = self.position(&["{", "(", "="]).filter(|at| self.text(*at) == "{")?;
        self.position(&["struct", "union", "enum"]).filter(|at| *at < body)
    }

    /// Whether it is a function with its body.
    pub(super) fn is_function(&self) -> bool {
        let first = self.position(&["{", "(", "="]);
        first.is_some_and(|at| self.text(at) == "(") && self.position(&["{"]).is_some()
    }

    /// The macro, in capitals, that makes the declaration.
    fn macro_name(&self) -> Option<&'a str> {
        let at =
            (0..self.outside.len()).find(|at| !matches!(self.text(*at), "static" | "extern"))?;
        (is_macro(self.text(at)) && self.text(at + 1) == "(").then(|| self.text(at))
    }

    /// Whether there is nothing but a macro's name and its arguments.
    pub(super) fn is_macro_call(&self) -> bool {
        self.outside.len() == 2 && self.macro_name().is_some()
    }

    /// What others use it by: functions, variables, types and their tags, events.
    pub(super) fn names(&self) -> BTreeSet<String> {
        if let Some(name) = self.macro_name() {
            return made_by_macro(name, self.tokens);
        }
        let mut names = BTreeSet::new();
        let announced = (self.outside.len() == 3 && self.text(2) == ";").then_some(0);
        if let Some(at) = self.aggregate().or(announced) {
            names.extend(self.get(at + 1).filter(|name| is_name(name)).map(own));
        }
        let mut is_value = false;
        for at in 0..self.outside.len() {
            match self.text(at) {
                // Behind the arguments are only marks and the body.
                "(" => {
                    let before = at.checked_sub(1).and_then(|at| self.get(at));
                    match before.filter(|name| is_name(name)) {
                        Some(name) => names.insert(own(name)),
                        None => self.pointer(at).is_some_and(|name| names.insert(name)),
                    };
                    break;
                }
                "=" => is_value = true,
                "," => is_value = false,
                _ => {}
            }
            let is_last = matches!(self.text(at + 1), ";" | "=" | "," | "[" | ":" | "");
            if is_last && !is_value && self.get(at).is_some_and(is_name) {
                names.extend(self.get(at).map(own));
            }
        }
        names
    }

    /// The name in `int (*name)(void)`.
    fn pointer(&self, bracket: usize) -> Option<String> {
        let inside = self.tokens.get(self.outside.get(bracket)? + 1..)?;
        let is_inner = |token: &&Token<'_>| token.text == "*" || is_mark(token.text);
        inside.iter().find(|token| !is_inner(token)).filter(|token| is_name(token)).map(own)
    }
}

fn is_mark(word: &str) -> bool {
    ATTRIBUTES.contains(&word) || word.starts_with("____cacheline")
}

fn is_name(token: &Token<'_>) -> bool {
    token.is_name() && !KEYWORDS.contains(&token.text) && !is_mark(token.text)
}

fn own(token: &Token<'_>) -> String {
    token.text.to_owned()
}

/// What a macro may define: an argument of one word, or one with a type when the macro's name says
/// that it defines something. An event is used by the function that it makes.
fn made_by_macro(name: &str, tokens: &[Token<'_>]) -> BTreeSet<String> {
    let longest = if name.contains("DECLARE") || name.contains("DEFINE") { 4 } else { 1 };
    let mut names = BTreeSet::new();
    let mut depth = 0_usize;
    let mut argument: Vec<&Token<'_>> = Vec::new();
    for token in tokens {
        if matches!(token.text, "}" | ")" | "]") {
            depth = depth.saturating_sub(1);
        }
        if depth == 1 && token.text == "," || depth == 0 && token.text == ")" {
            let is_plain = argument.iter().all(|token| token.is_name() || token.text == "*");
            let is_type = argument.len() == 2
                && matches!(
                    argument.first().map(|token| token.text),
                    Some("struct" | "union" | "enum")
                );
            let is_name_of_ours = is_plain && !is_type && argument.len() <= longest;
            let word = argument.last().filter(|_| is_name_of_ours);
            names.extend(word.filter(|word| is_name(word)).map(|word| own(word)));
            argument.clear();
        } else if depth > 0 {
            argument.push(token);
        }
        if matches!(token.text, "{" | "(" | "[") {
            depth += 1;
        }
    }
    if name.contains("EVENT") {
        let calls: Vec<String> = names.iter().map(|event| format!("trace_{event}")).collect();
        names.extend(calls);
    }
    names
}

/// The enumerators of an `enum` with a body, each with a digest of its value: of the expressions
/// and the number of enumerators that it follows from.
pub(super) fn enumerators(tokens: &[Token<'_>]) -> Option<Vec<(String, u64)>> {
    let outline = Outline::of(tokens);
    if outline.text(outline.aggregate()?) != "enum" {
        return None;
    }
    let body = tokens.iter().position(|token| token.text == "{")?;
    let mut list = Enumerators::default();
    let mut depth = 0_usize;
    let mut one: Vec<&str> = Vec::new();
    let mut in_directive = false;
    for token in tokens.get(body + 1..)? {
        in_directive = token.is_first && token.text == "#" || in_directive && !token.is_first;
        if in_directive {
            // What follows depends on the condition.
            list.base = digest(&(list.base, token.text));
            continue;
        }
        if depth == 0 && matches!(token.text, "," | "}") {
            list.add(&std::mem::take(&mut one));
        } else {
            one.push(token.text);
        }
        match token.text {
            "(" | "{" | "[" => depth += 1,
            "}" if depth == 0 => break,
            ")" | "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Some(list.found)
}

#[derive(Default)]
struct Enumerators {
    found: Vec<(String, u64)>,
    /// Digest of what the last value that is written down is made of.
    base: u64,
    /// How many enumerators there are since.
    distance: usize,
}

impl Enumerators {
    fn add(&mut self, tokens: &[&str]) {
        let Some((name, value)) = tokens.split_first() else {
            return;
        };
        if let Some(equals) = value.iter().position(|token| *token == "=") {
            // A value that others give changes when theirs do.
            let words = value.get(equals + 1..).unwrap_or_default().iter();
            let resolved: Vec<(&str, Option<u64>)> = words
                .map(|word| {
                    let other = self.found.iter().find(|(name, _)| name == word);
                    (*word, other.map(|(_, value)| *value))
                })
                .collect();
            self.base = digest(&resolved);
            self.distance = 0;
        }
        self.found.push(((*name).to_owned(), digest(&(self.base, self.distance))));
        self.distance += 1;
    }
}

fn digest(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::c_tokens::tokens;

    fn names(text: &str) -> Vec<String> {
        Outline::of(&tokens(text)).names().into_iter().collect()
    }

    #[test]
    fn each_kind_of_declaration_has_its_name() {
        for (text, expected) in [
            ("extern struct vma *copy(struct vma **, bool *need);", vec!["copy"]),
            ("static inline struct a *f(struct b *b) { return g(b); }", vec!["f"]),
            ("__printf(1, 2) void show(const char *fmt, ...) __cold;", vec!["show"]),
            ("int f(int) __attribute__((pure));", vec!["f"]),
            ("struct a { int b; void (*c)(int); };", vec!["a"]),
            ("struct __attribute__((packed)) a { int b; } __aligned(8);", vec!["a"]),
            ("typedef struct { int b; } a_t;", vec!["a_t"]),
            ("typedef int (*call_t)(void *data);", vec!["call_t"]),
            ("extern unsigned long a __read_mostly, b[4];", vec!["a", "b"]),
            ("static const int table[] = { first, second };", vec!["table"]),
            ("struct later;", vec!["later"]),
            ("enum kind { ONE, TWO };", vec!["kind"]),
            ("DECLARE_PER_CPU(struct a, one);", vec!["one"]),
            ("LSM_HOOK(int, 0, task_alloc, struct task *task, u32 id)", vec!["task_alloc"]),
            ("static DEFINE_MUTEX(lock);", vec!["lock"]),
            ("TRACE_EVENT(wake, TP_PROTO(int a), TP_ARGS(a));", vec!["trace_wake", "wake"]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn a_new_enumerator_moves_those_behind_it() {
        let read = |text| enumerators(&tokens(text)).unwrap();
        let changed = |before, after| {
            let old = read(before);
            let new = read(after).into_iter().filter(|one| !old.contains(one));
            new.map(|(name, _)| name).collect::<Vec<_>>()
        };
        let before = "enum { A, B, C = 5, D, __END, END = __END - 1 };";
        assert_eq!(
            changed(before, "enum { A, X, B, C = 5, D, __END, END = __END - 1, };"),
            ["X", "B"]
        );
        assert_eq!(
            changed(before, "enum { A, B, C = 5, X, D, __END, END = __END - 1 };"),
            ["X", "D", "__END", "END"]
        );
        assert_eq!(
            changed(
                before,
                "enum {\nA,\n#ifdef X\nB,\n#endif\nC = 5, D, __END, END = __END - 1 };"
            ),
            ["B"]
        );
        assert!(enumerators(&tokens("enum kind f(void) { }")).is_none());
    }
}
