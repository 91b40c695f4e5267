//! What the objects of a patch have to do with each other.
//!
//! They become one module, so a function or variable that one of them gets newly can be used by the
//! others. What the kernel has already cannot come newly: nothing would lead the old code to it.

use std::collections::{BTreeMap, BTreeSet};

use lucos_object_diff::{Comparison, Input, Links, extract};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::error::Error;
use crate::image::Symbols;

/// What objects share newly: the numbers of the objects by name.
#[derive(Debug, Default)]
pub(crate) struct NewGlobals {
    objects: BTreeMap<String, BTreeSet<usize>>,
}

/// What the objects of a patch know of each other.
#[derive(Debug)]
pub(crate) struct Linked {
    /// For their extraction.
    pub(crate) links: Links,
    /// Numbers of those that belong to the patch.
    pub(crate) included: BTreeSet<usize>,
    /// Global functions with a new version beside the old one, which is not redirected.
    pub(crate) beside: BTreeSet<String>,
}

/// The global functions and data that an object gets newly.
pub(crate) fn new_names(input: &Input<'_>) -> BTreeSet<String> {
    let before = definitions(input.original, false);
    definitions(input.patched, true).difference(&before).cloned().collect()
}

impl NewGlobals {
    /// Adds what an object gets newly.
    ///
    /// # Errors
    /// When one of `shared`, the symbols of the kernel and of the object's module, has a name already.
    pub(crate) fn add(
        &mut self,
        number: usize,
        object: &str,
        names: BTreeSet<String>,
        shared: &[&Symbols],
    ) -> Result<(), Error> {
        for symbol in names {
            let is_shared = |symbols: &&Symbols| {
                let mut addresses = symbols.addresses(&symbol).iter();
                addresses.any(|address| symbols.is_global(&symbol, *address))
            };
            if shared.iter().any(is_shared) {
                return Err(Error::TakenGlobal { object: object.to_owned(), symbol });
            }
            self.objects.entry(symbol).or_default().insert(number);
        }
        Ok(())
    }

    /// What the objects of a patch know of each other, and which of them belong to it: those that
    /// change, and those with something new that these use.
    ///
    /// # Errors
    /// When one cannot be cut out, or two of them get a symbol of one name.
    pub(crate) fn link(&self, objects: &[(Input<'_>, &Comparison)]) -> Result<Linked, Error> {
        let (mut links, mut beside) = (Links::default(), BTreeSet::new());
        let mut included = BTreeSet::new();
        let changed = objects.iter().enumerate().filter(|(_, (_, one))| !one.is_empty());
        let mut open: Vec<usize> = changed.map(|(number, _)| number).collect();
        while let Some(number) = open.pop() {
            let Some((input, comparison)) = objects.get(number) else { continue };
            included.insert(number);
            let alone = Links { wanted: links.wanted.clone(), ..Links::default() };
            let first = extract(input, comparison, &alone)?;
            let is_global = |name: &&String| {
                let mut functions = comparison.functions.iter();
                functions.any(|function| function.name == **name && !function.is_static)
            };
            let replaced = first.replacements.iter().map(|replacement| &replacement.name);
            let superseded = first.superseded.iter().map(|superseded| &superseded.name);
            links.replaced.extend(replaced.chain(superseded.clone()).filter(is_global).cloned());
            beside.extend(superseded.filter(is_global).cloned());
            for reference in first.references {
                let Some(providers) = self.objects.get(&reference.symbol) else { continue };
                if links.wanted.insert(reference.symbol) {
                    open.extend(providers);
                }
            }
        }
        for (symbol, providers) in &self.objects {
            let mut both = providers.intersection(&included).filter_map(|one| objects.get(*one));
            if let (Some((one, _)), Some((other, _))) = (both.next(), both.next()) {
                return Err(Error::TwoGlobals {
                    object: one.name.to_owned(),
                    other: other.name.to_owned(),
                    symbol: symbol.clone(),
                });
            }
        }
        Ok(Linked { links, included, beside })
    }
}

/// The functions and data that an object defines and that stay; all, or those that objects share.
fn definitions(bytes: &[u8], only_global: bool) -> BTreeSet<String> {
    // The differ has read the object and found it well-formed.
    let Ok(file) = ElfFile64::<'_, LittleEndian>::parse(bytes) else { return BTreeSet::new() };
    let is_kept = |symbol: &object::read::elf::ElfSymbol64<'_, '_, LittleEndian>| {
        let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        section.is_some_and(|section| !section.name().unwrap_or_default().starts_with(".init"))
    };
    file.symbols()
        .filter(|symbol| !only_global || symbol.is_global())
        .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data))
        .filter(is_kept)
        .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
        // The room in front of a function has no users.
        .filter(|name| !name.starts_with("__pfx_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Symbol;
    use lucos_object_diff::{SpecialSizes, compare};
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    const FLAGS: [&str; 9] = [
        "-c",
        "-O2",
        "-ffunction-sections",
        "-fdata-sections",
        "-fno-pie",
        "-mcmodel=kernel",
        "-fno-common",
        "-fcf-protection=none",
        "-fno-asynchronous-unwind-tables",
    ];

    fn compile(folder: &Path, source: &str) -> Vec<u8> {
        let (file, object) = (folder.join("test.c"), folder.join("test.o"));
        fs::write(&file, source).unwrap();
        let status = Command::new("gcc").args(FLAGS).arg(&file).arg("-o").arg(&object).status();
        assert!(status.unwrap().success());
        fs::read(&object).unwrap()
    }

    /// Objects without and with a change.
    fn pairs(folder: &Path, sources: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let both =
            |(before, after): &(&str, &str)| (compile(folder, before), compile(folder, after));
        sources.iter().map(both).collect()
    }

    fn inputs<'p>(pairs: &'p [(Vec<u8>, Vec<u8>)]) -> Vec<Input<'p>> {
        let names = ["a.o", "b.o", "c.o"];
        let input = |(pair, name): (&'p (Vec<u8>, Vec<u8>), &'static str)| Input {
            original: &pair.0,
            patched: &pair.1,
            sizes: SpecialSizes::LINUX_6_1,
            ibt: false,
            module: false,
            name,
            edited: &[],
            sources: &[],
            decisions: &[],
        };
        pairs.iter().zip(names).map(input).collect()
    }

