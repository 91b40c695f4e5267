//! What becomes a patch's module, cut out of the objects that were compared.

use std::collections::{BTreeMap, BTreeSet};

use lucos_debian_archive::kernel::Series;
use lucos_object_diff::{
    BootShifts, CopiedKey, Extract, Links, Reason, Refusal, extract, users_left,
};

use crate::compared::Compared;
use crate::compile::Object;
use crate::error::Error;
use crate::explanation::ObjectExplanation;
use crate::image::Vmlinux;
use crate::kept::{self, Kept};
use crate::kernel_tree::KernelTree;
use crate::linking::{Linked, NewGlobals, new_names};
use crate::module_image::ModuleImage;
use crate::patch_module::Replaced;
use crate::references::{Exports, Resolver};
use crate::running::{self, Matched, ObjectCode, Running};
use crate::used::Used;

/// The functions and data that objects get newly and share.
pub(crate) fn new_globals(
    tree: &KernelTree,
    kernel: &Vmlinux,
    compared: &[Compared<'_>],
) -> Result<NewGlobals, Error> {
    let mut new = NewGlobals::default();
    for (number, one) in compared.iter().enumerate() {
        let names = new_names(&one.cut_from(kernel));
        if names.is_empty() {
            continue;
        }
        let object = &one.pair.original;
        let module = module_of(tree, object)?;
        let mut shared = vec![kernel.symbols()];
        shared.extend(module.as_ref().map(ModuleImage::symbols));
        new.add(number, &object.path, names, &shared)?;
    }
    Ok(new)
}

/// The module of the kernel's package that an object is part of.
fn module_of(tree: &KernelTree, object: &Object) -> Result<Option<ModuleImage>, Error> {
    let modules = || tree.kernel.modules.clone().unwrap_or_default();
    object.module.as_ref().map(|path| ModuleImage::read(&modules(), path)).transpose()
}

/// What becomes the module.
pub(crate) struct Made {
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) functions: Vec<Replaced>,
    pub(crate) keys: Vec<CopiedKey>,
    pub(crate) shifts: Vec<BootShifts>,
    pub(crate) spaces: BTreeSet<String>,
    /// What the kernel may go on using after a rollback.
    pub(crate) kept: Vec<Kept>,
    pub(crate) objects: Vec<ObjectExplanation>,
}

pub(crate) struct Assembly<'a> {
    pub(crate) tree: &'a KernelTree,
    pub(crate) kernel: &'a Vmlinux,
    pub(crate) exports: &'a Exports,
    pub(crate) series: Option<Series>,
}

