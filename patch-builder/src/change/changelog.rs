//! Finds a fix in the changelog of the distribution's source package.
//!
//! The changelog names subjects and CVE numbers, but no files. So the words of the subject are
//! looked for in what differs between the two sources; how well the best file fits compared to the
//! others says how sure that is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::c_source::words;
use super::{Error, between};

/// An entry of a changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The version of the package that has it.
    pub version: String,
    /// What it says, on one line.
    pub text: String,
}

/// A file that may be what an entry is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its path in the source.
    pub file: String,
    /// The functions that differ.
    pub functions: Vec<String>,
    /// The words of the subject found in it.
    pub words: Vec<String>,
    /// How likely it is the one, from 0 to 1.
    pub likelihood: f64,
}

/// The entries that name a CVE, newest first.
#[must_use]
pub fn find(changelog: &str, cve: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut version = "";
    let mut text = String::new();
    for line in changelog.lines().chain([""]) {
        let trimmed = line.trim();
        let starts = trimmed.starts_with("- ") || trimmed.starts_with("* ") || trimmed.is_empty();
        if starts || !line.starts_with(' ') {
            if words_of_numbers(&text).any(|word| word == cve) {
                found.push(Entry { version: version.to_owned(), text: text.clone() });
            }
            text.clear();
        }
        if let Some(rest) = line.strip_prefix("linux (") {
            version = rest.split(')').next().unwrap_or_default();
        } else if !trimmed.is_empty() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(trimmed.trim_start_matches(['-', '*']).trim_start());
        }
    }
    found
}

/// The words of a text where a number with hyphens is one.
fn words_of_numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

/// The C files and headers that differ between two sources, in the parts that x86 compiles.
///
/// # Errors
/// When a folder cannot be read.
pub fn changed_files(from: &Path, to: &Path) -> Result<Vec<String>, Error> {
    let mut changed = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let place = to.join(&folder);
        let entries =
            fs::read_dir(&place).map_err(|source| Error::File { path: place.clone(), source })?;
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
                if !is_foreign(&path) {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "c" || end == "h")
                && fs::read(from.join(&path)).ok() != fs::read(to.join(&path)).ok()
            {
                changed.push(path.to_string_lossy().into_owned());
            }
        }
    }
    changed.sort();
    Ok(changed)
}

/// Folders whose files never run on this kernel.
fn is_foreign(path: &Path) -> bool {
    let text = path.to_string_lossy();
    match text.strip_prefix("arch/") {
        Some(architecture) => !architecture.starts_with("x86"),
        None => matches!(&*text, "Documentation" | "tools" | "samples" | "scripts"),
    }
}

/// The files that fit the subjects of entries best, best first.
///
/// # Errors
/// When a file cannot be read.
pub fn candidates(
    entries: &[Entry],
    from: &Path,
    to: &Path,
    files: &[String],
) -> Result<Vec<Candidate>, Error> {
    let subject: BTreeSet<String> =
        entries.iter().flat_map(|entry| subject_words(&entry.text)).collect();
    let mut found: Vec<(String, BTreeSet<String>, Vec<String>)> = Vec::new();
    for file in files {
        let (before, after) = (read(&from.join(file))?, read(&to.join(file))?);
        let mut there: BTreeSet<String> = words(file).map(str::to_lowercase).collect();
        let edits = between(&before, &after);
        let old: Vec<&str> = before.lines().collect();
        for edit in &edits {
            let gone = old.get(edit.start..edit.end).unwrap_or_default().iter().copied();
            let lines = gone.chain(edit.lines.iter().map(String::as_str));
            there.extend(lines.flat_map(words).map(str::to_lowercase));
        }
        let change = super::FileChange { path: file.clone(), before, edits };
        let functions = change.edited_functions();
        there.extend(functions.iter().map(|name| name.to_lowercase()));
        let hits: BTreeSet<String> =
            subject.iter().filter(|word| names(&there, word)).cloned().collect();
        if !hits.is_empty() {
            found.push((file.clone(), hits, functions));
        }
    }
    Ok(rank(found, files.len()))
}

