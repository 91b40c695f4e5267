//! What a survey has found out, in files.
//!
//! Beside the survey's source tree: `patched/DIGEST/` has the objects of one file with its change,
//! or `failed`, the compiler's messages; the digest is that of the changed text and of the flags.
//! `TO/verdicts/` has what was found out of each file, with a key of the digest, of this very program
//! and of the update manager's symbols, so that a verdict of another build of either does not count.
//! `TO/modules/` has the modules, `TO/candidates.json` the files that differ, with this program's
//! digest too.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::error::{Error, at};
use crate::kernel_tree::KernelTree;

use super::candidates::Candidate;
use super::verdict::Verdict;

/// The files.
pub struct Store {
    patched: PathBuf,
    verdicts: PathBuf,
    modules: PathBuf,
    candidates: PathBuf,
    program: String,
}

#[derive(Serialize, Deserialize)]
struct Found {
    program: String,
    files: Vec<Candidate>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    key: String,
    verdict: Verdict,
}

impl Store {
    /// That of a survey's tree and a newer version.
    ///
    /// # Errors
    /// When folders cannot be made.
    pub fn open(tree: &KernelTree, to: &str) -> Result<Self, Error> {
        let place = tree.work().join(to);
        let store = Self {
            patched: tree.work().join("patched"),
            verdicts: place.join("verdicts"),
            modules: place.join("modules"),
            candidates: place.join("candidates.json"),
            program: program()?,
        };
        for folder in [&store.patched, &store.verdicts, &store.modules] {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        Ok(store)
    }

    /// The digest of this program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Where modules are.
    pub fn modules(&self) -> PathBuf {
        self.modules.clone()
    }

    /// Where the objects of a changed text are.
    pub fn patched(&self, digest: &str) -> PathBuf {
        self.patched.join(digest)
    }

    /// The files that differ, if this program found them.
    pub fn candidates(&self) -> Option<Vec<Candidate>> {
        let found: Found = serde_json::from_slice(&fs::read(&self.candidates).ok()?).ok()?;
        (found.program == self.program).then_some(found.files)
    }

    /// Keeps the files that differ.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep_candidates(&self, files: &[Candidate]) -> Result<(), Error> {
        let found = Found { program: self.program.clone(), files: files.to_vec() };
        write(&self.candidates, &found)
    }

    /// What was found of a file, if the key is still the same and the module there.
    pub fn verdict(&self, file: &str, key: &str) -> Option<Verdict> {
        let text = fs::read(self.verdict_file(file)).ok()?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        let is_there = |module: &String| self.module_file(module).exists();
        (kept.key == key && kept.verdict.module.as_ref().is_none_or(is_there))
            .then_some(kept.verdict)
    }

    /// Keeps what was found.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, file: &str, key: &str, verdict: &Verdict) -> Result<(), Error> {
        let kept = Kept { key: key.to_owned(), verdict: verdict.clone() };
        write(&self.verdict_file(file), &kept)
    }

    /// Where a module is written.
    pub fn module_file(&self, name: &str) -> PathBuf {
        self.modules.join(format!("{name}.ko"))
    }

    fn verdict_file(&self, file: &str) -> PathBuf {
        self.verdicts.join(format!("{}.json", file.replace('/', "+")))
    }
}

/// Writes what is kept.
///
/// # Errors
/// When it cannot be written.
pub fn write<T: Serialize + ?Sized>(place: &Path, what: &T) -> Result<(), Error> {
    let text = serde_json::to_vec(what).map_err(|error| at(place)(error.into()))?;
    fs::write(place, text).map_err(at(place))
}

/// The digest of this program.
///
/// # Errors
/// When it cannot be read.
pub fn program() -> Result<String, Error> {
    let place = std::env::current_exe().map_err(at(Path::new("this program")))?;
    let bytes = fs::read(&place).map_err(at(&place))?;
    Ok(digest::of(&[&bytes]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::verdict::Class;

    #[test]
    fn a_verdict_counts_for_its_key_and_with_its_module() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store {
            patched: folder.path().to_owned(),
            verdicts: folder.path().to_owned(),
            modules: folder.path().to_owned(),
            candidates: folder.path().join("candidates.json"),
            program: String::new(),
        };
        let verdict =
            Verdict { module: Some("a_1".into()), ..Verdict::new("mm/a.c", Class::Built, true) };
        store.keep("mm/a.c", "k", &verdict).unwrap();
        assert!(store.verdict("mm/a.c", "k").is_none(), "its module is gone");
        fs::write(store.module_file("a_1"), "").unwrap();
        assert!(store.verdict("mm/a.c", "k").is_some());
        assert!(store.verdict("mm/a.c", "other").is_none(), "another program made it");
        assert!(store.verdict("mm/b.c", "k").is_none());
    }
}
