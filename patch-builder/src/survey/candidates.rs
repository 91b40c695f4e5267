//! The C files that a kernel compiles and that differ from a newer source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dependants::Includes;
use crate::error::{Error, at};
use crate::kbuild::Makefiles;
use crate::kernel_tree::KernelTree;

/// Folders of the source that are no part of a kernel.
const OTHERS: [&str; 6] = ["Documentation", "tools", "samples", "scripts", "rust", "LICENSES"];

/// A file, and the objects that it is compiled into.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Candidate {
    /// Path in the source tree.
    pub file: String,
    /// Paths of the objects.
    pub objects: BTreeSet<String>,
}

/// Finds them.
///
/// # Errors
/// When a source cannot be read or make does not start.
pub fn find(tree: &KernelTree, newer: &Path, includes: &Includes) -> Result<Vec<Candidate>, Error> {
    let (root, pristine) = (tree.root(), tree.pristine());
    let makefiles = Makefiles::new(&root);
    let mut search = Search { pristine: &pristine, newer, includes, makefiles, found: Vec::new() };
    for name in entries(&pristine)?.into_iter().filter(|name| !OTHERS.contains(&name.as_str())) {
        let start = if name == "arch" { String::from("arch/x86") } else { name };
        if pristine.join(&start).is_dir() {
            search.folder(&start)?;
        }
    }
    Ok(search.found)
}

struct Search<'a> {
    pristine: &'a Path,
    newer: &'a Path,
    includes: &'a Includes,
    makefiles: Makefiles<'a>,
    found: Vec<Candidate>,
}

impl Search<'_> {
    fn folder(&mut self, folder: &str) -> Result<(), Error> {
        let is_near = self.is_near(folder)?;
        for name in entries(&self.pristine.join(folder))? {
            let path = format!("{folder}/{name}");
            let place = self.pristine.join(&path);
            if place.is_dir() {
                self.folder(&path)?;
            } else if is_near && path.ends_with(".c") && self.differs(&path)? {
                let objects = self.compiled(&path)?;
                if !objects.is_empty() {
                    self.found.push(Candidate { file: path, objects });
                }
            }
        }
        Ok(())
    }

    /// Whether a build comes into the folder or one that may name objects in it.
    fn is_near(&mut self, folder: &str) -> Result<bool, Error> {
        for above in Path::new(folder).ancestors().take(3) {
            let above = above.to_string_lossy();
            if !above.is_empty() && self.makefiles.enters(&above)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A file that is gone is no change of a file.
    fn differs(&self, path: &str) -> Result<bool, Error> {
        let (before, after) = (self.pristine.join(path), self.newer.join(path));
        if !after.exists() {
            return Ok(false);
        }
        let read = |file: &Path| fs::read(file).map_err(at(file));
        Ok(read(&before)? != read(&after)?)
    }

    fn compiled(&mut self, path: &str) -> Result<BTreeSet<String>, Error> {
        let mut objects = BTreeSet::new();
        for object in self.includes.known(path) {
            if self.makefiles.compiles(&object)? {
                objects.insert(object);
            }
        }
        Ok(objects)
    }
}

/// The names in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<String>, Error> {
    let list = fs::read_dir(folder).map_err(at(folder))?.flatten();
    let mut names: Vec<String> =
        list.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
