//! Which objects a change of some files touches.

use std::collections::BTreeSet;

use crate::change::FileChange;
use crate::dependants::{self, Included, Includes};
use crate::error::Error;
use crate::kbuild;
use crate::kernel_tree::KernelTree;
use crate::kinds::check_kind;
use crate::progress::Progress;

/// Objects to compile, and why.
#[derive(Debug, Default)]
pub struct Touched {
    /// Objects of changed C files: each has to be part of the kernel.
    pub direct: BTreeSet<String>,
    /// Objects that include a changed file and see the change; one that is not part of the kernel
    /// does not matter.
    pub dependants: BTreeSet<String>,
}

impl Touched {
    /// Finds the objects, for a tree without the change.
    ///
    /// # Errors
    /// [`Error::NotPatchable`] for a file that is no C source or header, or that assembly depends on.
    pub fn find(
        tree: &KernelTree,
        changes: &[FileChange],
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        changes.iter().try_for_each(|change| check_kind(&change.path))?;
        let (mut touched, mut files) = (Self::default(), BTreeSet::new());
        let sources: BTreeSet<String> =
            changes.iter().filter_map(|change| own_object(&change.path)).collect();
        let own = match sources.is_empty() {
            true => BTreeSet::new(),
            false => kbuild::compiled(&tree.root(), &sources)?,
        };
        let included = Included::of(tree)?;
        for change in changes {
            let object = own_object(&change.path).filter(|object| own.contains(object));
            if object.is_none() || included.may_be(&change.path) {
                files.insert(change.path.as_str());
            }
            touched.direct.extend(object);
        }
        if !files.is_empty() {
            let includes = Includes::of(tree, progress)?;
            // A C file that is compiled nowhere is an error of its own object.
            let nowhere = files.iter().filter(|file| includes.known(file).is_empty());
            touched.direct.extend(nowhere.filter_map(|file| own_object(file)));
            touched.dependants = dependants::find(tree, &includes, changes, &files, progress)?;
        }
        Ok(touched)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeSet<String> {
        self.direct.union(&self.dependants).cloned().collect()
    }
}

/// The object that a C file is compiled into if a makefile names it.
fn own_object(file: &str) -> Option<String> {
    file.strip_suffix(".c").map(|stem| format!("{stem}.o"))
}
