//! Counting lines of code.
//!
//! A line counts when a token of the language is on it, other than a comment. What is compiled
//! for tests only does not count.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::files;

/// Code lines of a package: its Rust sources, and what its linker scripts say.
pub fn of_package(folder: &Path) -> Result<usize> {
    let source = folder.join("src");
    let mut count = 0;
    for path in files(&source, &["rs"])? {
        let inside = path.strip_prefix(&source).unwrap_or(&path);
        let test = inside
            .components()
            .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")));
        if !test {
            count += rust(&read(&path)?).with_context(|| path.display().to_string())?;
        }
    }
    for path in files(folder, &["ld"])? {
        count += c(&read(&path)?);
    }
    Ok(count)
}

/// Code lines of the C sources in a folder.
pub fn of_c(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for path in files(folder, &["c", "h"])? {
        count += c(&read(&path)?);
    }
    Ok(count)
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn rust(text: &str) -> Result<usize> {
    let tokens: TokenStream =
        text.parse().map_err(|error| anyhow::anyhow!("it is no Rust: {error}"))?;
    let mut lines = BTreeSet::new();
    mark(tokens, &mut lines);
    Ok(lines.len())
}

/// Marks the lines of all tokens but those of documentation and of what is for tests only.
fn mark(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let hash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        if hash {
            let mut bang = None;
            if matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == '!') {
                bang = tokens.next();
            }
            if let Some(TokenTree::Group(group)) = tokens.peek() {
                let group = group.clone();
                match attribute(&group) {
                    Attribute::Documentation => {
                        tokens.next();
                        continue;
                    }
                    Attribute::TestOnly if bang.is_none() => {
                        tokens.next();
                        skip_item(&mut tokens);
                        continue;
                    }
                    _ => {}
                }
            }
        }
        match token {
            TokenTree::Group(group) => {
                lines.insert(group.span_open().start().line);
                lines.insert(group.span_close().end().line);
                mark(group.stream(), lines);
            }
            other => {
                let span = other.span();
                lines.extend(span.start().line..=span.end().line);
            }
        }
    }
}

enum Attribute {
    Documentation,
    TestOnly,
    Other,
}

fn attribute(group: &Group) -> Attribute {
    if group.delimiter() != Delimiter::Bracket {
        return Attribute::Other;
    }
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name), TokenTree::Punct(_), ..] if name == "doc" => {
            Attribute::Documentation
        }
        [TokenTree::Ident(name), TokenTree::Group(condition)]
            if name == "cfg" && condition.stream().to_string() == "test" =>
        {
            Attribute::TestOnly
        }
        _ => Attribute::Other,
    }
}

/// Skips to the end of an item: a semicolon or a block.
fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) {
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            _ => {}
        }
    }
}

/// Code lines of C, or of another language with its comments.
fn c(text: &str) -> usize {
    let mut count = 0;
    let mut comment = false;
    for line in text.lines() {
        let mut rest = line;
        let mut code = false;
        while !rest.is_empty() {
            if comment {
                let end = rest.find("*/");
                comment = end.is_none();
                rest = end.and_then(|at| rest.get(at + 2..)).unwrap_or("");
                continue;
            }
            let start = rest.find("/*").unwrap_or(rest.len());
            let (before, after) = rest.split_at(start);
            let before = before.split("//").next().unwrap_or("");
            code |= !before.trim().is_empty();
            comment = !after.is_empty();
            rest = after.get(2..).unwrap_or("");
        }
        count += usize::from(code);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_do_not_count() {
        let text = "//! Docs\n\n/// More\nfn a() {\n    // why\n    b(\"x\n    y\"); /* end */\n}\n\
            #[cfg(test)]\nmod tests {\n    fn c() {}\n}\n#[cfg(not(test))]\nconst D: u8 = 1;\n";
        // fn a() {, b("x, y");, }, #[cfg(not(test))], const
        assert_eq!(rust(text).expect("Rust"), 6);
    }

    #[test]
    fn c_comments_do_not_count() {
        let text = "/* a\n * b\n */ int c;\n// d\n\nint e; /* f */ int g;\n/* h */\n";
        assert_eq!(c(text), 2);
    }
}
