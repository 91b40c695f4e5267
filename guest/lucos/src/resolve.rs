//! Gives the undefined symbols of a module their addresses.
//!
//! The kernel's loader knows only exported symbols. It takes absolute ones as they are, so every
//! other undefined symbol becomes absolute in the image before it is loaded.

use std::collections::{BTreeMap, BTreeSet};

use lucos_guest_interface::patch_module::{KERNEL_OBJECT, SECTION_PREFIX, SELECT_PREFIX};
use object::elf::{SHN_ABS, SHN_UNDEF};

use crate::error::Error;
use crate::kallsyms::{Candidate, Symbols};
use crate::patch_file::{ModuleFile, SYMBOL_SIZE, UndefinedSymbol};

/// What the symbols of a module are looked for in.
pub trait Sections {
    /// The build id of a loaded module, in hexadecimal digits.
    fn build_id(&self, module: &str) -> Option<String>;
    /// Where a section of a loaded module is.
    fn address(&self, module: &str, section: &str) -> Option<u64>;
}

/// What a symbol's name asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    /// A symbol of the kernel.
    Symbol(Wish<'a>),
    /// The start of a section of a module.
    Section(SectionWish<'a>),
}

/// The section of a module.
#[derive(Debug, PartialEq, Eq)]
struct SectionWish<'a> {
    module: &'a str,
    /// In hexadecimal digits.
    build_id: &'a str,
    section: &'a str,
}

/// A symbol of the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Wish<'a> {
    /// The name that the kernel shows.
    name: &'a str,
    /// The object it must be in.
    object: Option<&'a str>,
    /// Which of several it is; `None` when it must be the only one.
    nth: Option<usize>,
}

/// A symbol with the address that was found for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The symbol.
    pub symbol: UndefinedSymbol,
    /// What it means.
    pub candidate: Candidate,
}

/// The names that have to be looked up for these symbols.
///
/// # Errors
/// [`Error::Malformed`] for a selection that is not understood.
pub fn wanted_names(file: &ModuleFile) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for symbol in &file.undefined {
        if let Asked::Symbol(wish) = parse(file, symbol)? {
            names.insert(wish.name.to_owned());
        }
    }
    Ok(names)
}

/// Finds the address of every undefined symbol.
///
/// # Errors
/// [`Error::UnknownSymbol`], [`Error::ObjectNotLoaded`], [`Error::NoSuchOccurrence`] or
/// [`Error::Ambiguous`] for the first symbol that has none or several;
/// [`Error::OtherModuleBuild`] or [`Error::UnknownSection`] for the first section that is not
/// there.
pub fn resolve(
    file: &ModuleFile,
    symbols: &Symbols,
    modules: &BTreeMap<String, u64>,
    sections: &dyn Sections,
) -> Result<Vec<Resolved>, Error> {
    let mut resolved = Vec::with_capacity(file.undefined.len());
    for symbol in &file.undefined {
        let candidate = match parse(file, symbol)? {
            Asked::Symbol(wish) => choose(&wish, symbols.candidates(wish.name), modules)?,
            Asked::Section(wish) => section(&wish, modules, sections)?,
        };
        resolved.push(Resolved { symbol: symbol.clone(), candidate });
    }
    Ok(resolved)
}

/// The image with every resolved symbol absolute.
///
/// # Errors
/// [`Error::Malformed`] when a symbol is not where it should be.
pub fn rewrite(file: &ModuleFile, resolved: &[Resolved]) -> Result<Vec<u8>, Error> {
    let mut image = file.image.clone();
    for Resolved { symbol, candidate } in resolved {
        let entry = image.get_mut(symbol.place.clone()).filter(|entry| entry.len() == SYMBOL_SIZE);
        entry.and_then(|entry| make_absolute(entry, candidate.address)).ok_or_else(|| {
            Error::Malformed(file.path.clone(), format!("{} has no symbol", symbol.name))
        })?;
    }
    Ok(image)
}

/// The value of the module parameter that names the modules whose symbols are used, each with
/// the address that its symbols were found at.
#[must_use]
pub fn used_modules(resolved: &[Resolved], modules: &BTreeMap<String, u64>) -> String {
    let names: BTreeSet<&str> =
        resolved.iter().map(|resolved| resolved.candidate.object.as_str()).collect();
    let entries: Vec<String> = names
        .into_iter()
        .filter(|name| *name != KERNEL_OBJECT)
        .map(|name| format!("{name}@{:x}", modules.get(name).copied().unwrap_or_default()))
        .collect();
    entries.join(",")
}

