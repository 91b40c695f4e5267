//! The distribution's own fix, cut from the difference of two source packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::c_source::{Function, functions, words};
use super::header::{Item, difference, items};
use super::{Edit, Error, FileChange, between, check_path};

/// What is wanted of the difference between two versions of a source.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a> {
    /// The source of the kernel that runs, and its version.
    pub from: (&'a Path, &'a str),
    /// The source that has the fix, and its version.
    pub to: (&'a Path, &'a str),
    /// The files, by their paths in the source.
    pub files: &'a [String],
    /// The functions; none for all that changed in the files.
    pub functions: &'a [String],
}

impl Cut<'_> {
    /// The changes of the files.
    ///
    /// # Errors
    /// When a file is missing or does not differ, or a function does not.
    pub fn changes(&self) -> Result<Vec<FileChange>, Error> {
        let mut texts = Vec::new();
        let mut all = Vec::new();
        for (file, path) in self.files.iter().enumerate() {
            check_path(path)?;
            let (before, after) = (read(self.from.0, path)?, read(self.to.0, path)?);
            let edits = between(&before, &after);
            if edits.is_empty() {
                return Err(Error::Same {
                    path: path.clone(),
                    from: self.from.1.to_owned(),
                    to: self.to.1.to_owned(),
                });
            }
            all.extend(Located::all(file, &before, &after, edits));
            texts.push((path, before));
        }
        self.check_functions(&all)?;
        let chosen = self.choose(all);
        let changes = texts.into_iter().enumerate().map(|(file, (path, before))| {
            let edits = chosen.iter().filter(|located| located.file == file);
            FileChange {
                path: path.clone(),
                before,
                edits: edits.map(|located| located.edit.clone()).collect(),
            }
        });
        Ok(changes.filter(|change| !change.edits.is_empty()).collect())
    }

    fn check_functions(&self, all: &[Located]) -> Result<(), Error> {
        let missing = |name: &&String| !all.iter().any(|located| located.is_in(name));
        let Some(function) = self.functions.iter().find(missing) else {
            return Ok(());
        };
        let others: BTreeSet<String> =
            all.iter().filter_map(|located| located.function.clone()).collect();
        let others = others.into_iter().collect();
        Err(Error::NoFunction { function: function.clone(), others })
    }

    /// The edits that are wanted: those in the wanted functions, and those that define or declare
    /// what the former name.
    fn choose(&self, all: Vec<Located>) -> Vec<Located> {
        if self.functions.is_empty() {
            return all;
        }
        let (mut chosen, mut rest): (Vec<Located>, Vec<Located>) = all
            .into_iter()
            .partition(|located| self.functions.iter().any(|name| located.is_in(name)));
        let mut used: BTreeSet<String> = chosen.iter().flat_map(Located::words).collect();
        used.extend(self.functions.iter().cloned());
        loop {
            let (more, others): (Vec<Located>, Vec<Located>) = rest
                .into_iter()
                .partition(|located| located.defines.iter().any(|name| used.contains(name)));
            rest = others;
            if more.is_empty() {
                chosen.sort_by_key(|located| (located.file, located.edit.start));
                return chosen;
            }
            used.extend(more.iter().flat_map(Located::words));
            chosen.extend(more);
        }
    }
}

/// An edit and where it is.
pub(super) struct Located {
    /// Which of the files.
    file: usize,
    pub(super) edit: Edit,
    /// The function that it changes.
    pub(super) function: Option<String>,
    /// What it defines or declares, outside all functions.
    pub(super) defines: Vec<String>,
}

impl Located {
    pub(super) fn all(file: usize, before: &str, after: &str, edits: Vec<Edit>) -> Vec<Self> {
        let (old, new) = (functions(before), functions(after));
        let changed = difference(before, after);
        // Who may use a function is not what another function needs.
        let is_export = |item: &Item| item.text.starts_with("EXPORT_SYMBOL");
        let declared: Vec<Item> =
            items(after).into_iter().filter(|item| !is_export(item)).collect();
        let mut shift: isize = 0;
        edits
            .into_iter()
            .map(|edit| {
                let start = edit.start.saturating_add_signed(shift);
                let end = start + edit.lines.len();
                shift += edit.lines.len().cast_signed() - (edit.end - edit.start).cast_signed();
                let function = within(&old, edit.start, edit.end)
                    .filter(|_| edit.end > edit.start || inside(&old, edit.start))
                    .map(|function| function.name.clone());
                let mut defines = Vec::new();
                if function.is_none() {
                    let new = new
                        .iter()
                        .filter(|function| function.start < end && function.end > start)
                        .map(|function| function.name.clone());
                    defines.extend(new);
                    let items = declared
                        .iter()
                        .filter(|item| item.lines.start < end && item.lines.end > start);
                    let names = items.flat_map(|item| item.names.intersection(&changed));
                    defines.extend(names.cloned());
                    let lines = edit.lines.iter().filter(|line| line.starts_with("#include"));
                    defines.extend(lines.flat_map(|line| words(line)).map(str::to_owned));
                }
                Self { file, edit, function, defines }
            })
            .collect()
    }

