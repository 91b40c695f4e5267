//! Which files each object of a kernel is made of, as the compiler says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::commands::{self, Compilation, Compilations};
use super::side_by_side;
use crate::compile;
use crate::digest;
use crate::error::{Error, at};
use crate::kernel_tree::KernelTree;
use crate::progress::Progress;

/// The objects of a kernel, how they are compiled, and the files that they include.
#[derive(Debug, Serialize, Deserialize)]
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
        let place = place(tree);
        if let Some(known) =
            fs::read(&place).ok().and_then(|text| serde_json::from_slice(&text).ok())
        {
            return Ok(known);
        }
        let compilations =
            progress.stage("How each file is compiled", || commands::record(tree))?;
        let found =
            progress.stage("What each file includes", || Self::find(&tree.root(), compilations))?;
        let folder = place.parent().unwrap_or(Path::new("."));
        let part = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
        let text = serde_json::to_vec(&found).map_err(|error| at(&place)(error.into()))?;
        fs::write(part.path(), text).map_err(at(part.path()))?;
        part.persist(&place).map_err(|error| at(&place)(error.error))?;
        Ok(found)
    }

    fn find(root: &Path, compilations: Compilations) -> Result<Self, Error> {
        let list: Vec<(&String, &Compilation)> = compilations.iter().collect();
        let bar = side_by_side::bar("Included files", list.len());
        let lists = side_by_side::each(&list, &bar, |(_, one)| one.print(root, "-M"));
        bar.finish_and_clear();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut files = Vec::new();
        let mut of_object = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for ((object, _), rule) in list.into_iter().zip(lists) {
            let object = object.clone();
            let rule = match rule {
                Ok(rule) => rule,
                Err(message) if compile::is_about_source(&message) => {
                    unknown.insert(object);
                    continue;
                }
                Err(message) => {
                    return Err(Error::Compile { object, with: "without the change", message });
                }
            };
            let mut own = Vec::new();
            for file in prerequisites(&rule) {
                let next = u32::try_from(files.len()).unwrap_or(u32::MAX);
                own.push(*numbers.entry(file).or_insert_with_key(|file| {
                    files.push(file.clone());
                    next
                }));
            }
            of_object.insert(object, own);
        }
        Ok(Self { compilations, files, of_object, unknown })
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

fn place(tree: &KernelTree) -> PathBuf {
    let way = digest::of(&[include_bytes!("record.mk"), include_bytes!("includes.rs")]);
    tree.place().join(format!("includes-{way}.json"))
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
    use super::*;

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
        let includes =
            Includes::find(folder.path(), ["a", "b"].map(one).into_iter().collect()).unwrap();
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
        let find = |source| Includes::find(folder.path(), [("a.o".to_owned(), one(source))].into());
        let objects = find("a.c").unwrap().objects_with(&BTreeSet::from(["any.h"]));
        assert_eq!(objects.into_iter().collect::<Vec<_>>(), ["a.o"]);
        // The compiler itself does not work.
        let error = find("none.c").unwrap_err();
        assert!(error.to_string().contains("a.o"), "{error}");
    }
}
