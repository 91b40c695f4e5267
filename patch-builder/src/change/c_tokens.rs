//! The tokens of C source, without comments.

/// A word, a number, a literal or a character of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// As it stands there.
    pub text: &'a str,
    /// Its line, from 0.
    pub line: usize,
    /// Nothing is before it on its line; the lines that `\` joins are one.
    pub is_first: bool,
    /// It stands in the first column.
    pub in_first_column: bool,
}

impl Token<'_> {
    /// Whether it is an identifier.
    #[must_use]
    pub fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }
}

/// Reads all tokens. What is no C gives tokens too; a literal ends with its line at the latest.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut reader = Reader { text, at: 0, line: 0, line_start: 0, is_first: true };
    let mut tokens = Vec::new();
    while let Some(token) = reader.token() {
        tokens.push(token);
    }
    tokens
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
    is_first: bool,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        let rest = self.rest();
        let first = rest.chars().next()?;
        let length = match first {
            '"' | '\'' => literal(rest, first),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (line, is_first) = (self.line, self.is_first);
        let in_first_column = self.at == self.line_start;
        let text = rest.get(..length)?;
        self.skip(length);
        self.is_first = false;
        Some(Token { text, line, is_first, in_first_column })
    }

    /// Goes on to the next token.
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                let inside = rest.get(2..).unwrap_or_default();
                self.skip(inside.find("*/").map_or(rest.len(), |length| length + 4));
            } else if rest.starts_with("//") {
                self.skip(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("\\\n") {
                self.skip(2);
            } else if rest.starts_with('\n') {
                self.skip(1);
                self.is_first = true;
            } else if let Some(space) = rest.chars().next().filter(|c| c.is_whitespace()) {
                self.skip(space.len_utf8());
            } else {
                return;
            }
        }
    }

    fn skip(&mut self, length: usize) {
        let skipped = self.rest().get(..length).unwrap_or_default();
        self.line += skipped.matches('\n').count();
        if let Some(last) = skipped.rfind('\n') {
            self.line_start = self.at + last + 1;
        }
        self.at += length;
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of a literal with its quotes.
fn literal(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            '\n' => return at,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_spaces_are_none() {
        let text = "int a; /* b\n * c */ d // e\n#define F(x) \\\n\t\"/* \\\"\" 'x'\ng";
        let found = tokens(text);
        let texts: Vec<&str> = found.iter().map(|token| token.text).collect();
        let expected =
            ["int", "a", ";", "d", "#", "define", "F", "(", "x", ")", "\"/* \\\"\"", "'x'", "g"];
        assert_eq!(texts, expected);
        let first: Vec<&str> =
            found.iter().filter(|token| token.is_first).map(|token| token.text).collect();
        assert_eq!(first, ["int", "#", "g"]);
        assert_eq!(found.last().map(|token| (token.line, token.in_first_column)), Some((4, true)));
    }

    #[test]
    fn what_is_no_c_has_tokens_too() {
        assert_eq!(tokens("don't\n\u{e9} x").len(), 4);
        assert_eq!(tokens("/* open").len(), 0);
        assert_eq!(tokens("\"open").len(), 1);
    }
}
