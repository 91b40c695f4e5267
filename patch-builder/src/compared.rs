//! An object without and with a change, and what differs.

use lucos_object_diff::{Comparison, Decision, Input, Refusal, SourceChange, compare};

use crate::compile::Object;
use crate::edited::Edited;
use crate::error::Error;
use crate::explanation::ObjectExplanation;
use crate::image::Vmlinux;
use crate::linking::new_names;
use crate::refused::Refused;
use crate::used::KERNEL_OBJECT;

/// An object without and with the change.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) original: Object,
    pub(crate) patched: Object,
}

/// A pair and what differs.
pub(crate) struct Compared<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) comparison: Comparison,
    ibt: bool,
    edited: &'a Edited,
    sources: Vec<SourceChange<'a>>,
    decisions: Vec<Decision>,
    /// The pair, compiled as code of a module.
    code: Option<Pair>,
}

impl Compared<'_> {
    /// What is compared.
    pub(crate) fn input<'a>(&'a self, kernel: &Vmlinux) -> Input<'a> {
        self.input_of(self.pair, kernel)
    }

    /// What the patch's code is cut out of: new code that was compiled for the module, beside the
    /// old code that runs.
    pub(crate) fn cut_from<'a>(&'a self, kernel: &Vmlinux) -> Input<'a> {
        let patched = &self.code.as_ref().unwrap_or(self.pair).patched.bytes;
        Input { patched, ..self.input(kernel) }
    }

    /// Something of it may become part of the patch.
    pub(crate) fn may_go_along(&self, kernel: &Vmlinux) -> bool {
        !self.comparison.is_empty() || !new_names(&self.input(kernel)).is_empty()
    }

    /// With the same pair compiled as code of a module. What differs there goes into the patch too:
    /// the compiler may have inlined less.
    pub(crate) fn with_code(mut self, kernel: &Vmlinux, code: Pair) -> Result<Self, Error> {
        let Comparison { functions, refusals: reasons, .. } =
            compare(&self.input_of(&code, kernel))?;
        if !reasons.is_empty() {
            let object = code.original.path;
            return Err(Error::Refused(Refusal { object, reasons }));
        }
        let known = &mut self.comparison.functions;
        for function in functions {
            if known.iter().all(|one| one.name != function.name) {
                known.push(function);
            }
        }
        self.code = Some(code);
        Ok(self)
    }

    fn input_of<'a>(&'a self, pair: &'a Pair, kernel: &Vmlinux) -> Input<'a> {
        Input {
            original: &pair.original.bytes,
            patched: &pair.patched.bytes,
            sizes: kernel.sizes(),
            ibt: self.ibt,
            module: self.pair.original.module.is_some(),
            name: &self.pair.original.path,
            edited: self.edited.functions(),
            sources: &self.sources,
            decisions: &self.decisions,
        }
    }

    pub(crate) fn part_of(&self) -> String {
        part_of(&self.pair.original)
    }

    pub(crate) fn without_effect(self) -> ObjectExplanation {
        ObjectExplanation {
            object: self.pair.original.path.clone(),
            part_of: self.part_of(),
            comparison: self.comparison,
            matched: 0,
            superseded: Vec::new(),
            uses: Vec::new(),
            kernel_constants: 0,
        }
    }
}

fn part_of(object: &Object) -> String {
    match &object.module {
        None => KERNEL_OBJECT.to_owned(),
        Some(path) => path.rsplit('/').next().unwrap_or(path).replace('-', "_"),
    }
}

pub(crate) fn compare_all<'a>(
    pairs: &'a [Pair],
    kernel: &Vmlinux,
    ibt: bool,
    edited: &'a Edited,
) -> Result<Vec<Compared<'a>>, Error> {
    let mut all = Vec::new();
    let mut refused = Refused::default();
    for pair in pairs {
        match compare_pair(pair, kernel, ibt, edited) {
            Ok(compared) => {
                refused.add(&pair.original.path, &compared.comparison);
                all.push(compared);
            }
            Err(Error::Refused(refusal)) => refused.objects.push(refusal),
            Err(error) => return Err(error),
        }
    }
    if !refused.objects.is_empty() {
        return Err(Error::RefusedObjects(refused));
    }
    edited.check_said(all.iter().map(|one| (&one.pair.original.path, &one.comparison)))?;
    Ok(all)
}

/// What differs in a pair, whatever can be done about it.
pub(crate) fn compare_pair<'a>(
    pair: &'a Pair,
    kernel: &Vmlinux,
    ibt: bool,
    edited: &'a Edited,
) -> Result<Compared<'a>, Error> {
    let (sources, decisions) = (edited.sources(), edited.decisions(&pair.original.path));
    let comparison = Comparison::default();
    let compared = Compared { pair, comparison, ibt, edited, sources, decisions, code: None };
    let comparison = compare(&compared.input(kernel))?;
    Ok(Compared { comparison, ..compared })
}
