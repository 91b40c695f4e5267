//! The preprocessor's text, cut into what stands at its top: declarations and definitions.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A declaration or a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// As it stands there, directives between its lines included.
    pub(super) text: &'a str,
    /// Of its tokens, and of the directives in force that change what code means.
    pub(super) digest: u64,
    /// The lines of files that it comes from.
    pub(super) spans: Vec<Span<'a>>,
}

/// Lines of a file, from 1, by its path as the compiler names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span<'a> {
    pub(super) file: &'a str,
    pub(super) first: u32,
    pub(super) last: u32,
}

/// A text, cut.
#[derive(Debug, Default)]
pub(super) struct Cut<'a> {
    pub(super) items: Vec<Item<'a>>,
    /// The macros that the preprocessor says were expanded or asked for (`-dU`).
    pub(super) macros: BTreeSet<&'a str>,
}

/// Cuts a text that is C into its items.
pub(super) fn cut(text: &str) -> Cut<'_> {
    let mut cutter = Cutter::default();
    let mut tokens = Tokens::new(text);
    while let Some(token) = tokens.next() {
        cutter.token(text, token, tokens.at, tokens.line);
    }
    cutter.end(text, text.len());
    cutter.cut
}

#[derive(Default)]
struct Cutter<'a> {
    cut: Cut<'a>,
    file: &'a str,
    /// What is added to a line of the text for one of the file; the sum wraps.
    shift: u32,
    spans: Vec<Span<'a>>,
    /// Digest of the directives so far that change what code means.
    pragmas: u64,
    /// Where the open item begins.
    start: usize,
    head: Head,
    /// The brackets that are open.
    depth: usize,
}

/// What is known of the open item's beginning, outside of brackets.
#[derive(Default)]
struct Head {
    /// What is in brackets next is an attribute's.
    is_attribute: bool,
    has_parameters: bool,
    has_value: bool,
    /// The open braces are a function's body.
    is_body: bool,
}

impl<'a> Cutter<'a> {
    fn token(&mut self, text: &'a str, token: Token<'a>, end: usize, line: u32) {
        let word = match token {
            Token::Directive(directive) => {
                self.directive(directive, line);
                return;
            }
            Token::Word(word) | Token::Literal(word) | Token::Other(word) => word,
        };
        self.stands_at(line);
        match word {
            "(" | "[" | "{" => {
                if self.depth == 0 {
                    self.head.has_parameters |= word == "(" && !self.head.is_attribute;
                    self.head.is_body =
                        word == "{" && self.head.has_parameters && !self.head.has_value;
                }
                self.depth += 1;
            }
            ")" | "]" | "}" => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 && word == "}" && self.head.is_body {
                    self.end(text, end);
                }
            }
            ";" if self.depth == 0 => self.end(text, end),
            "=" if self.depth == 0 => self.head.has_value = true,
            _ => {}
        }
        if self.depth == 0 {
            self.head.is_attribute = takes_arguments(word);
        }
    }

    fn directive(&mut self, directive: &'a str, line: u32) {
        let mut words = directive.trim_start_matches('#').split_whitespace();
        match words.next() {
            Some("define" | "undef") => {
                let name = words.next().and_then(|word| word.split('(').next());
                self.cut.macros.extend(name);
            }
            // What warnings there are is no part of the code.
            Some("pragma") if !words.clone().any(|word| word == "diagnostic") => {
                let mut hasher = DefaultHasher::new();
                (self.pragmas, words.collect::<Vec<_>>()).hash(&mut hasher);
                self.pragmas = hasher.finish();
            }
            Some(number) => {
                let Ok(next) = number.parse::<u32>() else { return };
                self.shift = next.wrapping_sub(line + 1);
                self.file = directive.split('"').nth(1).unwrap_or_default();
            }
            None => {}
        }
    }

    fn stands_at(&mut self, line: u32) {
        let line = line.wrapping_add(self.shift);
        match self.spans.last_mut() {
            Some(span) if span.file == self.file && span.first <= line => {
                span.last = span.last.max(line);
            }
            _ => self.spans.push(Span { file: self.file, first: line, last: line }),
        }
    }

    fn end(&mut self, text: &'a str, end: usize) {
        let text = text.get(self.start..end).unwrap_or_default();
        self.start = end;
        self.head = Head::default();
        self.depth = 0;
        let spans = std::mem::take(&mut self.spans);
        if let Some(digest) = digest(text, self.pragmas) {
            self.cut.items.push(Item { text, digest, spans });
        }
    }
}

/// Words in front of brackets that are no parameters.
pub(super) fn takes_arguments(word: &str) -> bool {
    const WORDS: [&str; 11] = [
        "__attribute__",
        "__attribute",
        "__asm__",
        "__asm",
        "asm",
        "typeof",
        "__typeof__",
        "__typeof",
        "_Alignas",
        "__alignof__",
        "_Static_assert",
    ];
    WORDS.contains(&word)
}

/// `None` for what has nothing in it.
fn digest(text: &str, pragmas: u64) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    pragmas.hash(&mut hasher);
    let mut is_empty = true;
    for token in Tokens::new(text) {
        match token {
            Token::Directive(_) => continue,
            Token::Word(word) | Token::Literal(word) | Token::Other(word) => {
                is_empty &= word == ";";
                word.hash(&mut hasher);
            }
        }
    }
    (!is_empty).then(|| hasher.finish())
}