impl Assembly<'_> {
    pub(crate) fn make(&self, compared: Vec<Compared<'_>>) -> Result<Made, Error> {
        let new = new_globals(self.tree, self.kernel, &compared)?;
        self.with_new_globals(compared, &new)
    }

    pub(crate) fn with_new_globals(
        &self,
        compared: Vec<Compared<'_>>,
        new: &NewGlobals,
    ) -> Result<Made, Error> {
        let objects: Vec<_> =
            compared.iter().map(|one| (one.cut_from(self.kernel), &one.comparison)).collect();
        let Linked { mut links, included, beside } = new.link(&objects)?;
        self.check_users(&compared, &beside)?;
        // Later kernels leave read-only keys alone.
        if self.series == Some(Series::Debian6_1) {
            links.read_only_keys = self.kernel.read_only_names();
        }
        let mut made = Made {
            payloads: Vec::new(),
            functions: Vec::new(),
            keys: Vec::new(),
            shifts: Vec::new(),
            spaces: BTreeSet::new(),
            kept: Vec::new(),
            objects: Vec::new(),
        };
        let mut modules = BTreeMap::new();
        for (number, one) in compared.into_iter().enumerate() {
            if included.contains(&number) {
                let module = self.add(one, &links, &mut made)?;
                modules.extend(module.map(|module| (module.name().to_owned(), module)));
            } else {
                made.objects.push(one.without_effect());
            }
        }
        made.objects.sort_by(|a, b| a.object.cmp(&b.object));
        made.kept = self.find_kept(&made, &modules)?;
        Ok(made)
    }

    fn find_kept(
        &self,
        made: &Made,
        modules: &BTreeMap<String, ModuleImage>,
    ) -> Result<Vec<Kept>, Error> {
        let redirected = made.functions.iter().map(|function| function.new_symbol.as_str());
        let modules =
            modules.iter().map(|(name, module)| (name.clone(), module as &dyn Running)).collect();
        kept::find(&made.payloads, &redirected.collect(), self.kernel, &modules).map_err(|reason| {
            let object = String::from("the cut-out");
            running::Error::Malformed { object, reason }.into()
        })
    }

    /// Nothing that stays as it is uses a function that is called in another way now: it would go on
    /// with the old version, which is not redirected.
    fn check_users(
        &self,
        compared: &[Compared<'_>],
        beside: &BTreeSet<String>,
    ) -> Result<(), Error> {
        for one in compared.iter().filter(|_| !beside.is_empty()) {
            let left = users_left(&one.input(self.kernel), beside)?;
            if left.is_empty() {
                continue;
            }
            let reason = |(user, name): (String, String)| Reason::Unsupported {
                function: user,
                what: format!(
                    "uses {name}, which is called in another way with the change, and stays as it \
                     is itself, with the old {name}; leave {name} as it is, and give the new \
                     version another name"
                ),
            };
            return Err(Error::Refused(Refusal {
                object: one.pair.original.path.clone(),
                reasons: left.into_iter().map(reason).collect(),
            }));
        }
        Ok(())
    }

    /// Adds an object; gives the module that it is part of.
    fn add(
        &self,
        one: Compared<'_>,
        links: &Links,
        made: &mut Made,
    ) -> Result<Option<ModuleImage>, Error> {
        let object = &one.pair.original;
        let module = module_of(self.tree, object)?;
        let running: &dyn Running = match &module {
            None => self.kernel,
            Some(module) => module,
        };
        let code = ObjectCode::read(&object.path, &object.bytes, &self.kernel.sizes())?;
        let matched = Matched::find(&object.path, &code, running)?;
        let first = extract(&one.cut_from(self.kernel), &one.comparison, links)?;
        let replaced = links.replaced.iter().map(|name| format!("lucos_new_{name}"));
        let ours = replaced.chain(links.wanted.iter().cloned()).collect();
        let resolver = Resolver {
            object: &object.path,
            matched: &matched,
            running,
            kernel: self.kernel,
            exports: self.exports,
            ours: &ours,
        };
        let (uses, renamed) = self.resolve(&resolver, &first, made)?;
        let constants: BTreeMap<_, _> = first
            .constants
            .iter()
            .filter_map(|constant| Some((constant.id, resolver.constant(constant)?)))
            .collect();
        let of_the_kernel = constants.len();
        let links = Links { renamed, constants, ..links.clone() };
        let last = extract(&one.cut_from(self.kernel), &one.comparison, &links)?;
        for replacement in &last.replacements {
            let old = resolver.function(&replacement.name)?;
            let expected = code
                .functions
                .get(&replacement.name)
                .zip(matched.functions.get(&replacement.name))
                .and_then(|(code, found)| running::at_site(code, found, running));
            let new_symbol = replacement.new_symbol.clone();
            made.functions.push(Replaced { old, new_symbol, expected });
        }
        made.keys.extend(last.copied_keys);
        made.shifts.extend(last.shifts);
        made.payloads.push(last.elf);
        made.objects.push(ObjectExplanation {
            object: object.path.clone(),
            part_of: one.part_of(),
            matched: matched.functions.len(),
            superseded: last.superseded,
            uses,
            kernel_constants: of_the_kernel,
            comparison: one.comparison,
        });
        Ok(module)
    }

    /// What the undefined symbols mean, and the names that they get.
    fn resolve(
        &self,
        resolver: &Resolver<'_>,
        extract: &Extract,
        made: &mut Made,
    ) -> Result<(Vec<Used>, BTreeMap<String, String>), Error> {
        let mut uses = Vec::new();
        let mut renamed = BTreeMap::new();
        for reference in &extract.references {
            let Some(used) = resolver.resolve(reference)? else {
                continue;
            };
            if used.object.is_empty() {
                let space = self.exports.space(&used.name).unwrap_or_default();
                if !space.is_empty() {
                    made.spaces.insert(space.to_owned());
                }
            }
            renamed.insert(reference.symbol.clone(), used.symbol());
            uses.push(used);
        }
        Ok((uses, renamed))
    }
}
