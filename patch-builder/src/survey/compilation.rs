//! Compiles many files, each without and with its own change, in few calls of make.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::change::FileChange;
use crate::change::debian::Cut;
use crate::compared::Pair;
use crate::compile;
use crate::digest;
use crate::error::{Error, at};
use crate::flags::{self, Purpose};
use crate::kernel_tree::KernelTree;

use super::candidates::Candidate;
use super::store::Store;
use super::verdict::CHANGED;

const UNCHANGED: &str = "without the change";
/// The note of the compiler's messages.
const FAILED: &str = "failed";

/// Compiles, or finds what was compiled before.
pub struct Compilation<'a> {
    /// The survey's tree.
    pub tree: &'a KernelTree,
    /// What is there already.
    pub store: &'a Store,
    /// The newer source.
    pub newer: &'a Path,
}

/// A file's change, compiled.
pub struct Compiled {
    /// The change.
    pub change: FileChange,
    /// Its objects, to be compared with what runs.
    pub pairs: Result<Vec<Pair>, Error>,
    /// The same, for a module; nothing when they cannot be compiled.
    pub code: Vec<Pair>,
}

impl Compilation<'_> {
    /// What the compilation of a file with its change depends on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self, candidate: &Candidate) -> Result<String, Error> {
        Ok(digest(candidate, &self.change(candidate)?, Purpose::Comparison))
    }

    /// Compiles files. The result is in their order.
    ///
    /// # Errors
    /// When files cannot be read or written or make does not start.
    pub fn compile(&self, files: &[&Candidate]) -> Result<Vec<Compiled>, Error> {
        let changes: Vec<FileChange> =
            files.iter().map(|file| self.change(file)).collect::<Result<_, _>>()?;
        let pairs = self.compile_for(Purpose::Comparison, files, &changes)?;
        let good = pairs.iter().map(Result::is_ok);
        let wanted = files.iter().zip(&changes).zip(good).filter(|(_, good)| *good);
        let (files, wanted): (Vec<_>, Vec<_>) =
            wanted.map(|((file, change), _)| (*file, change.clone())).unzip();
        let mut code = self.compile_for(Purpose::Module, &files, &wanted)?.into_iter();
        let mut all = Vec::new();
        for (change, pairs) in changes.into_iter().zip(pairs) {
            let code = if pairs.is_ok() { code.next().transpose()? } else { None };
            all.push(Compiled { change, pairs, code: code.unwrap_or_default() });
        }
        Ok(all)
    }

    fn compile_for(
        &self,
        purpose: Purpose,
        files: &[&Candidate],
        changes: &[FileChange],
    ) -> Result<Vec<Result<Vec<Pair>, Error>>, Error> {
        let work = self.tree.work_tree();
        work.restore()?;
        let failed = self.originals(purpose, files)?;
        let mut open: Vec<usize> = Vec::new();
        for (index, (file, change)) in files.iter().zip(changes).enumerate() {
            let is_done = is_done(&self.store.patched(&digest(file, change, purpose)))?;
            if !is_done && file.objects.iter().all(|object| !failed.contains_key(object)) {
                open.push(index);
            }
        }
        while !open.is_empty() {
            open = self.together(purpose, files, changes, &open)?;
        }
        let both = files.iter().zip(changes);
        Ok(both.map(|(file, change)| self.pairs(purpose, file, change, &failed)).collect())
    }

    fn change(&self, candidate: &Candidate) -> Result<FileChange, Error> {
        let pristine = self.tree.pristine();
        let files = [candidate.file.clone()];
        let cut = Cut {
            from: (&pristine, &self.tree.version),
            to: (self.newer, "the newer source"),
            files: &files,
            functions: &[],
        };
        let change = cut.changes()?.pop();
        change.ok_or_else(|| crate::change::Error::NoFile(candidate.file.clone()).into())
    }

    /// Compiles what is missing without the changes; the messages about objects that cannot be.
    fn originals(
        &self,
        purpose: Purpose,
        files: &[&Candidate],
    ) -> Result<BTreeMap<String, String>, Error> {
        let cache = self.tree.objects(purpose);
        let objects: BTreeSet<&str> =
            files.iter().flat_map(|file| &file.objects).map(String::as_str).collect();
        let missing: Vec<&str> =
            objects.into_iter().filter(|object| !cache.join(object).exists()).collect();
        if missing.is_empty() {
            return Ok(BTreeMap::new());
        }
        let failed = compile::as_many(self.tree, &missing, purpose)?;
        for object in missing.into_iter().filter(|object| !failed.contains_key(*object)) {
            compile::keep(self.tree, object, &cache)?;
        }
        Ok(failed)
    }

    /// Compiles files with all their changes in the tree at once, and gives those that have to be
    /// compiled again because the change of another one is in their objects.
    fn together(
        &self,
        purpose: Purpose,
        files: &[&Candidate],
        changes: &[FileChange],
        open: &[usize],
    ) -> Result<Vec<usize>, Error> {
        let mut now = Vec::new();
        let mut later = Vec::new();
        let mut objects = BTreeSet::new();
        for &index in open {
            let (Some(file), Some(change)) = (files.get(index), changes.get(index)) else {
                continue;
            };
            if file.objects.is_disjoint(&objects) {
                objects.extend(file.objects.iter().cloned());
                now.push((index, *file, change));
            } else {
                later.push(index);
            }
        }
        let work = self.tree.work_tree();
        let inside: Vec<FileChange> = now.iter().map(|(_, _, change)| (*change).clone()).collect();
        work.apply(&inside)?;
        let paths: Vec<&str> = objects.iter().map(String::as_str).collect();
        let failed = compile::as_many(self.tree, &paths, purpose);
        work.restore()?;
        let failed = failed?;
        for (index, file, change) in &now {
            let others = inside.iter().map(|other| &other.path).filter(|path| **path != file.file);
            if now.len() > 1 && self.is_mixed(file, others)? {
                later.push(*index);
            } else {
                self.keep(purpose, file, change, &failed)?;
            }
        }
        // What is mixed with everything is compiled alone.
        let alone = later.len() == open.len();
        Ok(if alone { self.one_by_one(purpose, files, changes, &later)? } else { later })
    }

    fn one_by_one(
        &self,
        purpose: Purpose,
        files: &[&Candidate],
        changes: &[FileChange],
        open: &[usize],
    ) -> Result<Vec<usize>, Error> {
        for index in open {
            self.together(purpose, files, changes, &[*index])?;
        }
        Ok(Vec::new())
    }

    /// Whether another changed file is among those that an object was made of.
    fn is_mixed<'a>(
        &self,
        file: &Candidate,
        others: impl Iterator<Item = &'a String>,
    ) -> Result<bool, Error> {
        let others: BTreeSet<&str> = others.map(String::as_str).collect();
        for object in &file.objects {
            let note = self.tree.root().join(compile::command_file(object));
            if let Ok(text) = fs::read_to_string(&note)
                && text.split_whitespace().any(|word| others.contains(word))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn keep(
        &self,
        purpose: Purpose,
        file: &Candidate,
        change: &FileChange,
        failed: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let place = self.store.patched(&digest(file, change, purpose));
        let parent = place.parent().unwrap_or(&place);
        let work =
            tempfile::Builder::new().prefix("new-").tempdir_in(parent).map_err(at(parent))?;
        for object in &file.objects {
            match failed.get(object) {
                Some(message) => {
                    let note = work.path().join(FAILED);
                    fs::write(&note, format!("{object}\n{message}")).map_err(at(&note))?;
                }
                None => compile::keep(self.tree, object, work.path())?,
            }
        }
        fs::rename(work.keep(), &place).map_err(at(&place))
    }

    fn pairs(
        &self,
        purpose: Purpose,
        file: &Candidate,
        change: &FileChange,
        failed: &BTreeMap<String, String>,
    ) -> Result<Vec<Pair>, Error> {
        let refuse = |object: &str, with, message: &str| Error::Compile {
            object: object.to_owned(),
            with,
            message: message.to_owned(),
        };
        let found = file.objects.iter().find_map(|object| failed.get_key_value(object));
        if let Some((object, message)) = found {
            return Err(refuse(object, UNCHANGED, message));
        }
        let place = self.store.patched(&digest(file, change, purpose));
        if let Ok(text) = fs::read_to_string(place.join(FAILED)) {
            let (object, message) = text.split_once('\n').unwrap_or((&text, ""));
            return Err(refuse(object, CHANGED, message));
        }
        let paths = || file.objects.iter().map(String::as_str);
        let mut originals = compile::load(&self.tree.objects(purpose), paths())?;
        let patched = compile::load(&place, paths())?;
        Ok(patched
            .into_iter()
            .filter_map(|(path, patched)| {
                Some(Pair { original: originals.remove(&path)?, patched })
            })
            .collect())
    }
}

/// Whether a place has what became of a file. A note of a failure that the source did not cause says
/// nothing, and is removed.
fn is_done(place: &Path) -> Result<bool, Error> {
    match fs::read_to_string(place.join(FAILED)) {
        Ok(note) if !compile::is_about_source(&note) => {
            fs::remove_dir_all(place).map_err(at(place))?;
            Ok(false)
        }
        _ => Ok(place.exists()),
    }
}

fn digest(candidate: &Candidate, change: &FileChange, purpose: Purpose) -> String {
    let objects: Vec<&str> = candidate.objects.iter().map(String::as_str).collect();
    let (objects, text, settings) = (objects.join(" "), change.after(), flags::settings(purpose));
    digest::of(&[settings.as_str(), &candidate.file, &objects, &text].map(str::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_only_when_the_source_caused_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("digest");
        assert!(!is_done(&place).unwrap());
        fs::create_dir(&place).unwrap();
        assert!(is_done(&place).unwrap());
        fs::write(place.join(FAILED), "mm/x.o\nmm/x.c:7:1: error: no member x").unwrap();
        assert!(is_done(&place).unwrap());
        fs::write(place.join(FAILED), "mm/x.o\nmake: *** Terminated").unwrap();
        assert!(!is_done(&place).unwrap());
        assert!(!place.exists());
    }
}
