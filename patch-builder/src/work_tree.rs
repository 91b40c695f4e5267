//! Puts a change into a source tree and takes it out again.

use std::collections::BTreeMap;
use std::fs;

use crate::change::FileChange;
use crate::error::{Error, at};
use crate::kernel_tree::KernelTree;

/// Headers that make generates from what C files compute of others.
const GENERATED: [&str; 3] = [
    "include/generated/asm-offsets.h",
    "include/generated/bounds.h",
    "include/generated/rq-offsets.h",
];

/// The source tree while a change is in it.
pub(crate) struct WorkTree<'a> {
    pub(crate) tree: &'a KernelTree,
}

impl WorkTree<'_> {
    /// Puts the changed files in place of their links. What changes is noted first, so that the
    /// next build can put it back if this one does not.
    pub(crate) fn apply(&self, changes: &[FileChange]) -> Result<(), Error> {
        let list: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        let note = self.tree.changed_list();
        fs::write(&note, list.join("\n")).map_err(at(&note))?;
        for change in changes {
            let file = self.tree.root().join(&change.path);
            if file.exists() {
                fs::remove_file(&file).map_err(at(&file))?;
            }
            fs::write(&file, change.after()).map_err(at(&file))?;
        }
        Ok(())
    }

    /// Puts back what is noted.
    pub(crate) fn restore(&self) -> Result<(), Error> {
        let note = self.tree.changed_list();
        let Ok(list) = fs::read_to_string(&note) else {
            return Ok(());
        };
        for path in list.lines() {
            let (file, pristine) = (self.tree.root().join(path), self.tree.pristine().join(path));
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
        fs::remove_file(&note).map_err(at(&note))
    }

    /// The headers with what is computed of others, as make has made them last.
    pub(crate) fn generated(&self) -> BTreeMap<&'static str, String> {
        let text = |path| fs::read_to_string(self.tree.root().join(path)).ok();
        GENERATED.into_iter().filter_map(|path| Some((path, text(path)?))).collect()
    }

    /// What make generated from a changed header is newer than the header that is put back.
    fn forget_generated(&self) -> Result<(), Error> {
        for generated in
            ["kernel/bounds.s", "arch/x86/kernel/asm-offsets.s", "kernel/sched/rq-offsets.s"]
        {
            let file = self.tree.root().join(generated);
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
