//! How much of the difference between two versions of the distribution's source can be patched:
//! one patch for each file.

mod candidates;
mod compilation;
pub mod dependencies;
mod judge;
mod order;
mod settings;
pub(crate) mod store;
pub mod table;
pub mod trial;
mod verdict;

pub use settings::Settings;
pub use verdict::{Class, Verdict};

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::packages::Consent;
use serde::Serialize;

use crate::dependants::Includes;
use crate::digest;
use crate::error::{Error, at};
use crate::image;
use crate::kernel_tree::{self, KernelTree};
use crate::progress::Progress;
use crate::references::Exports;

use candidates::Candidate;
use compilation::Compilation;
use judge::Judge;
use store::Store;
use trial::Tried;

/// Files that are compiled, judged and linked together.
const BATCH: usize = 24;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// The kernel's release.
    pub kernel: String,
    /// Version of its source package.
    pub from: String,
    /// Version of the newer one.
    pub to: String,
    /// What chose the files.
    pub seed: u64,
    /// C files that this kernel compiles and that differ.
    pub candidates: usize,
    /// One for each file that was looked at.
    pub verdicts: Vec<Verdict>,
    /// What came of the patches of the sample that was loaded.
    pub tried: Vec<Tried>,
    /// Where the modules are.
    #[serde(skip)]
    pub modules: PathBuf,
    /// How long this run took, in seconds.
    pub seconds: u64,
}

impl Survey {
    /// The verdicts with a module, in the order in which the seed draws them.
    #[must_use]
    pub fn drawn(&self) -> Vec<&Verdict> {
        let mut built: Vec<&Verdict> =
            self.verdicts.iter().filter(|verdict| verdict.module.is_some()).collect();
        built.sort_by_key(|verdict| order::place(self.seed, "load", &verdict.file));
        built
    }
}

/// Surveys. What an earlier run found out and what is still true is not done again.
///
/// # Errors
/// When sources, kernel or tools are missing. What is wrong with a file is in its verdict.
pub fn run(
    archive: &Archive,
    settings: &Settings,
    consent: Consent,
    progress: &mut Progress,
) -> Result<Survey, Error> {
    let start = Instant::now();
    let tree = KernelTree::open_beside(archive, &settings.kernel, "survey", consent, progress)?;
    let newer = kernel_tree::newer_source(archive, &settings.to, progress)?;
    let store = Store::open(&tree, &settings.to)?;
    let mut candidates = match store.candidates() {
        Some(candidates) => candidates,
        None => {
            let includes = Includes::of(&tree, progress)?;
            let found = progress
                .stage("Files that differ", || candidates::find(&tree, &newer, &includes))?;
            store.keep_candidates(&found)?;
            found
        }
    };
    let count = candidates.len();
    candidates.sort_by_key(|candidate| order::place(settings.seed, "file", &candidate.file));
    candidates.truncate(settings.limit.unwrap_or(count));
    let kernel = progress.stage("Kernel image", || image::read(&tree.kernel.image))?;
    let exports = Exports::read(&tree.kernel.headers.clone().unwrap_or_default())?;
    let manager = match &settings.manager_symbols {
        Some(path) => fs::read(path).map_err(at(path))?,
        None => Vec::new(),
    };
    let work = Work {
        compilation: Compilation { tree: &tree, store: &store, newer: &newer },
        judge: Judge { tree: &tree, kernel: &kernel, exports: &exports, settings, store: &store },
        store: &store,
        manager,
    };
    let mut verdicts = work.all(&candidates)?;
    verdicts.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(Survey {
        kernel: tree.kernel.release.clone(),
        from: tree.version.clone(),
        to: settings.to.clone(),
        seed: settings.seed,
        candidates: count,
        verdicts,
        tried: Vec::new(),
        modules: store.modules(),
        seconds: start.elapsed().as_secs(),
    })
}

struct Work<'a> {
    compilation: Compilation<'a>,
    judge: Judge<'a>,
    store: &'a Store,
    /// What the update manager exports: the kernel loads no module that was linked with other
    /// versions of these symbols.
    manager: Vec<u8>,
}

impl Work<'_> {
    fn all(&self, candidates: &[Candidate]) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::new();
        let mut open = Vec::new();
        for candidate in candidates {
            let key = self.key(candidate)?;
            match self.store.verdict(&candidate.file, &key) {
                Some(verdict) => verdicts.push(verdict),
                None => open.push((candidate, key)),
            }
        }
        let (start, known) = (Instant::now(), verdicts.len());
        eprintln!("{} files differ, {known} are known from before", candidates.len());
        for (number, batch) in open.chunks(BATCH).enumerate() {
            let files: Vec<&Candidate> = batch.iter().map(|(candidate, _)| *candidate).collect();
            let compiled = self.compilation.compile(&files)?;
            let judged = self.judge.all(&files, compiled)?;
            for ((candidate, key), verdict) in batch.iter().zip(&judged) {
                self.store.keep(&candidate.file, key, verdict)?;
            }
            verdicts.extend(judged);
            let done = (number * BATCH + batch.len()).max(1);
            let left = start.elapsed().mul_f64((open.len() - done) as f64 / done as f64);
            eprintln!(
                "{}; about {} min left",
                counts(&verdicts, candidates.len()),
                left.as_secs() / 60
            );
        }
        Ok(verdicts)
    }

    /// What a verdict and its module depend on: this program, the update manager's symbols, and
    /// the text that was compiled.
    fn key(&self, candidate: &Candidate) -> Result<String, Error> {
        let text = self.compilation.digest(candidate)?;
        let program = self.store.program().as_bytes();
        Ok(digest::of(&[program, &self.manager, text.as_bytes()]))
    }
}

fn counts(verdicts: &[Verdict], all: usize) -> String {
    let count = |class| verdicts.iter().filter(|verdict| verdict.class == class).count();
    format!(
        "{} of {all} files: {} built, {} without effect, {} need data work, {} refused",
        verdicts.len(),
        count(Class::Built),
        count(Class::NoEffect),
        count(Class::Data),
        count(Class::Refused)
    )
}
