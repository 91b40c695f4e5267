//! Which line of the source with the change is which of the source without it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::debug_info::SourcePlace;
use crate::input::SourceChange;

/// So many letters and digits are no accident: lines that are elsewhere and have them were moved
/// there.
pub(crate) const TELLING: usize = 20;

/// A line of a file. Of a changed file the line of its text, from 0, whatever `#line` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    pub(crate) file: Rc<str>,
    pub(crate) line: usize,
}

/// The source files of both objects.
#[derive(Debug, Default)]
pub(crate) struct SourceLines {
    files: Vec<(String, File)>,
}

/// Both texts of a changed file.
#[derive(Debug)]
struct File {
    before: Vec<Line>,
    after: Vec<Line>,
    /// The lines of `after` by the number that the compiler knows them by.
    numbers: HashMap<u64, Vec<usize>>,
}

/// A line of a changed file.
#[derive(Debug)]
struct Line {
    raw: String,
    /// Without what is space only.
    text: String,
    /// The line of the other text that it is.
    other: Option<usize>,
    /// Lines that stay are between the two places.
    is_moved: bool,
    /// How many lines in front of it have stayed in their place.
    gap: usize,
    /// Which piece of the text it is in: a piece ends where a function does.
    piece: usize,
}

impl SourceLines {
    /// Reads the changed files; `before` and `after` are the objects' functions.
    pub(crate) fn new(
        changes: &[SourceChange<'_>],
        before: &[(String, SourcePlace)],
        after: &[(String, SourcePlace)],
    ) -> Self {
        let file = |change: &SourceChange<'_>| {
            let own = |functions: &[(String, SourcePlace)]| -> Vec<(String, u64)> {
                let own = functions.iter().filter(|(_, place)| is_path(&place.file, change.path));
                own.map(|(name, place)| (name.clone(), place.line)).collect()
            };
            (change.path.to_owned(), File::new(change, &own(before), &own(after)))
        };
        Self { files: changes.iter().map(file).collect() }
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|(known, _)| is_path(path, known)).map(|(_, file)| file)
    }

    /// The line without the change that the compiler means.
    pub(crate) fn before(&self, place: &SourcePlace) -> Option<Spot> {
        let line = usize::try_from(place.line).ok()?;
        let line = if self.file(&place.file).is_some() { line.checked_sub(1)? } else { line };
        Some(Spot { file: place.file.clone(), line })
    }

    /// The line with the change that the compiler means; `None` when two have its number and the
    /// column does not tell.
    pub(crate) fn after(&self, place: &SourcePlace) -> Option<Spot> {
        let Some(file) = self.file(&place.file) else {
            let line = usize::try_from(place.line).ok()?;
            return Some(Spot { file: place.file.clone(), line });
        };
        let column = usize::try_from(place.column).ok()?.checked_sub(1);
        let begins_something = |line: &&usize| {
            let byte = column.and_then(|at| file.after.get(**line)?.raw.as_bytes().get(at));
            byte.is_some_and(|byte| !byte.is_ascii_whitespace())
        };
        let line = match file.numbers.get(&place.line)?.as_slice() {
            [only] => *only,
            several => {
                let mut fit = several.iter().filter(begins_something);
                let first = fit.next()?;
                if fit.next().is_some() {
                    return None;
                }
                *first
            }
        };
        Some(Spot { file: place.file.clone(), line })
    }

    /// Where a line is with the change.
    pub(crate) fn moved_to(&self, before: &Spot) -> Option<Spot> {
        let line = match self.file(&before.file) {
            None => before.line,
            Some(file) => file.before.get(before.line)?.other?,
        };
        Some(Spot { file: before.file.clone(), line })
    }

    /// A line is still there, and in its place.
    pub(crate) fn stays(&self, before: &Spot) -> bool {
        self.file(&before.file).is_none_or(|file| {
            let line = file.before.get(before.line);
            line.is_some_and(|line| line.other.is_some() && !line.is_moved)
        })
    }

    /// A line of the text with the change is one that was there before.
    pub(crate) fn is_old(&self, after: &Spot) -> bool {
        self.file(&after.file)
            .is_none_or(|file| file.after.get(after.line).is_some_and(|line| line.other.is_some()))
    }

    /// The text of a line without spaces, if its file is a changed one.
    pub(crate) fn text_before(&self, before: &Spot) -> Option<&str> {
        Some(&self.file(&before.file)?.before.get(before.line)?.text)
    }

    /// The same of the text with the change.
    pub(crate) fn text_after(&self, after: &Spot) -> Option<&str> {
        Some(&self.file(&after.file)?.after.get(after.line)?.text)
    }

    /// The statement at a place without the change, if its file is a changed one.
    pub(crate) fn statement_before(&self, place: &SourcePlace) -> Option<&str> {
        let spot = self.before(place)?;
        let line = self.file(&spot.file)?.before.get(spot.line)?;
        Some(statement(&line.raw, place.column))
    }

    /// The same with the change.
    pub(crate) fn statement_after(&self, place: &SourcePlace) -> Option<&str> {
        let spot = self.after(place)?;
        let line = self.file(&spot.file)?.after.get(spot.line)?;
        Some(statement(&line.raw, place.column))
    }

    /// Both lines are part of one edit: one goes, and the other comes in its place.
    pub(crate) fn is_one_edit(&self, before: &Spot, after: &Spot) -> bool {
        let Some(file) = self.file(&before.file).filter(|_| before.file == after.file) else {
            return false;
        };
        match (file.before.get(before.line), file.after.get(after.line)) {
            (Some(old), Some(new)) => {
                old.other.is_none() && new.other.is_none() && old.gap == new.gap
            }
            _ => false,
        }
    }
}