    fn new_globals(inputs: &[Input<'_>], kernel: &Symbols) -> Result<NewGlobals, Error> {
        let mut new = NewGlobals::default();
        for (number, input) in inputs.iter().enumerate() {
            new.add(number, input.name, new_names(input), &[kernel])?;
        }
        Ok(new)
    }

    #[test]
    fn what_one_object_gets_newly_others_use() {
        let folder = tempfile::tempdir().unwrap();
        let pairs = pairs(
            folder.path(),
            &[
                (
                    "int old(void) { return 1; }",
                    "int old(void) { return 1; } int count = 5, unused; int bar(int a) { return a; }",
                ),
                (
                    "int user(int a) { return a; }",
                    "extern int count; int bar(int); int user(int a) { return bar(a) + count; }",
                ),
                (
                    "int quiet(void) { return 3; }",
                    "int quiet(void) { return 3; } int lonely(int a) { return a - 9; }",
                ),
            ],
        );
        let inputs = inputs(&pairs);
        let comparisons: Vec<_> = inputs.iter().map(|input| compare(input).unwrap()).collect();
        let new = new_globals(&inputs, &Symbols::default()).unwrap();
        let objects: Vec<_> = inputs.iter().copied().zip(&comparisons).collect();
        let Linked { links, included, .. } = new.link(&objects).unwrap();
        assert_eq!(links.wanted, ["bar", "count"].map(String::from).into());
        assert_eq!(links.replaced, ["user"].map(String::from).into());
        // Nobody uses what is new in the third.
        assert_eq!(included, [0, 1].into());
        let files: Vec<_> = included
            .iter()
            .map(|number| {
                let (input, comparison) = &objects[*number];
                let file = folder.path().join(format!("{number}.o"));
                fs::write(&file, extract(input, comparison, &links).unwrap().elf).unwrap();
                file
            })
            .collect();
        // Nothing is left that the kernel would have to have.
        let program = folder.path().join("program");
        let status = Command::new("ld").args(["-e", "0", "-o"]).arg(&program).args(&files).status();
        assert!(status.unwrap().success());
        let linked = definitions(&fs::read(&program).unwrap(), true);
        assert!(linked.is_superset(&["bar", "count", "lucos_new_user"].map(String::from).into()));
        assert!(!linked.contains("unused"));
    }

    #[test]
    fn a_new_global_of_a_name_that_the_kernel_has_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let old = "int old(void) { return 1; } static int inside(int a) { return a; }
            int (*table)(int) = inside;";
        let moved = format!("{old} int bar(int a) {{ return a; }}");
        let kernel = |kind, name: &str| {
            Symbols::new(vec![Symbol { address: 0x1000, kind, name: name.into() }])
        };
        let pairs_of = |after: &str| pairs(folder.path(), &[(old, after)]);
        let pair = pairs_of(&moved);
        for kind in [b'T', b'W'] {
            let found = new_globals(&inputs(&pair), &kernel(kind, "bar"));
            assert!(matches!(found, Err(Error::TakenGlobal { symbol, .. }) if symbol == "bar"));
        }
        // Another object's own function, and one that this object had to itself before.
        new_globals(&inputs(&pair), &kernel(b't', "bar")).unwrap();
        let shown = pairs_of(&old.replace("static", ""));
        new_globals(&inputs(&shown), &kernel(b'T', "inside")).unwrap();
    }

    #[test]
    fn a_new_global_of_two_objects_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let change = |name: &str| {
            let old = format!("int {name}(void) {{ return 1; }}");
            (old.clone(), format!("{} int bar(void) {{ return 3; }}", old.replace('1', "2")))
        };
        let (a, b) = (change("a"), change("b"));
        let pairs = pairs(folder.path(), &[(&a.0, &a.1), (&b.0, &b.1)]);
        let inputs = inputs(&pairs);
        let comparisons: Vec<_> = inputs.iter().map(|input| compare(input).unwrap()).collect();
        let objects: Vec<_> = inputs.iter().copied().zip(&comparisons).collect();
        let new = new_globals(&inputs, &Symbols::default()).unwrap();
        let found = new.link(&objects);
        assert!(matches!(found, Err(Error::TwoGlobals { symbol, .. }) if symbol == "bar"));
    }
}
