//! The preprocessor's texts of a kernel's objects without a change, each asked for once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use super::cached::{self, read, write};
use super::commands::Compilation;
use super::items::cut;
use super::known::{Known, Text};
use super::side_by_side;
use crate::error::{Error, at};
use crate::kernel_tree::{KernelTree, lock};

/// Names with the preprocessor's counter in them are others as soon as one more is counted before.
/// `-dU` names the macros that a text depends on.
pub(super) const TEXT: &str = "-E -dU -w -U__COUNTER__ -D__COUNTER__=0";

/// After how many objects the texts are written into the cache: a build that ends early loses no more.
const AT_ONCE: usize = 200;

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
    let cache = Cache { place: cached::place(tree).join("texts") };
    fs::create_dir_all(&cache.place).map_err(at(&cache.place))?;
    // Builds in another tree of the kernel keep theirs here too.
    let _lock = lock(&cache.place.join("lock"))?;
    cache.texts(&tree.root(), objects)
}

/// The texts of objects in a tree as it is now.
pub(super) fn asked<'a>(
    root: &Path,
    known: &Mutex<Known>,
    objects: &Objects<'a>,
    bar: &ProgressBar,
) -> Texts<'a> {
    let texts = side_by_side::each(objects, bar, |(_, one)| {
        let text = one.print(root, TEXT).ok()?;
        let cut = cut(&text);
        Some(known.lock().unwrap_or_else(PoisonError::into_inner).text(&cut))
    });
    objects.iter().map(|(object, _)| *object).zip(texts).collect()
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

    fn texts<'a>(&self, root: &Path, objects: &Objects<'a>) -> Result<(Known, Texts<'a>), Error> {
        let known = self.known()?;
        let mut texts: Texts<'a> = objects
            .iter()
            .filter_map(|(object, _)| {
                let text: Text = read(&self.of_object(object))?;
                known.has(&text).then_some((*object, Some(text)))
            })
            .collect();
        let missing: Vec<(&str, &Compilation)> =
            objects.iter().filter(|(object, _)| !texts.contains_key(object)).copied().collect();
        let bar = side_by_side::bar("Preprocessed files", missing.len());
        let mut length = known.len();
        let known = Mutex::new(known);
        for some in missing.chunks(AT_ONCE) {
            let new = asked(root, &known, some, &bar);
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() > length {
                // Before the numbers that stand for them.
                write(&self.items(), &*known)?;
                length = known.len();
            }
            for (object, text) in &new {
                text.as_ref().map_or(Ok(()), |text| write(&self.of_object(object), text))?;
            }
            texts.extend(new);
        }
        bar.finish_and_clear();
        Ok((known.into_inner().unwrap_or_else(PoisonError::into_inner), texts))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_with_the_items_that_they_stand_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { place: folder.path().to_owned() };
        let mut known = cache.known().unwrap();
        let text = known.text(&cut("# 1 \"fs/a.c\"\nint a;\n"));
        write(&cache.items(), &known).unwrap();
        write(&cache.of_object("fs/a.o"), &text).unwrap();
        let read_again: Text = read(&cache.of_object("fs/a.o")).unwrap();
        assert_eq!(read_again, text);
        assert!(cache.known().unwrap().has(&text));
        fs::write(cache.items(), "cut off").unwrap();
        assert_eq!(cache.known().unwrap().len(), 0);
        assert!(read::<Text>(&cache.of_object("fs/a.o")).is_none());
    }

    #[test]
    fn a_text_is_asked_for_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let cache = Cache { place: root.join("cache") };
        let one = |source: &str| Compilation { source: source.into(), flags: String::new() };
        fs::write(root.join("a.c"), "int a;\n").unwrap();
        fs::write(root.join("b.c"), "int b;\n").unwrap();
        let (a, b, none) = (one("a.c"), one("b.c"), one("none.c"));
        let (_, first) = cache.texts(root, &[("a.o", &a), ("none.o", &none)]).unwrap();
        fs::remove_file(root.join("a.c")).unwrap();
        let all = [("a.o", &a), ("b.o", &b), ("none.o", &none)];
        let (known, texts) = cache.texts(root, &all).unwrap();
        assert_eq!(texts["a.o"], first["a.o"]);
        assert_eq!(texts["none.o"], None);
        let same = texts["a.o"].as_ref().zip(texts["b.o"].as_ref()).unwrap();
        assert!(same.0 != same.1 && known.has(same.0) && known.has(same.1));
    }
}