/// The statement that begins at a place, as far as it stands on the line, without the macro's name;
/// from the line's beginning when the column is not known.
fn statement(line: &str, column: u64) -> &str {
    let start = usize::try_from(column).unwrap_or(0).saturating_sub(1);
    let rest = line.get(start..).unwrap_or(line);
    let statement = rest.split_once(';').map_or(rest, |(statement, _)| statement).trim();
    statement.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
}

/// The compiler may be given more of a path.
fn is_path(path: &str, known: &str) -> bool {
    path == known || path.strip_suffix(known).is_some_and(|folder| folder.ends_with('/'))
}

/// A text has a word.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|one| one == word)
}

/// Letters and digits of a text.
pub(crate) fn letters(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_alphanumeric).count()
}

impl File {
    /// Reads both texts; the functions have the numbers of their lines.
    fn new(
        change: &SourceChange<'_>,
        before_functions: &[(String, u64)],
        after_functions: &[(String, u64)],
    ) -> Self {
        let before: Vec<&str> = change.before.lines().collect();
        let mut after = Vec::new();
        let mut numbers: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut number = 1;
        for line in change.after.lines() {
            if let Some(next) = line.strip_prefix("#line ").and_then(|next| next.parse().ok()) {
                number = next;
                continue;
            }
            numbers.entry(number).or_default().push(after.len());
            after.push(line);
            number = number.saturating_add(1);
        }
        let mut file = Self { before: lines(&before), after: lines(&after), numbers };
        file.align(before_functions, after_functions);
        file.find_moved();
        file
    }

    /// Lines that stay in their order: those of each function, and those between functions. So a line
    /// of one function is not taken for that of another one.
    fn align(&mut self, before: &[(String, u64)], after: &[(String, u64)]) {
        let olds = pieces_of(before, |number| {
            let line = usize::try_from(number).ok()?.checked_sub(1)?;
            Some(self.before.get(line)?.piece)
        });
        let news = pieces_of(after, |number| match self.numbers.get(&number)?.as_slice() {
            [only] => Some(self.after.get(*only)?.piece),
            // One with the head of a function on it is as good as the other.
            several => Some(self.after.get(*several.last()?)?.piece),
        });
        let mut pairs: BTreeMap<usize, usize> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (name, old) in &olds {
            if let Some(new) = news.get(name)
                && !pairs.contains_key(old)
                && taken.insert(*new)
            {
                pairs.insert(*old, *new);
            }
        }
        let has_function = |pieces: &BTreeMap<&str, usize>| -> BTreeSet<usize> {
            pieces.values().copied().collect()
        };
        let (with_old, with_new) = (has_function(&olds), has_function(&news));
        for (old, new) in pairs {
            self.align_some(|piece| piece == old, |piece| piece == new);
        }
        self.align_some(|piece| !with_old.contains(&piece), |piece| !with_new.contains(&piece));
        for lines in [&mut self.before, &mut self.after] {
            let mut gaps: HashMap<usize, usize> = HashMap::new();
            for line in lines {
                let gap = gaps.entry(line.piece).or_default();
                line.gap = *gap;
                *gap += usize::from(line.other.is_some());
            }
        }
    }

