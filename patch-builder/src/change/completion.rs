//! What a cut of the distribution's source needs besides the files and functions that were named:
//! where what the compiler misses is declared and defined, and who else calls it.

use std::collections::BTreeSet;
use std::path::Path;

use super::debian::{Located, read};
use super::{Edit, Error, FileChange, between, words};

/// The names that a compiler's errors are about: those in quotes.
#[must_use]
pub fn missed(message: &str) -> BTreeSet<String> {
    let errors = message.lines().filter(|line| line.contains("error:"));
    // Which quotes depends on the language that make is given.
    let quoted = errors.flat_map(|line| line.split(['\'', '‘', '’']).skip(1).step_by(2));
    let is_name = |text: &&str| {
        words(text).eq([*text]) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    };
    quoted.filter(is_name).map(str::to_owned).collect()
}

/// A file in two versions of the source.
#[derive(Debug, Clone)]
pub struct TwoTexts {
    /// Its path in the source.
    pub path: String,
    /// The text in the source of the kernel that runs.
    pub before: String,
    /// The text in the newer source.
    pub after: String,
}

impl TwoTexts {
    /// Reads a file that both sources have, when it differs.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(from: &Path, to: &Path, path: &str) -> Result<Option<Self>, Error> {
        let text = |root: &Path| match read(root, path) {
            Ok(text) => Ok(Some(text)),
            Err(Error::NoFile(_)) => Ok(None),
            Err(error) => Err(error),
        };
        let (Some(before), Some(after)) = (text(from)?, text(to)?) else {
            return Ok(None);
        };
        let differ = before != after;
        Ok(differ.then(|| Self { path: path.to_owned(), before, after }))
    }
}

/// Adds to a change what declares and defines the names, and where a declaration changes, the
/// functions that use the name. Gives the files that get more edits; none when there is nothing to
/// add.
#[must_use]
pub fn complete(
    changes: &mut Vec<FileChange>,
    files: &[TwoTexts],
    names: &BTreeSet<String>,
) -> Vec<String> {
    let located: Vec<(&TwoTexts, Vec<Located>)> = files
        .iter()
        .map(|file| {
            let edits = between(&file.before, &file.after);
            (file, Located::all(0, &file.before, &file.after, edits))
        })
        .collect();
    let changed = redeclared(&located, names);
    let mut added = Vec::new();
    for (file, located) in located {
        let is_wanted = |located: &&Located| {
            located.defines.iter().any(|name| names.contains(name))
                || located.function.as_ref().is_some_and(|name| names.contains(name))
                || located.function.is_some()
                    && located.words().iter().any(|word| changed.contains(word.as_str()))
        };
        let edits = located.iter().filter(is_wanted).map(|located| located.edit.clone());
        if add(changes, file, edits.collect()) {
            added.push(file.path.clone());
        }
    }
    added
}

/// The names whose declaration in a header is replaced, so that those who use them must change too.
fn redeclared<'n>(
    located: &[(&TwoTexts, Vec<Located>)],
    names: &'n BTreeSet<String>,
) -> BTreeSet<&'n str> {
    let mut found = BTreeSet::new();
    for (file, located) in located.iter().filter(|(file, _)| file.path.ends_with(".h")) {
        let known: BTreeSet<&str> = words(&file.before).collect();
        for defined in located.iter().flat_map(|located| &located.defines) {
            found
                .extend(names.get(defined).map(String::as_str).filter(|name| known.contains(name)));
        }
    }
    found
}

/// Adds edits to a file's change, and says whether there was a new one.
fn add(changes: &mut Vec<FileChange>, file: &TwoTexts, edits: Vec<Edit>) -> bool {
    let at = changes.iter().position(|change| change.path == file.path);
    let known = at.and_then(|at| changes.get(at)).map_or(&[][..], |change| &change.edits);
    let new: Vec<Edit> = edits.into_iter().filter(|edit| !known.contains(edit)).collect();
    if new.is_empty() {
        return false;
    }
    match at.and_then(|at| changes.get_mut(at)) {
        Some(change) => {
            change.edits.extend(new);
            change.edits.sort_by_key(|edit| edit.start);
        }
        None => changes.push(FileChange {
            path: file.path.clone(),
            before: file.before.clone(),
            edits: new,
        }),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "int copy(int a,\n\t int b);\nint same(void);\nint other(void);\n";
    const DEFINER: &str =
        "int copy(int a, int b)\n{\n\treturn a + b;\n}\n\nint more(void)\n{\n\treturn 1;\n}\n";
    const CALLER: &str =
        "int far(void)\n{\n\treturn copy(1, 2);\n}\n\nint near(void)\n{\n\treturn 1;\n}\n";

    fn file(path: &str, before: &str, edits: &[(&str, &str)]) -> TwoTexts {
        let mut after = before.to_owned();
        for (from, to) in edits {
            assert!(after.contains(from), "{from}");
            after = after.replacen(from, to, 1);
        }
        TwoTexts { path: path.into(), before: before.into(), after }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_those_in_quotes_of_errors() {
        let message = "mm/a.c:1:2: error: too many arguments to function 'copy'\n\
            mm/a.c:1:2: note: declared here 'not'\nmm/a.c:2:2: error: 'struct a' has no member named ‘b’\n";
        assert_eq!(missed(message), names(&["b", "copy"]));
    }

    #[test]
    fn a_changed_prototype_comes_with_its_function_and_the_callers() {
        let files = [
            file("x.h", HEADER, &[("int b", "int b, int c"), ("other(void)", "other(int a)")]),
            file("definer.c", DEFINER, &[("int b)", "int b, int c)"), ("return 1", "return 2")]),
            file("caller.c", CALLER, &[("(1, 2)", "(1, 2, 3)"), ("return 1", "return 2")]),
        ];
        let mut changes = Vec::new();
        let added = complete(&mut changes, &files, &names(&["copy"]));
        assert_eq!(added, ["x.h", "definer.c", "caller.c"]);
        let after: Vec<String> = changes.iter().map(FileChange::after).collect();
        assert_eq!(after[0], HEADER.replace("int b", "int b, int c"));
        assert_eq!(after[1], DEFINER.replace("int b)", "int b, int c)"));
        assert_eq!(after[2], CALLER.replace("(1, 2)", "(1, 2, 3)"));
        assert_eq!(complete(&mut changes, &files, &names(&["copy"])), [""; 0]);
        // The rest of a file that has a change already.
        assert_eq!(complete(&mut changes, &files, &names(&["more"])), ["definer.c"]);
        assert_eq!(changes[1].after(), files[1].after);
    }

    #[test]
    fn a_new_function_comes_without_those_who_call_it() {
        let new = "\nint fresh(void)\n{\n\treturn 3;\n}\n";
        let files = [
            file("x.h", HEADER, &[("int other", "int fresh(void);\nint other")]),
            file("definer.c", DEFINER, &[("int more", &format!("{}int more", &new[1..]))]),
            file("caller.c", CALLER, &[("return 1", "return fresh()")]),
        ];
        let mut changes = Vec::new();
        let added = complete(&mut changes, &files, &names(&["fresh"]));
        assert_eq!(added, ["x.h", "definer.c"]);
    }
}
