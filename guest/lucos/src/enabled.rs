//! The patches that come into force again after each boot of their kernel, as files.
//!
//! ```text
//! /var/lib/lucos/enabled/RELEASE/NN-NAME.ko    in the order of NN
//! /var/lib/lucos/attempts.json                 boots that nobody has seen the end of
//! ```
//!
//! A file is there whole or not at all, also when the power fails.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::patch_file::PatchFile;

/// Where the store of the running system is.
pub const STATE: &str = "/var/lib/lucos";

/// So many boots may try a patch before one has to last: then it is held.
pub const ATTEMPTS: u32 = 2;

/// The files.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// A patch that is enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Release of its kernel.
    pub kernel: String,
    /// Its place in the order.
    pub place: u32,
    /// Name of the patch.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

/// How often a patch was tried, by the release of its kernel and its name.
type Attempts = BTreeMap<String, BTreeMap<String, u32>>;

impl Store {
    /// The store in a folder, which need not exist.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Every enabled patch, by kernel and in the order in which they are applied.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn all(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for kernel in names_in(&self.folder())? {
            let folder = self.folder().join(&kernel);
            for file in names_in(&folder)? {
                // What is on its way is none yet.
                let Some((place, name)) = parse(&file) else { continue };
                let (kernel, name, path) = (kernel.clone(), name.to_owned(), folder.join(&file));
                entries.push(Entry { kernel, place, name, path });
            }
        }
        entries.sort_by(|a, b| (&a.kernel, a.place, &a.name).cmp(&(&b.kernel, b.place, &b.name)));
        Ok(entries)
    }

    /// The patches that are enabled for a kernel, in order.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn of(&self, kernel: &str) -> Result<Vec<Entry>, Error> {
        Ok(self.all()?.into_iter().filter(|entry| entry.kernel == kernel).collect())
    }

    /// Enables a patch for its kernel: behind all others, or in place of another build of it. It is
    /// not held any more.
    ///
    /// # Errors
    /// [`Error::UnfitName`], [`Error::Read`], [`Error::Write`] or [`Error::Malformed`].
    pub fn put(&self, patch: &PatchFile) -> Result<(), Error> {
        let kernel = &patch.file.kernel;
        for word in [kernel, &patch.name] {
            check_word(word)?;
        }
        let there = self.of(kernel)?;
        let same = there.iter().find(|entry| entry.name == patch.name).map(|entry| entry.place);
        let behind = there.last().map_or(1, |entry| entry.place.saturating_add(1));
        let name = format!("{:02}-{}.ko", same.unwrap_or(behind), patch.name);
        write(&self.folder().join(kernel).join(name), &patch.file.image)?;
        self.release(&[(kernel, &patch.name)])
    }

    /// Disables a patch for every kernel. Gives how many files that were.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`] or [`Error::Malformed`].
    pub fn remove(&self, name: &str) -> Result<usize, Error> {
        let entries: Vec<_> = self.all()?.into_iter().filter(|entry| entry.name == name).collect();
        for Entry { path, .. } in &entries {
            fs::remove_file(path).map_err(|error| Error::Write(path.clone(), error))?;
            keep_folder(path)?;
        }
        let gone: Vec<_> = entries.iter().map(|entry| (entry.kernel.as_str(), name)).collect();
        self.release(&gone)?;
        Ok(entries.len())
    }

    /// Whether a patch was tried in as many boots as it may be, and none of them lasted.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Malformed`].
    pub fn is_held(&self, entry: &Entry) -> Result<bool, Error> {
        let attempts = self.attempts()?;
        let kernel = attempts.get(&entry.kernel);
        Ok(kernel.and_then(|names| names.get(&entry.name)).is_some_and(|&tried| tried >= ATTEMPTS))
    }

    /// Writes down that a patch is about to be tried. That is on the disk before it is.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`] or [`Error::Malformed`].
    pub fn begin(&self, entry: &Entry) -> Result<(), Error> {
        self.count(entry, |tried| tried.saturating_add(1))
    }

    /// Takes [`Self::begin`] back: the patch was refused, so that nothing has come of it.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`] or [`Error::Malformed`].
    pub fn note_refused(&self, entry: &Entry) -> Result<(), Error> {
        self.count(entry, |tried| tried.saturating_sub(1))
    }

    fn count(&self, entry: &Entry, change: impl FnOnce(u32) -> u32) -> Result<(), Error> {
        let mut attempts = self.attempts()?;
        let kernel = attempts.entry(entry.kernel.clone()).or_default();
        let tried = kernel.entry(entry.name.clone()).or_default();
        *tried = change(*tried);
        self.write_attempts(attempts)
    }

    /// Forgets that these were tried, each by kernel and name.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`] or [`Error::Malformed`].
    pub fn release(&self, patches: &[(&str, &str)]) -> Result<(), Error> {
        let before = self.attempts()?;
        let mut attempts = before.clone();
        for &(kernel, name) in patches {
            if let Some(names) = attempts.get_mut(kernel) {
                names.remove(name);
            }
        }
        if attempts == before { Ok(()) } else { self.write_attempts(attempts) }
    }

    fn folder(&self) -> PathBuf {
        self.root.join("enabled")
    }

    fn record(&self) -> PathBuf {
        self.root.join("attempts.json")
    }

    fn attempts(&self) -> Result<Attempts, Error> {
        let path = self.record();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Malformed(path, error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Attempts::new()),
            Err(error) => Err(Error::Read(path, error)),
        }
    }

    fn write_attempts(&self, mut attempts: Attempts) -> Result<(), Error> {
        attempts.values_mut().for_each(|names| names.retain(|_, tried| *tried > 0));
        attempts.retain(|_, names| !names.is_empty());
        let text = serde_json::to_vec_pretty(&attempts).unwrap_or_default();
        write(&self.record(), &text)
    }
}

