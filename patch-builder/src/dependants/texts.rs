//! The preprocessor's texts of a kernel's objects without a change, each asked for once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::commands::Compilation;
use super::known::{Known, Text};
use super::side_by_side;
use crate::digest;
use crate::error::{Error, at};
use crate::kernel_tree::{KernelTree, lock};

/// Names with the preprocessor's counter in them are others as soon as one more is counted before.
/// `-dU` names the macros that a text depends on.
pub(super) const TEXT: &str = "-E -dU -w -U__COUNTER__ -D__COUNTER__=0";

/// The texts of some objects, by object; none where the compiler finds something wrong.
pub(super) type Texts<'a> = BTreeMap<&'a str, Option<Text>>;

/// Objects with how they are compiled.
pub(super) type Objects<'a> = [(&'a str, &'a Compilation)];

/// The texts of objects in a tree without a change, and all that is known of their items.
///
/// # Errors
/// When the cache cannot be written.
pub(super) fn unchanged<'a>(
    tree: &KernelTree,
    objects: &Objects<'a>,
) -> Result<(Known, Texts<'a>), Error> {
    let cache = Cache { place: place(tree) };
    fs::create_dir_all(&cache.place).map_err(at(&cache.place))?;
    // Builds in another tree of the kernel keep theirs here too.
    let _lock = lock(&cache.place.join("lock"))?;
    let known = cache.known()?;
    let mut texts: Texts<'a> = objects
        .iter()
        .filter_map(|(object, _)| {
            let text: Text = read(&cache.of_object(object))?;
            known.has(&text).then_some((*object, Some(text)))
        })
        .collect();
    let missing: Vec<(&str, &Compilation)> =
        objects.iter().filter(|(object, _)| !texts.contains_key(object)).copied().collect();
    if missing.is_empty() {
        return Ok((known, texts));
    }
    let length = known.len();
    let known = Mutex::new(known);
    let new = asked(&tree.root(), &known, &missing, "Preprocessed files");
    let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
    if known.len() > length {
        write(&cache.items(), &known)?;
    }
    for (object, text) in &new {
        text.as_ref().map_or(Ok(()), |text| write(&cache.of_object(object), text))?;
    }
    texts.extend(new);
    Ok((known, texts))
}

/// The texts of objects in a tree as it is now.
pub(super) fn asked<'a>(
    root: &Path,
    known: &Mutex<Known>,
    objects: &Objects<'a>,
    what: &'static str,
) -> Texts<'a> {
    let bar = side_by_side::bar(what, objects.len());
    let texts = side_by_side::each(objects, &bar, |(_, one)| {
        let text = one.print(root, TEXT).ok()?;
        Some(known.lock().unwrap_or_else(PoisonError::into_inner).text(&text))
    });
    bar.finish_and_clear();
    objects.iter().map(|(object, _)| *object).zip(texts).collect()
}

/// Another version of what makes the texts has others, and another way to make digests too.
fn place(tree: &KernelTree) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    TEXT.hash(&mut hasher);
    let way = digest::of(&[
        include_bytes!("texts.rs"),
        include_bytes!("known.rs"),
        include_bytes!("items.rs"),
        include_bytes!("meaning.rs"),
        &hasher.finish().to_le_bytes(),
    ]);
    tree.place().join(format!("texts-{way}"))
}

struct Cache {
    place: PathBuf,
}

impl Cache {
    fn items(&self) -> PathBuf {
        self.place.join("items")
    }

    fn of_object(&self, object: &str) -> PathBuf {
        self.place.join("objects").join(object)
    }

    /// Numbers mean nothing without the items: then all goes.
    fn known(&self) -> Result<Known, Error> {
        if let Some(mut known) = read::<Known>(&self.items()) {
            known.index();
            return Ok(known);
        }
        let objects = self.place.join("objects");
        if objects.exists() {
            fs::remove_dir_all(&objects).map_err(at(&objects))?;
        }
        Ok(Known::default())
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(file).ok()?).read_to_end(&mut bytes).ok()?;
    postcard::from_bytes(&bytes).ok()
}

/// Nobody sees half of a file.
fn write<T: Serialize>(file: &Path, value: &T) -> Result<(), Error> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(at(folder))?;
    let bytes = postcard::to_allocvec(value)
        .map_err(|error| at(file)(std::io::Error::other(error.to_string())))?;
    let part = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    let mut packed = GzEncoder::new(part.as_file(), Compression::fast());
    packed.write_all(&bytes).map_err(at(file))?;
    packed.finish().map_err(at(file))?;
    part.persist(file).map(|_| ()).map_err(|error| at(file)(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_with_the_items_that_they_stand_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { place: folder.path().to_owned() };
        let mut known = cache.known().unwrap();
        let text = known.text("# 1 \"fs/a.c\"\nint a;\n");
        write(&cache.items(), &known).unwrap();
        write(&cache.of_object("fs/a.o"), &text).unwrap();
        let read_again: Text = read(&cache.of_object("fs/a.o")).unwrap();
        assert_eq!(read_again, text);
        assert!(cache.known().unwrap().has(&text));
        fs::write(cache.items(), "cut off").unwrap();
        assert_eq!(cache.known().unwrap().len(), 0);
        assert!(read::<Text>(&cache.of_object("fs/a.o")).is_none());
    }
}