/// Turns the bytes of an undefined symbol into those of an absolute one.
fn make_absolute(entry: &mut [u8], address: u64) -> Option<()> {
    // st_name (4 bytes), st_info, st_other, st_shndx (2), st_value (8), st_size (8).
    let section: &mut [u8; 2] = entry.get_mut(6..8)?.try_into().ok()?;
    if u16::from_le_bytes(*section) != SHN_UNDEF.0 {
        return None;
    }
    *section = SHN_ABS.0.to_le_bytes();
    let value: &mut [u8; 8] = entry.get_mut(8..16)?.try_into().ok()?;
    *value = address.to_le_bytes();
    Some(())
}

fn parse<'a>(file: &ModuleFile, symbol: &'a UndefinedSymbol) -> Result<Asked<'a>, Error> {
    let asked = match symbol.name.strip_prefix(SECTION_PREFIX) {
        Some(selection) => parse_section(selection).map(Asked::Section),
        None => parse_name(&symbol.name).map(Asked::Symbol),
    };
    asked.ok_or_else(|| {
        let what = format!("{} is no selection of a symbol", symbol.name);
        Error::Malformed(file.path.clone(), what)
    })
}

/// `MODULE.BUILD_ID.SECTION`. Names of modules have no dots; the section is a file's name.
fn parse_section(selection: &str) -> Option<SectionWish<'_>> {
    let mut parts = selection.splitn(3, '.');
    let is_word = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let module = parts.next().filter(is_word)?;
    let build_id = parts.next().filter(is_word)?;
    let is_file = |part: &&str| !["", ".", ".."].contains(part) && !part.contains('/');
    let section = parts.next().filter(is_file)?;
    Some(SectionWish { module, build_id, section })
}

/// What a section is at, of the very build that the patch was made for.
fn section(
    wish: &SectionWish<'_>,
    modules: &BTreeMap<String, u64>,
    sections: &dyn Sections,
) -> Result<Candidate, Error> {
    let (module, section) = (wish.module.to_owned(), wish.section.to_owned());
    if !modules.contains_key(&module) {
        return Err(Error::ObjectNotLoaded(section, module));
    }
    if sections.build_id(&module).as_deref() != Some(wish.build_id) {
        return Err(Error::OtherModuleBuild(module));
    }
    match sections.address(&module, &section) {
        Some(address) => Ok(Candidate { object: module, nth: 1, address }),
        None => Err(Error::UnknownSection(module, section)),
    }
}

/// A plain name, or `lucos.select.OBJECT.N.NAME`.
fn parse_name(name: &str) -> Option<Wish<'_>> {
    let Some(selection) = name.strip_prefix(SELECT_PREFIX) else {
        return Some(Wish { name, object: None, nth: None });
    };
    let mut parts = selection.splitn(3, '.');
    let object = parts.next().filter(|object| !object.is_empty())?;
    let nth: usize = parts.next()?.parse().ok()?;
    let name = parts.next().filter(|name| !name.is_empty())?;
    Some(Wish { name, object: Some(object), nth: (nth != 0).then_some(nth) })
}