/// `NN-NAME.ko`
fn parse(file: &str) -> Option<(u32, &str)> {
    let (place, name) = file.strip_suffix(".ko")?.split_once('-')?;
    Some((place.parse().ok()?, name))
}

/// Names of patches may have any character; those of files not.
pub(crate) fn check_word(word: &str) -> Result<(), Error> {
    if word.is_empty() || word.starts_with('.') || word.contains('/') {
        return Err(Error::UnfitName(word.to_owned()));
    }
    Ok(())
}

/// What a folder has, sorted; nothing when it is not there.
fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |error| Error::Read(folder.into(), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Writes a file whole, and waits until it is on the disk.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |error| Error::Write(path.into(), error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let new = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).map_err(failed)?;
    keep_folder(path)
}

/// Waits until the folder of a file is on the disk.
fn keep_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::Write(folder.into(), error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{ATTEMPTS, Store};
    use crate::error::Error;
    use crate::patch_file::{ModuleFile, PatchFile};

    const KERNEL: &str = "6.1.0-56-cloud-amd64";

    fn patch(name: &str, kernel: &str, image: &[u8]) -> PatchFile {
        let file = ModuleFile {
            path: PathBuf::new(),
            image: image.to_vec(),
            module: name.to_owned(),
            kernel: kernel.to_owned(),
            undefined: Vec::new(),
        };
        let (functions, values, data_versions) = (Vec::new(), 0, 0);
        let name = name.to_owned();
        PatchFile { file, name, functions, values, data_versions, build_note: None }
    }

    fn names(store: &Store, kernel: &str) -> Vec<(u32, String)> {
        let entries = store.of(kernel).unwrap();
        entries.into_iter().map(|entry| (entry.place, entry.name)).collect()
    }

    #[test]
    fn patches_keep_their_order_and_their_kernels() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("lucos"));
        assert_eq!(store.all().unwrap(), []);
        for name in ["b", "a", "c"] {
            store.put(&patch(name, KERNEL, b"old")).unwrap();
        }
        store.put(&patch("a", "other", b"other")).unwrap();
        let order = [(1, "b".into()), (2, "a".into()), (3, "c".into())];
        assert_eq!(names(&store, KERNEL), order);
        // Another build comes in its place.
        store.put(&patch("a", KERNEL, b"new")).unwrap();
        assert_eq!(names(&store, KERNEL), order);
        let path = &store.of(KERNEL).unwrap()[1].path;
        assert_eq!(fs::read(path).unwrap(), b"new");
        assert_eq!(store.remove("a").unwrap(), 2);
        assert_eq!(store.remove("a").unwrap(), 0);
        assert_eq!(names(&store, KERNEL), [(1, "b".into()), (3, "c".into())]);
        store.put(&patch("a", KERNEL, b"new")).unwrap();
        assert_eq!(names(&store, KERNEL), [(1, "b".into()), (3, "c".into()), (4, "a".into())]);
    }

    #[test]
    fn what_is_half_written_or_foreign_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        store.put(&patch("fix", KERNEL, b"old")).unwrap();
        let files = folder.path().join("enabled").join(KERNEL);
        for name in ["02-half.new", "README", "x-name.ko", "-1-name.ko"] {
            fs::write(files.join(name), b"").unwrap();
        }
        assert_eq!(names(&store, KERNEL), [(1, "fix".into())]);
    }

    #[test]
    fn names_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        for (name, kernel) in [("../fix", KERNEL), (".fix", KERNEL), ("fix", "../../etc")] {
            let refused = store.put(&patch(name, kernel, b""));
            assert!(matches!(refused, Err(Error::UnfitName(_))), "{name} {kernel}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_patch_of_which_no_boot_lasts_is_held_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        let (fix, other) = (patch("fix", KERNEL, b""), patch("other", KERNEL, b""));
        store.put(&fix).unwrap();
        store.put(&other).unwrap();
        let entries = store.of(KERNEL).unwrap();
        for _ in 0..ATTEMPTS {
            assert!(!store.is_held(&entries[0]).unwrap());
            store.begin(&entries[0]).unwrap();
        }
        assert!(store.is_held(&entries[0]).unwrap());
        assert!(!store.is_held(&entries[1]).unwrap());
        // A boot in which it is refused changes nothing.
        store.begin(&entries[0]).unwrap();
        store.note_refused(&entries[0]).unwrap();
        assert!(store.is_held(&entries[0]).unwrap());
        // A boot in which another patch lasts does not release it.
        store.release(&[(KERNEL, "other")]).unwrap();
        assert!(store.is_held(&entries[0]).unwrap());
        store.put(&fix).unwrap();
        assert!(!store.is_held(&entries[0]).unwrap());
    }

    #[test]
    fn a_record_that_is_not_understood_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        store.put(&patch("fix", KERNEL, b"")).unwrap();
        let entries = store.of(KERNEL).unwrap();
        for text in ["", "[]", "{\"kernel\": 1}"] {
            fs::write(folder.path().join("attempts.json"), text).unwrap();
            assert!(matches!(store.is_held(&entries[0]), Err(Error::Malformed(..))), "{text}");
            assert!(matches!(store.begin(&entries[0]), Err(Error::Malformed(..))), "{text}");
        }
    }
}
