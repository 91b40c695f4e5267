//! What a change does to the source, as the comparison of objects wants to know it.

use std::collections::BTreeSet;

use lucos_object_diff::{Comparison, Decision, SourceChange};

use crate::change::FileChange;
use crate::decisions::Said;
use crate::error::Error;

/// What a change does to the source, and what its author says.
pub(crate) struct Edited {
    functions: Vec<String>,
    /// Path, text before and text with the change of each file.
    files: Vec<(String, String, String)>,
    said: Vec<Said>,
}

impl Edited {
    pub(crate) fn new(changes: &[FileChange], said: Vec<Said>) -> Self {
        let file =
            |change: &FileChange| (change.path.clone(), change.before.clone(), change.after());
        Self {
            functions: changes.iter().flat_map(FileChange::edited_functions).collect(),
            files: changes.iter().map(file).collect(),
            said,
        }
    }

    /// The functions that the change itself touches.
    pub(crate) fn functions(&self) -> &[String] {
        &self.functions
    }

    pub(crate) fn sources(&self) -> Vec<SourceChange<'_>> {
        let files = self.files.iter();
        files.map(|(path, before, after)| SourceChange { path, before, after }).collect()
    }

    pub(crate) fn decisions(&self, object: &str) -> Vec<Decision> {
        Said::about(&self.said, object).map(|(_, decision)| decision.clone()).collect()
    }

    /// Whether all that the author says is about some variable of these objects.
    pub(crate) fn check_said<'c>(
        &self,
        compared: impl Iterator<Item = (&'c String, &'c Comparison)>,
    ) -> Result<(), Error> {
        let mut heard = BTreeSet::new();
        for (object, comparison) in compared {
            let about: Vec<usize> =
                Said::about(&self.said, object).map(|(number, _)| number).collect();
            let decided = comparison.decided.iter();
            heard.extend(decided.filter_map(|number| about.get(*number).copied()));
        }
        let mut all = self.said.iter().enumerate();
        match all.find(|(number, _)| !heard.contains(number)) {
            Some((_, said)) => Err(Error::Undecided(said.text().to_owned())),
            None => Ok(()),
        }
    }
}