fn choose(
    wish: &Wish<'_>,
    mut candidates: Vec<Candidate>,
    modules: &BTreeMap<String, u64>,
) -> Result<Candidate, Error> {
    let name = wish.name.to_owned();
    if let Some(object) = wish.object {
        if object != KERNEL_OBJECT && !modules.contains_key(object) {
            return Err(Error::ObjectNotLoaded(name, object.to_owned()));
        }
        candidates.retain(|candidate| candidate.object == object);
    }
    if candidates.is_empty() {
        return Err(Error::UnknownSymbol(name));
    }
    match (wish.nth, candidates.as_slice()) {
        (Some(nth), _) => match candidates.iter().find(|candidate| candidate.nth == nth) {
            Some(candidate) => Ok(candidate.clone()),
            None => Err(Error::NoSuchOccurrence(name, nth, candidates)),
        },
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Error::Ambiguous(name, candidates)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{
        Resolved, Sections, Wish, choose, make_absolute, parse_name, parse_section, section,
        used_modules,
    };
    use crate::error::Error;
    use crate::kallsyms::{Candidate, Symbols};
    use crate::patch_file::UndefinedSymbol;

    fn candidates(name: &str) -> Vec<Candidate> {
        let text = "ffffffff81000000 T once\nffffffff81000010 t twice\n\
                    ffffffff81000020 t twice\nffffffffc0000000 t twice\t[loop]\n";
        let wanted = BTreeSet::from(["once".to_owned(), "twice".to_owned()]);
        Symbols::read(text.as_bytes(), &wanted).unwrap().candidates(name)
    }

    fn pick(name: &str) -> Result<Candidate, Error> {
        let modules = BTreeMap::from([("loop".to_owned(), 0xffff_ffff_c000_0000)]);
        let wish = parse_name(name).unwrap();
        choose(&wish, candidates(wish.name), &modules)
    }

    #[test]
    fn a_unique_name_is_enough() {
        assert_eq!(pick("once").unwrap().address, 0xffff_ffff_8100_0000);
        assert_eq!(pick("lucos.select.vmlinux.0.once").unwrap().address, 0xffff_ffff_8100_0000);
    }

    #[test]
    fn an_ambiguous_name_lists_what_there_is() {
        let error = pick("twice").unwrap_err();
        assert_eq!(error.code(), "AMBIGUOUS");
        let text = error.to_string();
        for part in ["loop 1 at 0xffffffffc0000000", "vmlinux 2 at", "LUCOS_REPLACE_SELECTED("] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains('\n'));
        assert_eq!(error.to_json()["error"]["candidates"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_selection_chooses() {
        assert_eq!(pick("lucos.select.vmlinux.2.twice").unwrap().address, 0xffff_ffff_8100_0020);
        assert_eq!(pick("lucos.select.loop.0.twice").unwrap().address, 0xffff_ffff_c000_0000);
        assert!(matches!(pick("lucos.select.vmlinux.0.twice"), Err(Error::Ambiguous(..))));
        assert!(matches!(
            pick("lucos.select.vmlinux.3.twice"),
            Err(Error::NoSuchOccurrence(_, 3, _))
        ));
        assert!(matches!(pick("lucos.select.nbd.0.twice"), Err(Error::ObjectNotLoaded(..))));
        assert!(matches!(pick("lucos.select.loop.0.once"), Err(Error::UnknownSymbol(_))));
        assert!(matches!(pick("never"), Err(Error::UnknownSymbol(_))));
    }

    struct Loaded;

    impl Sections for Loaded {
        fn build_id(&self, module: &str) -> Option<String> {
            (module == "loop").then(|| "0aff".to_owned())
        }
        fn address(&self, _: &str, section: &str) -> Option<u64> {
            (section == ".rodata.str1.1").then_some(0xffff_ffff_c000_4000)
        }
    }

    fn pick_section(selection: &str) -> Result<Candidate, Error> {
        let modules = BTreeMap::from([("loop".to_owned(), 0), ("nbd".to_owned(), 0)]);
        section(&parse_section(selection).unwrap(), &modules, &Loaded)
    }

    #[test]
    fn a_section_is_one_of_the_build_that_was_meant() {
        let found = pick_section("loop.0aff..rodata.str1.1").unwrap();
        assert_eq!((found.object.as_str(), found.address), ("loop", 0xffff_ffff_c000_4000));
        let code = |selection| pick_section(selection).unwrap_err().code().to_owned();
        assert_eq!(code("loop.0afe..rodata.str1.1"), "OTHER_MODULE_BUILD");
        assert_eq!(code("nbd.0aff..rodata.str1.1"), "OTHER_MODULE_BUILD");
        assert_eq!(code("dm_mod.0aff..rodata"), "OBJECT_NOT_LOADED");
        assert_eq!(code("loop.0aff..data"), "UNKNOWN_SECTION");
        for selection in
            ["", "loop", "loop.0a", "loop.0a.", "loop.0a...", ".0a.x", "../x.0a.y", "loop.0a.a/b"]
        {
            assert_eq!(parse_section(selection), None, "{selection}");
        }
    }

    #[test]
    fn selections_are_parsed_strictly() {
        assert_eq!(
            parse_name("lucos.select.vmlinux.2.foo.constprop.0"),
            Some(Wish { name: "foo.constprop.0", object: Some("vmlinux"), nth: Some(2) })
        );
        for name in [
            "lucos.select.",
            "lucos.select.vmlinux.x.f",
            "lucos.select..1.f",
            "lucos.select.loop.1.",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn only_an_undefined_symbol_is_changed() {
        let mut entry = [0xee; 24];
        assert_eq!(make_absolute(&mut entry, 1), None);
        entry[6..8].copy_from_slice(&[0, 0]);
        assert_eq!(make_absolute(&mut entry, 0x0102_0304_0506_0708), Some(()));
        assert_eq!(entry[6..16], [0xf1, 0xff, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(entry[..6], [0xee; 6]);
        assert_eq!(entry[16..], [0xee; 8]);
        assert_eq!(make_absolute(&mut entry[..15], 1), None);
    }

    #[test]
    fn used_modules_are_named_once_with_their_address() {
        let modules = BTreeMap::from([("loop".to_owned(), 0xffff_ffff_c000_0000)]);
        let resolved = |name: &str| Resolved {
            symbol: UndefinedSymbol { name: name.to_owned(), place: 0..0 },
            candidate: pick(name).unwrap(),
        };
        let all = [
            resolved("once"),
            resolved("lucos.select.loop.1.twice"),
            resolved("lucos.select.loop.0.twice"),
        ];
        assert_eq!(used_modules(&all, &modules), "loop@ffffffffc0000000");
        assert_eq!(used_modules(&all[..1], &modules), "");
    }
}