/// Rare words count more than those that many files have.
fn rank(found: Vec<(String, BTreeSet<String>, Vec<String>)>, count: usize) -> Vec<Candidate> {
    const SHOWN: usize = 5;
    let mut spread: BTreeMap<String, usize> = BTreeMap::new();
    for word in found.iter().flat_map(|(_, hits, _)| hits) {
        *spread.entry(word.clone()).or_default() += 1;
    }
    let weight = |word: &String| {
        let files = spread.get(word).copied().unwrap_or(1);
        // An identifier says more than a word of English, which comments have too.
        let kind = if word.contains('_') { 3.0 } else { 1.0 };
        kind * (count.max(1) as f64 / files as f64).ln_1p()
    };
    let mut scored: Vec<(f64, Candidate)> = found
        .into_iter()
        .map(|(file, hits, functions)| {
            let named = hits.iter().filter(|word| is_in_a_name(word, &functions));
            let score: f64 = hits.iter().chain(named).map(weight).sum();
            let words = hits.into_iter().collect();
            (score, Candidate { file, functions, words, likelihood: 0.0 })
        })
        .collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.truncate(SHOWN);
    // Steep: twice the score is far more than twice as likely.
    let total: f64 = scored.iter().map(|(score, _)| score.powi(4)).sum();
    scored
        .into_iter()
        .map(|(score, candidate)| Candidate { likelihood: score.powi(4) / total, ..candidate })
        .collect()
}

/// Whether a function's name has all parts of an identifier, as `__qdisc_calculate_pkt_len` has
/// those of `qdisc_pkt_len`.
fn is_in_a_name(identifier: &str, functions: &[String]) -> bool {
    identifier.contains('_')
        && functions.iter().any(|name| {
            let name = name.to_lowercase();
            identifier.split('_').all(|part| name.split('_').any(|other| other == part))
        })
}

/// The words of a subject that say what it is about.
fn subject_words(text: &str) -> BTreeSet<String> {
    const EMPTY: [&str; 18] = [
        "fix", "the", "a", "an", "in", "of", "to", "for", "and", "on", "use", "add", "with", "not",
        "from", "when", "is", "by",
    ];
    let subject = text.split("(CVE").next().unwrap_or(text);
    words(subject)
        .map(str::to_lowercase)
        .filter(|word| word.len() > 1 && !EMPTY.contains(&word.as_str()))
        .collect()
}

/// Whether a word stands there, or as a part of an identifier.
fn names(there: &BTreeSet<String>, word: &str) -> bool {
    there.contains(word)
        || word.len() > 3 && there.iter().any(|known| known.split('_').any(|part| part == word))
}

fn read(path: &Path) -> Result<String, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        // New in the newer source, or gone.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "linux (6.1.190-1) bookworm-security; urgency=high\n\n  * New upstream:\n\
        \x20   - net/sched: bound qdisc_pkt_len to prevent\n      qdisc soft lockup (CVE-2026-90058)\n\
        \x20   - mm: other (CVE-2026-900)\n\n -- A <a@b>  Mon\n\n\
        linux (6.1.187-1) bookworm; urgency=high\n\n  * x (CVE-2026-1, CVE-2026-900)\n";

    #[test]
    fn an_entry_spans_lines_and_has_its_version() {
        let found = find(CHANGELOG, "CVE-2026-90058");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].version, "6.1.190-1");
        assert_eq!(
            found[0].text,
            "net/sched: bound qdisc_pkt_len to prevent qdisc soft lockup (CVE-2026-90058)"
        );
        let versions: Vec<String> =
            find(CHANGELOG, "CVE-2026-900").into_iter().map(|entry| entry.version).collect();
        assert_eq!(versions, ["6.1.190-1", "6.1.187-1"]);
        assert!(find(CHANGELOG, "CVE-2026-9").is_empty());
    }

    #[test]
    fn a_function_that_is_named_like_an_identifier_counts_more() {
        let named = |functions: &[&str]| {
            let functions: Vec<String> = functions.iter().map(ToString::to_string).collect();
            is_in_a_name("qdisc_pkt_len", &functions)
        };
        assert!(named(&["f", "__qdisc_calculate_pkt_len"]));
        assert!(!named(&["qdisc_len", "pkt"]), "of one function");
        assert!(!is_in_a_name("qdisc", &["qdisc".to_owned()]), "a word of English");
    }

    #[test]
    fn the_file_with_the_subjects_words_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (place, limit) in [(&from, "1"), (&to, "2")] {
            for (file, name) in [("net/sched/api.c", "qdisc_pkt_len"), ("mm/mmap.c", "vma")] {
                let path = place.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("int f(void)\n{{\n\t{name}({limit});\n}}\n")).unwrap();
            }
        }
        let files = changed_files(&from, &to).unwrap();
        assert_eq!(files, ["mm/mmap.c", "net/sched/api.c"]);
        let entries = find(CHANGELOG, "CVE-2026-90058");
        let found = candidates(&entries, &from, &to, &files).unwrap();
        assert_eq!(found[0].file, "net/sched/api.c");
        assert_eq!(found[0].functions, ["f"]);
        assert!(found[0].likelihood > 0.5);
    }
}