/// A token, as it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier or a number.
    Word(&'a str),
    /// A string or a character.
    Literal(&'a str),
    /// One character.
    Other(&'a str),
    /// A line that the preprocessor left to the compiler.
    Directive(&'a str),
}

/// The tokens of a text without comments.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// From 0.
    line: u32,
    is_first: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 0, is_first: true }
    }

    /// The text as long as the bytes are such.
    fn while_true(&self, is_inside: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        rest.iter().position(|byte| !is_inside(*byte)).unwrap_or(rest.len())
    }

    /// The length of a literal with its quotes.
    fn literal(&self, quote: u8) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let mut at = 1;
        while let Some(byte) = rest.get(at) {
            match byte {
                b'\\' => at += 1,
                b'\n' => return at,
                byte if *byte == quote => return at + 1,
                _ => {}
            }
            at += 1;
        }
        rest.len()
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let space = self.while_true(|byte| byte.is_ascii_whitespace());
            let skipped = self.text.as_bytes().get(self.at..self.at + space)?;
            let lines = skipped.iter().filter(|byte| **byte == b'\n').count();
            self.line += u32::try_from(lines).unwrap_or_default();
            self.is_first |= lines > 0;
            self.at += space;
            let byte = *self.text.as_bytes().get(self.at)?;
            let is_first = std::mem::take(&mut self.is_first);
            let length = match byte {
                b'#' if is_first => self.while_true(|byte| byte != b'\n'),
                b'"' | b'\'' => self.literal(byte),
                byte if is_word(byte) => self.while_true(is_word),
                // A character of several bytes stays whole.
                _ => {
                    1 + self
                        .text
                        .as_bytes()
                        .get(self.at + 1..)?
                        .iter()
                        .take_while(|byte| **byte & 0xc0 == 0x80)
                        .count()
                }
            };
            let from = self.at;
            self.at = (from + length).min(self.text.len());
            let Some(text) = self.text.get(from..self.at) else { continue };
            return Some(match byte {
                b'#' if is_first => Token::Directive(text),
                b'"' | b'\'' => Token::Literal(text),
                byte if is_word(byte) => Token::Word(text),
                _ => Token::Other(text),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Item<'_>> {
        cut(text).items
    }

    fn texts(text: &str) -> Vec<String> {
        items(text)
            .iter()
            .map(|item| item.text.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn each_declaration_is_an_item() {
        let expected = [
            "struct a { int b; struct { int c; } d; };",
            "typedef struct __attribute__((packed)) { int b; } a_t;",
            "static inline __attribute__((unused)) struct a *f(struct a *a) { if (a) { a++; } return a; }",
            "extern int g(void (*done)(int)) __attribute__((cold));",
            "int table[] = { [0] = (1), { 2 } };",
            "enum { ONE, TWO = ({ 1; }) };",
            "asm(\"nop; }\");",
            "typeof(int) x;",
            "int (*call)(int) = f;",
            "void h(void) { char c = '{'; char *s = \"\\\"}\"; }",
        ];
        assert_eq!(texts(&expected.join("\n")), expected);
        assert_eq!(texts("; ;\n;int a;;"), ["int a;"]);
    }

    #[test]
    fn spaces_are_no_difference() {
        let same = |one: &str, other: &str| items(one)[0].digest == items(other)[0].digest;
        assert!(same("int f ( void ) { return 1 ; }", "int\nf(void){return 1;}"));
        assert!(!same("int f(void);", "int fvoid();"));
    }

    #[test]
    fn directives_that_change_code_count_for_all_behind_them() {
        let digests = |text| items(text).iter().map(|item| item.digest).collect::<Vec<_>>();
        let plain = digests("int a;\nint b;\n");
        assert_eq!(digests("int a;\n#pragma GCC diagnostic push\nint b;\n"), plain);
        let packed = digests("int a;\n#pragma pack(1)\nint b;\n");
        assert_eq!((packed[0], packed[1] == plain[1]), (plain[0], false));
        assert_eq!(digests("int\n#pragma GCC diagnostic push\na;\nint b;\n"), plain);
    }

    #[test]
    fn an_item_knows_its_lines_and_the_text_its_macros() {
        let text = "# 1 \"a.c\"\n# 1 \"./a.h\" 1\nint a;\n#define ONE 1\n#undef TWO\n# 7 \"./a.h\"\n\
                    enum {\n# 1 \"b.h\" 1\nX,\nY\n# 8 \"./a.h\" 2\n};\n";
        let cut = cut(text);
        let spans: Vec<Vec<(&str, u32, u32)>> = cut
            .items
            .iter()
            .map(|item| item.spans.iter().map(|one| (one.file, one.first, one.last)).collect())
            .collect();
        let second = vec![("./a.h", 7, 7), ("b.h", 1, 2), ("./a.h", 8, 8)];
        assert_eq!(spans, [vec![("./a.h", 1, 1)], second]);
        assert_eq!(cut.macros.into_iter().collect::<Vec<_>>(), ["ONE", "TWO"]);
    }
}
