//! Which files each object of a kernel is made of, as the compiler says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::commands::{self, Compilation, Compilations};
use super::{cached, side_by_side};
use crate::compile;
use crate::error::Error;
use crate::kernel_tree::KernelTree;
use crate::progress::Progress;

/// After how many objects what they include is written into the cache: a build that ends early loses
/// no more.
const AT_ONCE: usize = 400;

/// The objects of a kernel, how they are compiled, and the files that they include.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Includes {
    pub(super) compilations: Compilations,
    /// All files that any object includes.
    files: Vec<String>,
    /// By object, the numbers of its files.
    of_object: BTreeMap<String, Vec<u32>>,
    /// Objects of which nobody can tell: what they include is made from other objects (the vDSO).
    unknown: BTreeSet<String>,
}

impl Includes {
    /// That of a tree without a change, found out once.
    ///
    /// # Errors
    /// When make or the compiler fail.
    pub fn of(tree: &KernelTree, progress: &mut Progress) -> Result<Self, Error> {
        let place = cached::place(tree).join("includes");
        let mut includes: Self = cached::read(&place).unwrap_or_default();
        if includes.compilations.is_empty() {
            includes.compilations =
                progress.stage("How each file is compiled", || commands::record(tree))?;
        }
        if includes.open().is_empty() {
            return Ok(includes);
        }
        progress.stage("What each file includes", || {
            includes.ask(&tree.root(), |so_far| cached::write(&place, so_far))
        })?;
        Ok(includes)
    }

    /// The objects that nobody has asked about.
    fn open(&self) -> Vec<(String, Compilation)> {
        let is_open = |object: &String| {
            !self.of_object.contains_key(object) && !self.unknown.contains(object)
        };
        let open = self.compilations.iter().filter(|(object, _)| is_open(object));
        open.map(|(object, one)| (object.clone(), one.clone())).collect()
    }