    fn align_some(&mut self, is_old: impl Fn(usize) -> bool, is_new: impl Fn(usize) -> bool) {
        let chosen = |lines: &[Line], is_one: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..lines.len())
                .filter(|at| lines.get(*at).is_some_and(|line| is_one(line.piece)))
                .collect()
        };
        let (before, after) = (chosen(&self.before, &is_old), chosen(&self.after, &is_new));
        let texts = |lines: &[Line], chosen: &[usize]| -> Vec<String> {
            chosen.iter().filter_map(|at| Some(lines.get(*at)?.text.clone())).collect()
        };
        let (old, new) = (texts(&self.before, &before), texts(&self.after, &after));
        for op in capture_diff_slices(Algorithm::Patience, &old, &new) {
            let DiffOp::Equal { old_index, new_index, len } = op else { continue };
            for at in 0..len {
                if let (Some(old), Some(new)) =
                    (before.get(old_index + at), after.get(new_index + at))
                {
                    self.join(*old, *new, false);
                }
            }
        }
    }

    fn join(&mut self, old: usize, new: usize, is_moved: bool) {
        if let (Some(before), Some(after)) = (self.before.get_mut(old), self.after.get_mut(new)) {
            (before.other, before.is_moved) = (Some(new), is_moved);
            (after.other, after.is_moved) = (Some(old), is_moved);
        }
    }

    /// Lines that go in one place and come in another, the longest runs first.
    fn find_moved(&mut self) {
        let mut by_text: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let is_open = |line: &Line| line.other.is_none() && !line.text.is_empty();
        for (new, line) in self.after.iter().enumerate().filter(|(_, line)| is_open(line)) {
            by_text.entry(&line.text).or_default().push(new);
        }
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for (old, line) in self.before.iter().enumerate().filter(|(_, line)| is_open(line)) {
            for new in by_text.get(line.text.as_str()).into_iter().flatten() {
                let before_it = old.checked_sub(1).zip(new.checked_sub(1));
                if before_it.is_none_or(|(old, new)| !self.is_same(old, new)) {
                    runs.push((self.run(old, *new), old, *new));
                }
            }
        }
        runs.sort_by_key(|(length, old, new)| (std::cmp::Reverse(*length), *old, *new));
        let mut counts: HashMap<(usize, bool, usize), usize> = HashMap::new();
        for (length, old, new) in &runs {
            *counts.entry((*length, true, *old)).or_default() += 1;
            *counts.entry((*length, false, *new)).or_default() += 1;
        }
        let is_only = |(length, old, new): &(usize, usize, usize)| {
            let count = |key| counts.get(&key).copied();
            (count((*length, true, *old)), count((*length, false, *new))) == (Some(1), Some(1))
        };
        let clear: Vec<_> = runs.iter().filter(|run| is_only(run)).copied().collect();
        for (length, old, new) in clear {
            let text = (old..old + length).filter_map(|at| self.before.get(at));
            let is_telling = text.map(|line| letters(&line.text)).sum::<usize>() >= TELLING;
            let is_free = (0..length).all(|at| self.is_same(old + at, new + at));
            if is_telling && is_free {
                (0..length).for_each(|at| self.join(old + at, new + at, true));
            }
        }
    }

    /// Two lines have one text and no counterpart yet.
    fn is_same(&self, old: usize, new: usize) -> bool {
        match (self.before.get(old), self.after.get(new)) {
            (Some(old), Some(new)) => {
                old.other.is_none() && new.other.is_none() && old.text == new.text
            }
            _ => false,
        }
    }

    fn run(&self, old: usize, new: usize) -> usize {
        (0..).take_while(|at| self.is_same(old + at, new + at)).count()
    }
}

/// The piece that each function is in.
fn pieces_of(
    functions: &[(String, u64)],
    piece: impl Fn(u64) -> Option<usize>,
) -> BTreeMap<&str, usize> {
    let found = functions.iter().filter_map(|(name, line)| Some((name.as_str(), piece(*line)?)));
    found.collect()
}

fn lines(text: &[&str]) -> Vec<Line> {
    let mut piece = 0;
    let mut all = Vec::new();
    for raw in text {
        all.push(Line {
            raw: (*raw).to_owned(),
            text: raw.split_whitespace().collect::<Vec<_>>().join(" "),
            other: None,
            is_moved: false,
            gap: 0,
            piece,
        });
        piece += usize::from(raw.starts_with('}'));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u64, column: u64) -> SourcePlace {
        SourcePlace { file: "mm/x.c".into(), line, column }
    }

    fn sources(before: &str, after: &str) -> SourceLines {
        SourceLines::new(&[SourceChange { path: "mm/x.c", before, after }], &[], &[])
    }

    #[test]
    fn a_number_that_two_lines_have_is_told_by_the_column() {
        let after = "a\nb1\n    b2\n#line 3\nc\n";
        let sources = sources("a\nb\nc\n", after);
        let line = |line, column| sources.after(&place(line, column)).map(|spot| spot.line);
        assert_eq!(line(2, 1), Some(1));
        assert_eq!(line(3, 5), Some(2), "the line that was added");
        assert_eq!(line(3, 1), Some(3), "the line that was there");
        assert_eq!(line(3, 9), None);
        assert_eq!(line(9, 1), None);
        assert!(sources.is_old(&Spot { file: "mm/x.c".into(), line: 3 }));
        assert!(!sources.is_old(&Spot { file: "mm/x.c".into(), line: 2 }));
    }

    #[test]
    fn lines_that_move_together_are_found_again() {
        let block = "if (error) {\nstatic int told;\nreport(error, told++);\n}\n";
        let rest = "one();\ntwo();\nthree();\nfour();\nfive();\n";
        let sources = sources(&format!("{block}{rest}"), &format!("{rest}\t{block}"));
        let moved = |line| {
            let spot = Spot { file: "/build/mm/x.c".into(), line };
            sources.moved_to(&spot).map(|spot| spot.line)
        };
        assert_eq!((moved(1), moved(4)), (Some(6), Some(0)));
    }

    #[test]
    fn a_short_line_elsewhere_is_no_move() {
        let sources = sources("x++;\na();\nb();\nc();\n", "a();\nb();\nc();\nx++;\n");
        assert_eq!(sources.moved_to(&Spot { file: "mm/x.c".into(), line: 0 }), None);
    }
}
