//! Replaced lines, and how they are applied.
//!
//! Many macros of the kernel note the line they stand in. A change that moved the lines behind it
//! would change every function there that warns. So a `#line` directive follows each edit that
//! changes the number of lines. An edit that adds lines thus gives them the numbers of lines behind
//! it; these added lines begin in another column than any line that was there, so that the compiler's
//! notes of line and column still tell which line is meant.

use similar::{Algorithm, DiffOp, TextDiff};

/// Spaces in front of an added line that has the number of another one. No line of the kernel is as
/// long, and GCC counts columns up to four times as far.
pub const INDENT: usize = 1024;

/// Lines that are replaced by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The first line that goes, from 0.
    pub start: usize,
    /// The line behind the last that goes.
    pub end: usize,
    /// What takes their place, without line ends.
    pub lines: Vec<String>,
}

/// The edits that make one text of another.
#[must_use]
pub fn between(before: &str, after: &str) -> Vec<Edit> {
    let new: Vec<&str> = after.lines().collect();
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).diff_lines(before, after);
    diff.ops()
        .iter()
        .filter(|op| !matches!(op, DiffOp::Equal { .. }))
        .map(|op| Edit {
            start: op.old_range().start,
            end: op.old_range().end,
            lines: new
                .get(op.new_range())
                .unwrap_or_default()
                .iter()
                .map(|line| (*line).to_owned())
                .collect(),
        })
        .collect()
}

/// The text with the edits, without directives.
#[must_use]
pub fn replaced(before: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<&str> = before.lines().collect();
    for edit in edits.iter().rev() {
        let end = edit.end.min(lines.len());
        lines.splice(edit.start.min(end)..end, edit.lines.iter().map(String::as_str));
    }
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// The text with the edits, which are in ascending order.
#[must_use]
pub fn apply(before: &str, edits: &[Edit]) -> String {
    let mut output = Output::default();
    let mut edits = edits.iter().peekable();
    let mut lines = before.lines().enumerate().peekable();
    loop {
        let number = lines.peek().map(|(number, _)| *number);
        let here = edits.next_if(|edit| number.is_none_or(|number| edit.start <= number));
        if let Some(edit) = here {
            for (nth, line) in edit.lines.iter().enumerate() {
                output.added(line, edit.start + nth >= edit.end);
            }
            while lines.next_if(|(number, _)| *number < edit.end).is_some() {}
            output.moved |= edit.lines.len() != edit.end - edit.start;
            continue;
        }
        let Some((number, line)) = lines.next() else {
            return output.text;
        };
        output.unchanged(number, line);
    }
}

#[derive(Default)]
struct Output {
    text: String,
    /// The next line has another number than before.
    moved: bool,
    in_comment: bool,
    continued: bool,
}

impl Output {
    fn unchanged(&mut self, number: usize, line: &str) {
        // A directive counts only at the start of a line of its own.
        if self.moved && !self.in_comment && !self.continued {
            self.text.push_str(&format!("#line {}\n", number + 1));
            self.moved = false;
        }
        self.line(line);
    }

    /// A line of an edit, and whether its number is that of another one.
    fn added(&mut self, line: &str, is_double: bool) {
        // A part of a string or comment stays as it is.
        if is_double && !self.in_comment && !self.continued && !line.trim().is_empty() {
            self.text.push_str(&" ".repeat(INDENT));
        }
        self.line(line);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.continued = line.ends_with('\\');
        self.in_comment = ends_in_comment(line, self.in_comment);
    }
}

/// Whether a block comment is open at the end of a line.
fn ends_in_comment(line: &str, mut inside: bool) -> bool {
    let bytes = line.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match (inside, quote, byte, next) {
            (true, _, b'*', Some(b'/')) => {
                inside = false;
                at += 1;
            }
            (true, ..) => {}
            (_, Some(_), b'\\', _) => at += 1,
            (_, Some(open), ..) if byte == open => quote = None,
            (_, Some(_), ..) => {}
            (_, None, b'"' | b'\'', _) => quote = Some(byte),
            (_, None, b'/', Some(b'/')) => return false,
            (_, None, b'/', Some(b'*')) => {
                inside = true;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(start: usize, end: usize, lines: &[&str]) -> Edit {
        Edit { start, end, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let before = "a\nb\nc\nd\n";
        let space = " ".repeat(INDENT);
        let apply = |edit: Edit| apply(before, &[edit]).replace(&space, "~");
        assert_eq!(apply(edit(1, 2, &["B", "C"])), "a\nB\n~C\n#line 3\nc\nd\n");
        assert_eq!(apply(edit(1, 2, &["B"])), "a\nB\nc\nd\n");
        assert_eq!(apply(edit(0, 0, &["x"])), "~x\n#line 1\na\nb\nc\nd\n");
        assert_eq!(apply(edit(4, 4, &["x"])), "a\nb\nc\nd\n~x\n");
        assert_eq!(apply(edit(1, 3, &[])), "a\n#line 4\nd\n");
    }

    #[test]
    fn a_directive_waits_for_the_end_of_a_macro_or_comment() {
        let before = "#define A \\\n\tb \\\n\tc\nd\n";
        let after = "#define A \\\n\tx \\\n\tb \\\n\tc\n#line 4\nd\n";
        assert_eq!(apply(before, &[edit(1, 1, &["\tx \\"])]), after);
        let before = "/* a\n b\n c */\nd\n";
        let after = "/* a\n x\n b\n c */\n#line 4\nd\n";
        assert_eq!(apply(before, &[edit(1, 1, &[" x"])]), after);
    }

    #[test]
    fn comments_in_strings_are_none() {
        assert!(!ends_in_comment("x = \"/*\";", false));
        assert!(!ends_in_comment("'\"'; // /*", false));
        assert!(ends_in_comment("\"\\\"\" /* x", false));
        assert!(!ends_in_comment("*/ x", true));
    }

    #[test]
    fn the_edits_between_two_texts_make_one_of_the_other() {
        let before = "int a;\n\nint f(void)\n{\n\treturn a;\n}\n";
        let after = "int a;\nint b;\n\nint f(void)\n{\n\treturn b;\n}\n";
        let edits = between(before, after);
        assert_eq!(replaced(before, &edits), after);
        assert_eq!(edits, [edit(1, 1, &["int b;"]), edit(4, 5, &["\treturn b;"])]);
        let applied = apply(before, &edits).replace(&" ".repeat(INDENT), "");
        assert_eq!(applied.replace("#line 2\n", ""), after);
    }
}