    /// Asks the compiler about these, and has what is found so far kept now and then.
    fn ask(&mut self, root: &Path, keep: impl Fn(&Self) -> Result<(), Error>) -> Result<(), Error> {
        let open = self.open();
        let bar = side_by_side::bar("Included files", open.len());
        let mut numbers: HashMap<String, u32> = self.files.iter().cloned().zip(0..).collect();
        for some in open.chunks(AT_ONCE) {
            let rules = side_by_side::each(some, &bar, |(_, one)| one.print(root, "-M"));
            for ((object, _), rule) in some.iter().zip(rules) {
                self.add(object, rule, &mut numbers)?;
            }
            keep(self)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn add(
        &mut self,
        object: &str,
        rule: Result<String, String>,
        numbers: &mut HashMap<String, u32>,
    ) -> Result<(), Error> {
        let rule = match rule {
            Ok(rule) => rule,
            Err(message) if compile::is_about_source(&message) => {
                self.unknown.insert(object.to_owned());
                return Ok(());
            }
            Err(message) => {
                let object = object.to_owned();
                return Err(Error::Compile { object, with: "without the change", message });
            }
        };
        let mut own = Vec::new();
        for file in prerequisites(&rule) {
            let next = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
            own.push(*numbers.entry(file).or_insert_with_key(|file| {
                self.files.push(file.clone());
                next
            }));
        }
        self.of_object.insert(object.to_owned(), own);
        Ok(())
    }

    /// The objects that a file is known to be part of.
    #[must_use]
    pub fn known(&self, file: &str) -> BTreeSet<String> {
        let Some((number, _)) = (0..).zip(&self.files).find(|(_, known)| *known == file) else {
            return BTreeSet::new();
        };
        let with = self.of_object.iter().filter(|(_, own)| own.contains(&number));
        with.map(|(object, _)| object.clone()).collect()
    }

    /// The objects that one of the files may be part of. A file that is not there yet may take the place
    /// of any of its name.
    #[must_use]
    pub fn objects_with(&self, files: &BTreeSet<&str>) -> BTreeSet<String> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let known: BTreeSet<&str> = self.files.iter().map(String::as_str).collect();
        let new: BTreeSet<String> =
            files.iter().filter(|file| !known.contains(*file)).map(|file| name(file)).collect();
        let wanted: BTreeSet<u32> = (0..)
            .zip(&self.files)
            .filter(|(_, file)| files.contains(file.as_str()) || new.contains(&name(file)))
            .map(|(number, _)| number)
            .collect();
        let with =
            self.of_object.iter().filter(|(_, own)| own.iter().any(|one| wanted.contains(one)));
        with.map(|(object, _)| object).chain(&self.unknown).cloned().collect()
    }
}

/// The files in a rule of make, without its target.
fn prerequisites(rule: &str) -> Vec<String> {
    let (_, list) = rule.split_once(": ").unwrap_or_default();
    let words = list.split([' ', '\n']).filter(|word| !word.is_empty() && *word != "\\");
    words.map(plain).collect()
}

/// A path without `.` and `..`: the compiler prints it as directives write it.
pub(super) fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, "" | "..")) => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    fn found(root: &Path, compilations: Compilations) -> Result<Includes, Error> {
        let mut includes = Includes { compilations, ..Includes::default() };
        includes.ask(root, |_| Ok(())).map(|()| includes)
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    #[test]
    fn what_the_compiler_reads_counts_and_not_what_stands_in_the_text() {
        let folder = tree(&[
            ("fs/a.c", "#define NAME <own.h>\n#include NAME\n"),
            ("fs/b.c", "#if 0\n#include <own.h>\n#endif\n#include \"part.c\"\n"),
            ("fs/part.c", "#include <other.h>\n"),
            ("include/own.h", "#include \"sub/../deep.h\"\n"),
            ("include/sub/none.h", ""),
            ("include/deep.h", ""),
            ("include/other.h", ""),
        ]);
        let one = |name: &str| {
            let one = Compilation { source: format!("fs/{name}.c"), flags: "-I./include".into() };
            (format!("fs/{name}.o"), one)
        };
        let includes = found(folder.path(), ["a", "b"].map(one).into_iter().collect()).unwrap();
        let with = |file: &str| {
            let found = includes.objects_with(&BTreeSet::from([file]));
            found.into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(with("include/deep.h"), "fs/a.o");
        assert_eq!(with("fs/part.c"), "fs/b.o");
        assert_eq!(with("include/other.h"), "fs/b.o");
        assert_eq!(with("fs/a.c"), "fs/a.o");
        assert_eq!(with("include/unknown.h"), "");
        // It may be found before the one that is there.
        assert_eq!(with("fs/deep.h"), "fs/a.o");
    }

    #[test]
    fn an_object_of_which_nobody_can_tell_may_have_any_file() {
        let folder = tree(&[("a.c", "#include <none.h>\n")]);
        let one = |source: &str| Compilation { source: source.into(), flags: String::new() };
        let find = |source| found(folder.path(), [("a.o".to_owned(), one(source))].into());
        let objects = find("a.c").unwrap().objects_with(&BTreeSet::from(["any.h"]));
        assert_eq!(objects.into_iter().collect::<Vec<_>>(), ["a.o"]);
        // The compiler itself does not work.
        let error = find("none.c").unwrap_err();
        assert!(error.to_string().contains("a.o"), "{error}");
    }

    #[test]
    fn what_was_found_is_not_asked_for_again() {
        let folder = tree(&[("a.c", "#include \"a.h\"\n"), ("a.h", ""), ("b.c", "")]);
        let one = |source: &str| Compilation { source: source.into(), flags: String::new() };
        let mut includes = found(folder.path(), [("a.o".to_owned(), one("a.c"))].into()).unwrap();
        fs::remove_file(folder.path().join("a.c")).unwrap();
        includes.compilations.insert("b.o".into(), one("b.c"));
        let kept = Cell::new(0);
        let keep = |so_far: &Includes| {
            kept.set(so_far.of_object.len());
            Ok(())
        };
        includes.ask(folder.path(), keep).unwrap();
        assert_eq!(kept.get(), 2);
        assert!(includes.open().is_empty());
        assert_eq!(includes.known("a.h"), BTreeSet::from(["a.o".to_owned()]));
    }
}
