//! Unified diffs.

use super::edits::{Edit, between, replaced};
use super::error::Error;
use super::file_change::FileChange;
use super::path::check_path;

/// What a diff says about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiff {
    /// Path in the source tree.
    pub path: String,
    /// The file is new.
    pub is_new: bool,
    hunks: Vec<Hunk>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk {
    /// The first line that the hunk shows, from 0.
    start: usize,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Same(String),
    Gone(String),
    New(String),
}

/// Reads a diff, as `diff -u` or `git diff` write it, with one folder before each path.
///
/// # Errors
/// When it is malformed or empty, or a path leaves the source tree.
pub fn parse(text: &str) -> Result<Vec<FileDiff>, Error> {
    let mut files: Vec<FileDiff> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let malformed = |reason| Error::Diff { line: number + 1, reason };
        if let Some(old) = line.strip_prefix("--- ") {
            let Some((_, new)) = lines.next_if(|(_, line)| line.starts_with("+++ ")) else {
                continue;
            };
            files.push(file(old, new.get(4..).unwrap_or_default())?);
        } else if let Some(range) = line.strip_prefix("@@ -") {
            let (start, old, new) =
                hunk_range(range).ok_or_else(|| malformed("this is no hunk's head"))?;
            let file = files.last_mut().ok_or_else(|| malformed("no file's name comes before"))?;
            let hunk = hunk(&mut lines, start, old, new)
                .ok_or_else(|| malformed("the hunk has other lines than its head says"))?;
            file.hunks.push(hunk);
        }
    }
    files.retain(|file| !file.hunks.is_empty());
    if files.is_empty() { Err(Error::Empty) } else { Ok(files) }
}

fn file(old: &str, new: &str) -> Result<FileDiff, Error> {
    let name = |text: &str| text.split('\t').next().unwrap_or_default().trim().to_owned();
    let (old, new) = (name(old), name(new));
    let is_new = old == "/dev/null";
    let full = if new == "/dev/null" { old } else { new };
    let path = full.split_once('/').map_or(full.as_str(), |(_, rest)| rest).to_owned();
    check_path(&path)?;
    Ok(FileDiff { path, is_new, hunks: Vec::new() })
}

/// `l,s +l,s @@`: the first line from 0, the lines before and after.
fn hunk_range(text: &str) -> Option<(usize, usize, usize)> {
    let (ranges, _) = text.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let read = |range: &str| -> Option<(usize, usize)> {
        let (start, count) = range.split_once(',').unwrap_or((range, "1"));
        Some((start.parse().ok()?, count.parse().ok()?))
    };
    let ((start, old), (_, new)) = (read(old)?, read(new)?);
    // A hunk without old lines names the line before.
    Some((if old == 0 { start } else { start.checked_sub(1)? }, old, new))
}

fn hunk<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    start: usize,
    mut old: usize,
    mut new: usize,
) -> Option<Hunk> {
    let mut hunk = Hunk { start, lines: Vec::new() };
    while old > 0 || new > 0 {
        let (_, line) = lines.next()?;
        let text = line.get(1..).unwrap_or_default().to_owned();
        hunk.lines.push(match line.as_bytes().first() {
            // Mail programs drop the space of an empty line.
            Some(b' ') | None => {
                old = old.checked_sub(1)?;
                new = new.checked_sub(1)?;
                Line::Same(text)
            }
            Some(b'-') => {
                old = old.checked_sub(1)?;
                Line::Gone(text)
            }
            Some(b'+') => {
                new = new.checked_sub(1)?;
                Line::New(text)
            }
            Some(b'\\') => continue,
            Some(_) => return None,
        });
    }
    Some(hunk)
}

