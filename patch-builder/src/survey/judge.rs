//! Compares, matches and links what was compiled.

use lucos_debian_archive::kernel::Series;
use lucos_object_diff::Refusal;

use crate::assembly::{Assembly, Made};
use crate::compared::{Compared, Pair, compare_pair};
use crate::edited::Edited;
use crate::error::Error;
use crate::image::Vmlinux;
use crate::kernel_tree::KernelTree;
use crate::kinds::check_kind;
use crate::patch_module::{PatchModule, Redirector};
use crate::references::Exports;
use crate::used::KERNEL_OBJECT;
use crate::workshop::Workshop;

use super::candidates::Candidate;
use super::compilation::Compiled;
use super::order;
use super::settings::Settings;
use super::store::Store;
use super::verdict::{CHANGED, Class, Verdict};

/// Judges files.
pub struct Judge<'a> {
    /// The survey's tree.
    pub tree: &'a KernelTree,
    /// The kernel.
    pub kernel: &'a Vmlinux,
    /// What is exported.
    pub exports: &'a Exports,
    /// What is surveyed.
    pub settings: &'a Settings,
    /// Where modules go.
    pub store: &'a Store,
}

/// A file's module before it is linked.
struct Unlinked {
    /// Which of the verdicts.
    index: usize,
    name: String,
    description: String,
    made: Made,
}

impl Judge<'_> {
    /// Judges files. The result is in their order.
    ///
    /// # Errors
    /// When headers or files of ours cannot be read or written.
    pub fn all(
        &self,
        files: &[&Candidate],
        compiled: Vec<Compiled>,
    ) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::new();
        let mut unlinked = Vec::new();
        for (file, compiled) in files.iter().zip(compiled) {
            let (verdict, made) = self.one(&file.file, compiled);
            if let Some(made) = made {
                let (index, name) = (verdicts.len(), name_of(&file.file));
                let description = format!("{} of Debian {}", file.file, self.settings.to);
                unlinked.push(Unlinked { index, name, description, made });
            }
            verdicts.push(verdict);
        }
        let failed = self.link(&unlinked);
        for (one, error) in unlinked.into_iter().zip(failed) {
            let Some(verdict) = verdicts.get_mut(one.index) else { continue };
            match error {
                None => verdict.module = Some(one.name),
                Some(error) => *verdict = Verdict::refused(&verdict.file, true, &error),
            }
        }
        Ok(verdicts)
    }

    fn one(&self, file: &str, compiled: Compiled) -> (Verdict, Option<Made>) {
        let Compiled { change, pairs, code } = compiled;
        if let Err(error) = check_kind(file) {
            return (Verdict::refused(file, false, &error), None);
        }
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(error) => {
                let is_code_only = !matches!(error, Error::Compile { with: CHANGED, .. });
                return (Verdict::refused(file, is_code_only, &error), None);
            }
        };
        let edited = Edited::new(std::slice::from_ref(&change), Vec::new());
        let mut all = Vec::new();
        for pair in &pairs {
            match compare_pair(pair, self.kernel, self.tree.has_ibt, &edited) {
                Ok(compared) => all.push(compared),
                Err(error) => return (Verdict::refused(file, true, &error), None),
            }
        }
        let verdict = Verdict::new(file, Class::NoEffect, true);
        let counted = verdict.with_variables(all.iter().map(|one| &one.comparison)).variables;
        let (verdict, made) = self.compared(file, all, code);
        (Verdict { variables: counted, ..verdict }, made)
    }

    fn compared(
        &self,
        file: &str,
        all: Vec<Compared<'_>>,
        code: Vec<Pair>,
    ) -> (Verdict, Option<Made>) {
        let is_code_only = all
            .iter()
            .all(|one| one.comparison.data.is_empty() && one.comparison.layouts.is_empty());
        let functions = all.iter().map(|one| one.comparison.functions.len()).sum();
        if let Some(one) = all.iter().find(|one| !one.comparison.refusals.is_empty()) {
            let error = Error::Refused(Refusal {
                object: one.pair.original.path.clone(),
                reasons: one.comparison.refusals.clone(),
            });
            let verdict = Verdict::refused(file, is_code_only, &error);
            return (Verdict { functions, ..verdict }, None);
        }
        if all.iter().all(|one| one.comparison.is_empty()) {
            return (Verdict::new(file, Class::NoEffect, is_code_only), None);
        }
        let assembly = Assembly {
            tree: self.tree,
            kernel: self.kernel,
            exports: self.exports,
            series: Series::of(&self.settings.kernel),
        };
        let with_code =
            all.into_iter().zip(code).map(|(one, code)| one.with_code(self.kernel, code));
        match with_code.collect::<Result<_, _>>().and_then(|all| assembly.make(all)) {
            Err(error) => {
                let verdict = Verdict::refused(file, is_code_only, &error);
                (Verdict { functions, ..verdict }, None)
            }
            Ok(made) => {
                let mut parts: Vec<String> =
                    made.objects.iter().map(|object| object.part_of.clone()).collect();
                parts.extend(
                    made.objects.iter().flat_map(|o| &o.uses).map(|used| used.object.clone()),
                );
                parts.retain(|part| part != KERNEL_OBJECT && !part.is_empty());
                parts.sort();
                parts.dedup();
                let verdict = Verdict::new(file, Class::Built, is_code_only);
                (Verdict { functions, parts, ..verdict }, Some(made))
            }
        }
    }

    /// Links all modules at once, or each alone when that fails; what is wrong with each.
    fn link(&self, unlinked: &[Unlinked]) -> Vec<Option<Error>> {
        let together: Vec<&Unlinked> = unlinked.iter().collect();
        if unlinked.is_empty() || self.link_some(&together).is_ok() {
            return unlinked.iter().map(|_| None).collect();
        }
        unlinked.iter().map(|one| self.link_some(&[one]).err()).collect()
    }

    fn link_some(&self, unlinked: &[&Unlinked]) -> Result<(), Error> {
        let modules: Vec<PatchModule<'_>> = unlinked
            .iter()
            .map(|one| PatchModule {
                redirector: Redirector::Lucos,
                name: &one.name,
                description: &one.description,
                build_id: self.kernel.build_id(),
                payloads: &one.made.payloads,
                functions: &one.made.functions,
                keys: &one.made.keys,
                shifts: &one.made.shifts,
                spaces: &one.made.spaces,
                kept: &one.made.kept,
            })
            .collect();
        let mut workshop = Workshop::new()?;
        for module in &modules {
            workshop.add(module)?;
        }
        let headers = self.tree.kernel.headers.clone().unwrap_or_default();
        workshop.link(&headers, self.settings.manager_symbols.as_deref())?;
        for module in &modules {
            workshop.take(module, &self.store.module_file(module.name))?;
        }
        Ok(())
    }
}

/// A name for a file's patch that no other file has.
fn name_of(file: &str) -> String {
    const MOST: usize = 40;
    let stem = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".c");
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let stem: String = stem.chars().take(MOST).map(plain).collect();
    let digest = order::place(0, "name", file);
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}_{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_get_two() {
        let (a, b) = (name_of("net/core/sock-Map.c"), name_of("net/sock-Map.c"));
        assert!(a.starts_with("sock_map_") && b.starts_with("sock_map_"));
        assert_ne!(a, b);
    }
}
