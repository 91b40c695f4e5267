//! Puts a change into a source tree and takes it out again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::change::FileChange;
use crate::error::{Error, at};

/// Headers that make generates from what C files compute of others.
const GENERATED: [&str; 3] = [
    "include/generated/asm-offsets.h",
    "include/generated/bounds.h",
    "include/generated/rq-offsets.h",
];

/// The source tree while a change is in it.
pub(crate) struct WorkTree {
    root: PathBuf,
    /// The source as it is without a change.
    pristine: PathBuf,
    /// Says which files differ from it.
    note: PathBuf,
}

impl WorkTree {
    pub(crate) const fn new(root: PathBuf, pristine: PathBuf, note: PathBuf) -> Self {
        Self { root, pristine, note }
    }

    /// Puts the changed files in place of their links. What changes is noted first, so that the
    /// next build can put it back if this one does not.
    pub(crate) fn apply(&self, changes: &[FileChange]) -> Result<(), Error> {
        let list: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        fs::write(&self.note, list.join("\n")).map_err(at(&self.note))?;
        for change in changes {
            let file = self.root.join(&change.path);
            if file.exists() {
                fs::remove_file(&file).map_err(at(&file))?;
            }
            fs::write(&file, change.after()).map_err(at(&file))?;
        }
        Ok(())
    }

    /// Puts back what is noted.
    pub(crate) fn restore(&self) -> Result<(), Error> {
        let Ok(list) = fs::read_to_string(&self.note) else {
            return Ok(());
        };
        for path in list.lines() {
            let (file, pristine) = (self.root.join(path), self.pristine.join(path));
            if file.exists() {
                fs::remove_file(&file).map_err(at(&file))?;
            }
            if pristine.exists() {
                fs::hard_link(&pristine, &file).map_err(at(&file))?;
            }
        }
        if list.lines().any(|path| path.ends_with(".h")) {
            self.forget_generated()?;
        }
        fs::remove_file(&self.note).map_err(at(&self.note))
    }

    /// The headers with what is computed of others, as make has made them last.
    pub(crate) fn generated(&self) -> BTreeMap<&'static str, String> {
        let text = |path| fs::read_to_string(self.root.join(path)).ok();
        GENERATED.into_iter().filter_map(|path| Some((path, text(path)?))).collect()
    }

    /// What make generated from a changed header is newer than the header that is put back.
    fn forget_generated(&self) -> Result<(), Error> {
        for generated in
            ["kernel/bounds.s", "arch/x86/kernel/asm-offsets.s", "kernel/sched/rq-offsets.s"]
        {
            let file = self.root.join(generated);
            if file.exists() {
                fs::remove_file(&file).map_err(at(&file))?;
            }
        }
        Ok(())
    }
}

/// A header that is computed of others is part of assembly too, and of nearly every object.
pub(crate) fn check_generated(
    before: &BTreeMap<&str, String>,
    after: &BTreeMap<&str, String>,
    changes: &[FileChange],
) -> Result<(), Error> {
    let Some((path, _)) = before.iter().find(|(path, text)| after.get(*path) != Some(text)) else {
        return Ok(());
    };
    let files: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    Err(Error::NotPatchable {
        file: files.join(", "),
        why: format!(
            "it changes {path}, which the build makes of it and with which assembly is compiled; \
             leave this part out"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_must_stay() {
        let change = FileChange {
            path: "arch/x86/include/asm/ptrace.h".into(),
            before: String::new(),
            edits: Vec::new(),
        };
        let [path, other, _] = GENERATED;
        let of = |value: &str| BTreeMap::from([(path, value.to_owned()), (other, "1".to_owned())]);
        assert!(check_generated(&of("1"), &of("1"), std::slice::from_ref(&change)).is_ok());
        for after in [of("2"), BTreeMap::from([(other, "1".to_owned())])] {
            let error =
                check_generated(&of("1"), &after, std::slice::from_ref(&change)).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(path) && message.contains("ptrace.h"), "{message}");
        }
    }
}
