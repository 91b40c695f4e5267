//! Which modules a module needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use crate::error::{Error, at};
use crate::module_image;

/// The modules of a kernel.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Those of a `lib/modules/RELEASE` folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        let mut waiting = vec![folder.join("kernel")];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder).map_err(at(&folder))?.flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() {
                    waiting.push(path);
                } else if let Some((name, _)) = name.split_once(".ko") {
                    files.insert(name.replace('-', "_"), path);
                }
            }
        }
        Ok(Self { files })
    }

    /// The modules' names, with `_` for `-`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A module's file and those of the modules that it needs, unpacked, by their names, each
    /// behind those that it needs itself.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn with_needs(&self, name: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        self.add(name, &mut found, &mut seen)?;
        Ok(found)
    }

    fn add(
        &self,
        name: &str,
        found: &mut Vec<(String, Vec<u8>)>,
        seen: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let Some(file) = self.files.get(name).filter(|_| seen.insert(name.to_owned())) else {
            return Ok(());
        };
        let bytes = module_image::contents(file)?;
        for need in needs(&bytes) {
            self.add(&need, found, seen)?;
        }
        found.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// What a module's own notes say it needs.
fn needs(module: &[u8]) -> Vec<String> {
    let Ok(file) = object::File::parse(module) else {
        return Vec::new();
    };
    let notes = file.section_by_name(".modinfo").and_then(|section| section.data().ok());
    let text = String::from_utf8_lossy(notes.unwrap_or_default()).into_owned();
    let line = text.split('\0').find_map(|line| line.strip_prefix("depends="));
    let names = line.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}