/// The changes that the parts of a diff make together. Each part after the first about a file, such
/// as that of a later commit, is fitted to what those before it make of the file. `read` gives a
/// file's text; `None` when there is no such file.
///
/// # Errors
/// When a part does not fit, a file is missing, `read` fails, or nothing remains of the changes.
pub fn fit_all<E: From<Error>>(
    diffs: &[FileDiff],
    mut read: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<Vec<FileChange>, E> {
    let mut changes: Vec<FileChange> = Vec::new();
    for diff in diffs {
        if let Some(change) = changes.iter_mut().find(|change| change.path == diff.path) {
            let now = replaced(&change.before, &change.edits);
            let then = replaced(&now, &diff.fit(&now)?.edits);
            change.edits = between(&change.before, &then);
            continue;
        }
        changes.push(match read(&diff.path)? {
            Some(before) => diff.fit(&before)?,
            None if diff.is_new => diff.fit("")?,
            None => return Err(Error::NoFile(diff.path.clone()).into()),
        });
    }
    changes.retain(|change| !change.edits.is_empty());
    if changes.is_empty() { Err(Error::Empty.into()) } else { Ok(changes) }
}

impl FileDiff {
    /// The change that the diff makes in this text. A hunk may stand at another line than the
    /// diff says when its lines are there once only.
    ///
    /// # Errors
    /// When a hunk's lines are not there.
    pub fn fit(&self, before: &str) -> Result<FileChange, Error> {
        let lines: Vec<&str> = before.lines().collect();
        let mut edits = Vec::new();
        let mut from = 0;
        for hunk in &self.hunks {
            let start = hunk.place(&lines, from).ok_or_else(|| Error::DoesNotFit {
                path: self.path.clone(),
                line: hunk.start + 1,
            })?;
            from = hunk.edits(start, &mut edits);
        }
        Ok(FileChange { path: self.path.clone(), before: before.to_owned(), edits })
    }
}

impl Hunk {
    fn old_lines(&self) -> Vec<&str> {
        let old = |line| match line {
            &Line::Same(ref text) | &Line::Gone(ref text) => Some(text.as_str()),
            &Line::New(_) => None,
        };
        self.lines.iter().filter_map(old).collect()
    }

    fn place(&self, lines: &[&str], from: usize) -> Option<usize> {
        let old = self.old_lines();
        let fits = |at: usize| lines.get(at..at + old.len()).is_some_and(|there| there == old);
        if self.start >= from && fits(self.start) {
            return Some(self.start);
        }
        if old.is_empty() {
            return None;
        }
        let mut places = (from..lines.len()).filter(|at| fits(*at));
        let first = places.next()?;
        places.next().is_none().then_some(first)
    }

    /// Adds the edits of this hunk, and says where it ends.
    fn edits(&self, start: usize, edits: &mut Vec<Edit>) -> usize {
        let mut at = start;
        let mut open: Option<Edit> = None;
        for line in &self.lines {
            match line {
                Line::Same(_) => {
                    edits.extend(open.take());
                    at += 1;
                }
                Line::Gone(_) => {
                    let edit = open.get_or_insert(Edit { start: at, end: at, lines: Vec::new() });
                    at += 1;
                    edit.end = at;
                }
                Line::New(text) => open
                    .get_or_insert(Edit { start: at, end: at, lines: Vec::new() })
                    .lines
                    .push(text.clone()),
            }
        }
        edits.extend(open);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/mm/x.c b/mm/x.c\n--- a/mm/x.c\t2026\n+++ b/mm/x.c\n\
        @@ -2,3 +2,4 @@ int f(void)\n b\n-c\n+C\n+D\n d\n";

    #[test]
    fn a_diff_is_read_and_fits() {
        let files = parse(DIFF).unwrap();
        assert_eq!(files.len(), 1);
        let change = files[0].fit("a\nb\nc\nd\n").unwrap();
        assert_eq!(change.path, "mm/x.c");
        let indent = " ".repeat(crate::change::INDENT);
        assert_eq!(change.after().replace(&indent, ""), "a\nb\nC\nD\n#line 4\nd\n");
    }

    #[test]
    fn a_hunk_may_have_moved_when_it_is_unique() {
        let diff = &parse(DIFF).unwrap()[0];
        assert_eq!(diff.fit("1\n2\n3\nb\nc\nd\n").unwrap().edits[0].start, 4);
        assert!(diff.fit("1\n2\n3\nb\nc\nd\nb\nc\nd\n").is_err());
        assert!(diff.fit("a\nb\nx\nd\n").is_err());
    }

    #[test]
    fn a_later_part_changes_what_an_earlier_one_made() {
        let series = format!(
            "{DIFF}--- a/mm/y.c\n+++ b/mm/y.c\n@@ -1 +1 @@\n-e\n+E\n\
             --- a/mm/x.c\n+++ b/mm/x.c\n@@ -3,3 +3,3 @@\n C\n-D\n+F\n d\n"
        );
        let read = |path: &str| {
            Ok(Some(String::from(if path == "mm/x.c" { "a\nb\nc\nd\n" } else { "e\n" })))
        };
        let changes = fit_all::<Error>(&parse(&series).unwrap(), read).unwrap();
        let texts: Vec<String> =
            changes.iter().map(|change| replaced(&change.before, &change.edits)).collect();
        assert_eq!(texts, ["a\nb\nC\nF\nd\n", "E\n"]);
        assert_eq!(changes[0].before, "a\nb\nc\nd\n");
        // A part that fits only the first text does not fit the second.
        let twice = parse(&format!("{DIFF}{DIFF}")).unwrap();
        assert!(matches!(fit_all::<Error>(&twice, read), Err(Error::DoesNotFit { .. })));
        let back = "--- a/mm/x.c\n+++ b/mm/x.c\n@@ -2,4 +2,3 @@\n b\n-C\n-D\n+c\n d\n";
        let nothing = parse(&format!("{DIFF}{back}")).unwrap();
        assert!(matches!(fit_all::<Error>(&nothing, read), Err(Error::Empty)));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in ["", "@@ -1 +1 @@\n-a\n+b\n", "--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n").is_err());
    }
}