    fn is_in(&self, name: &str) -> bool {
        let matches =
            |function: &str| function == name || function.strip_prefix("__do_sys_") == Some(name);
        self.function.as_deref().is_some_and(matches)
    }

    pub(super) fn words(&self) -> Vec<String> {
        self.edit.lines.iter().flat_map(|line| words(line)).map(str::to_owned).collect()
    }
}

/// The function that the lines from `start` to `end` touch.
fn within(functions: &[Function], start: usize, end: usize) -> Option<&Function> {
    functions.iter().find(|function| start < function.end && end.max(start + 1) > function.start)
}

/// Whether something put in before the line `at` is in a function, not in front of it.
fn inside(functions: &[Function], at: usize) -> bool {
    functions.iter().any(|function| function.start < at && at < function.end)
}

/// The text of a file of the source.
pub(super) fn read(root: &Path, path: &str) -> Result<String, Error> {
    let file = root.join(path);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NoFile(path.to_owned()))
        }
        Err(source) => Err(Error::File { path: file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(before: &str, after: &str, functions: &[&str]) -> Result<Vec<FileChange>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (place, text) in [(&from, before), (&to, after)] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("x.c"), text).unwrap();
        }
        let functions: Vec<String> = functions.iter().map(|name| (*name).to_owned()).collect();
        let files = ["x.c".to_owned()];
        Cut { from: (&from, "1"), to: (&to, "2"), files: &files, functions: &functions }.changes()
    }

    const BEFORE: &str = "int f(void)\n{\n\treturn 1;\n}\n\nint g(void)\n{\n\treturn 2;\n}\n";
    const AFTER: &str = "static int limit(void)\n{\n\treturn 9;\n}\n\nint f(void)\n{\n\treturn limit();\n}\n\n\
        int g(void)\n{\n\treturn 3;\n}\n";

    #[test]
    fn a_function_comes_with_what_it_uses() {
        let changes = cut(BEFORE, AFTER, &["f"]).unwrap();
        let text = changes[0].after();
        assert!(text.contains("static int limit"), "{text}");
        assert!(text.contains("return limit();"), "{text}");
        assert!(text.contains("return 2;"), "{text}");
        let changes = cut(BEFORE, AFTER, &["g"]).unwrap();
        assert_eq!(changes[0].after(), BEFORE.replace("return 2", "return 3"));
    }

    #[test]
    fn a_change_behind_a_blank_line_belongs_to_what_it_is_in() {
        let before = "enum {\n\tONE,\n\n\tTWO,\n};\n\n#define TWICE(x) \\\n\t(x) \\\n\t+ (x)\n\n\
            EXPORT_SYMBOL(g);\n\nint f(void)\n{\n\treturn 1;\n}\n";
        let after = before
            .replace("\tTWO,\n", "\tTWO,\n\n\tTHREE,\n")
            .replace("+ (x)", "+ (x) + 0")
            .replace("(g)", "(f)");
        let of_f = |value: &str| {
            let after = after.replace("return 1", &format!("return {value}"));
            cut(before, &after, &["f"]).unwrap().remove(0).after()
        };
        assert_eq!(of_f("2"), before.replace("return 1", "return 2"));
        let text = of_f("THREE + ONE");
        assert!(text.contains("THREE,") && text.ends_with("return THREE + ONE;\n}\n"), "{text}");
        assert!(text.contains("+ (x)\n") && text.contains("(g)"), "{text}");
        let text = of_f("TWICE(2)");
        assert!(text.contains("(x) + 0") && !text.contains("THREE"), "{text}");
    }

    #[test]
    fn a_header_among_the_files_gives_what_a_function_newly_names() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (place, limit, define) in [(&from, "1", ""), (&to, "MOST", "#define MOST 9\n")] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("x.c"), format!("int f(void)\n{{\n\treturn {limit};\n}}\n"))
                .unwrap();
            let other = if define.is_empty() { "int other;" } else { "long other;" };
            fs::write(place.join("x.h"), format!("{define}\nint same;\n{other}\n")).unwrap();
        }
        let files = ["x.c".to_owned(), "x.h".to_owned()];
        let functions = ["f".to_owned()];
        let cut = Cut { from: (&from, "1"), to: (&to, "2"), files: &files, functions: &functions };
        let changes = cut.changes().unwrap();
        assert_eq!(changes.len(), 2);
        assert!(
            changes[1].after().trim_start().starts_with("#define MOST 9\n"),
            "{}",
            changes[1].after()
        );
        assert!(changes[1].after().ends_with("int other;\n"));
    }

    #[test]
    fn what_does_not_change_is_an_error() {
        assert!(matches!(cut(BEFORE, BEFORE, &[]), Err(Error::Same { .. })));
        let error = cut(BEFORE, AFTER, &["h"]).unwrap_err();
        assert!(error.to_string().ends_with("these do: f, g"), "{error}");
    }
}
